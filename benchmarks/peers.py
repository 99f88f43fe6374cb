"""Against today's scripts

Whole training steps, data to optimizer, on CamVid's size (crops of 352x480, batch 4, random
weights, image files): SegFormer as transformers' semantic-segmentation example trains it
(albumentations, AdamW, the model's own loss), and DeepLabV3+ of segmentation-models-pytorch in a
plain loop (albumentations, SGD, cross entropy), one after the other; against our pair in CTCL. Both
DeepLabV3+ have timm's MobileNetV2 at stride 16 and 256 channels. Each side runs in processes of its
own, in turn; each is free to use both cores.
"""

import argparse
import json
import os
import statistics
import time

import torch
from common import CTCL, bar, camvid_or_scenes, header, in_own_process, make_pair, row

SIZE, CROP, BATCH = (360, 480), (352, 480), 4


def seconds_per_step(batches, step, steps: int) -> list[float]:
    """Of steps that fetch a batch and train on it, without the first."""
    seconds, batches = [], iter(batches)
    for _ in range(steps + 1):
        start = time.perf_counter()
        step(next(batches))
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def ours(data, steps: int) -> list[float]:
    from torch.utils.data import DataLoader

    from ctcl_hf import CTCLArguments, TrainingTransform
    from ctcl_hf.training.optim import build_optimizer, settings_for
    from ctcl_hf.training.reproducibility import EpochSampler

    pair = make_pair(len(data.class_names), SIZE, 256, CTCL, output_stride=16)
    optimizer = build_optimizer(pair, settings_for(pair, CTCLArguments("unused", use_cpu=True)))
    samples = data.samples("train", TrainingTransform(SIZE, CROP))
    batches = DataLoader(samples, BATCH, sampler=EpochSampler(len(samples), 0), drop_last=True)

    def step(batch):
        pair(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return seconds_per_step(batches, step, steps)


def plain_batches(data):
    """As transformers' example and most loops feed a model: albumentations, normalised float32 by
    the data set.
    """
    import albumentations as A
    import numpy as np
    from torch.utils.data import DataLoader

    transform = A.Compose(
        [
            A.RandomScale((-0.5, 1.0), p=1.0),
            A.PadIfNeeded(*CROP, border_mode=0, fill=0, fill_mask=255),
            A.RandomCrop(*CROP),
            A.HorizontalFlip(),
            A.Normalize(),
        ]
    )
    rows = data.splits["train"]
    lookup = np.arange(256, dtype=np.uint8)
    for mask_id, class_id in data.label_map.items():
        lookup[mask_id] = class_id

    def sample(row):
        out = transform(
            image=np.array(row["image"].convert("RGB")), mask=lookup[np.array(row["label"])]
        )
        pixels = torch.from_numpy(out["image"]).permute(2, 0, 1)
        return {"pixel_values": pixels, "labels": torch.from_numpy(out["mask"]).long()}

    def collate(rows):
        samples = [sample(row) for row in rows]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    return DataLoader(rows, BATCH, shuffle=True, drop_last=True, collate_fn=collate)


def transformers_script(data, steps: int) -> list[float]:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    from ctcl_hf.students.loading import MIT_VARIANTS

    config = SegformerConfig(num_labels=len(data.class_names), **MIT_VARIANTS["nvidia/mit-b1"])
    model = SegformerForSemanticSegmentation(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

    def step(batch):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return seconds_per_step(plain_batches(data), step, steps)


def smp_loop(data, steps: int) -> list[float]:
    import segmentation_models_pytorch as smp

    model = smp.DeepLabV3Plus(
        "tu-mobilenetv2_100",
        encoder_weights=None,
        encoder_output_stride=16,
        classes=len(data.class_names),
    ).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss(ignore_index=255)

    def step(batch):
        loss(model(batch["pixel_values"]), batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return seconds_per_step(plain_batches(data), step, steps)


KINDS = {"ours": ours, "transformers": transformers_script, "smp": smp_loop}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn scenes of its size.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument(
        "--kind", choices=list(KINDS), help="Measure this one here and print its seconds."
    )
    arguments = parser.parse_args()
    if arguments.kind:
        print(
            json.dumps(KINDS[arguments.kind](camvid_or_scenes(arguments.data_dir), arguments.steps))
        )
        return
    own = [
        "--steps",
        arguments.steps,
        *(["--data_dir", arguments.data_dir] if arguments.data_dir else []),
    ]
    seconds = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            # a script leaves malloc as it is
            os.environ["BENCH_GIVE_BACK"] = "" if kind == "ours" else "1"
            seconds[kind] += in_own_process(__file__, *own, "--kind", kind)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    theirs = medians["transformers"] + medians["smp"]
    header("what trains", "s / step", "images / s")
    for name, value in (
        ("SegFormer, transformers", medians["transformers"]),
        ("DeepLabV3+, segmentation-models-pytorch", medians["smp"]),
        ("both, one after the other", theirs),
        ("our pair, CTCL", medians["ours"]),
    ):
        row(name, f"{value:.2f}", f"{BATCH / value:.2f}")
    bar(3, "our images per second / theirs in sum", theirs / medians["ours"], at_least=1.3)


if __name__ == "__main__":
    main()
