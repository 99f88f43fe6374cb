"""What every benchmark shares: the paper's pair, alternated timing, Markdown rows, and the verdict
on a bar.
"""

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctcl_hf import (
    CTCL,
    Objective,
    SegmentationData,
    StudentPair,
    build_camvid,
    build_synthetic,
    load_student,
)
from ctcl_hf.students import Student
from ctcl_hf.training.cpu import prepare_cpu, threads_of_process

IGNORE = 255

# As CTCLTrainer does, for both sides of a ratio, unless a benchmark measures what it does.
if os.environ.get("BENCH_GIVE_BACK"):
    torch.set_num_threads(os.cpu_count())
else:
    prepare_cpu(threads_of_process(None))


def make_pair(
    classes: int,
    size: tuple[int, int],
    aspp_channels: int = 512,
    method: type[Objective] = CTCL,
    **deeplab,
) -> StudentPair:
    """The paper's pair, from scratch: DeepLabV3+ on MobileNetV2 at stride 8, and SegFormer
    MiT-B1.
    """
    names = [str(i) for i in range(classes)]
    cnn = load_student(
        "mobilenetv2_100", names, size, from_scratch=True, aspp_channels=aspp_channels, **deeplab
    )
    vit = load_student("nvidia/mit-b1", names, size, from_scratch=True)
    return StudentPair({"cnn": cnn, "vit": vit}, method(cnn, vit)).train()


def make_batch(classes: int, size: tuple[int, int], images: int = 4) -> dict[str, Tensor]:
    """Random images, and labels in blocks with ignored borders, as real ones are."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    blocks = torch.randint(0, classes, (images, 1, height // 20, width // 20), generator=generator)
    labels = F.interpolate(blocks.float(), size=size, mode="nearest")[:, 0].long()
    labels[:, :: height // 8] = IGNORE
    return {
        "pixel_values": torch.randint(0, 256, (images, 3, *size), generator=generator),
        "labels": labels,
    }


def camvid_or_scenes(data_dir: str | None) -> SegmentationData:
    """CamVid from a folder; without one, drawn street scenes of its size."""
    return build_camvid(data_dir) if data_dir else build_synthetic(height=360, width=480)


def ordinary_loss(student: Student, batch: dict[str, Tensor]) -> Tensor:
    """What a training script does for one model: upsample the logits, cross entropy; the auxiliary
    head's likewise.
    """
    output = student.model(pixel_values=student.normalize(batch["pixel_values"]))
    heads = [(1.0, output.logits)]
    if student.auxiliary_weight:
        heads.append((student.auxiliary_weight, output.auxiliary_logits))
    return sum(
        weight * upsampled_cross_entropy(logits, batch["labels"]) for weight, logits in heads
    )


def upsampled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`F.interpolate`, then `F.cross_entropy`."""
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(upsampled, labels, ignore_index=IGNORE)


def step(loss: Callable[[], Tensor], model: nn.Module) -> None:
    """Forward and backward.

    Optimizer steps are left out: they are the same on both sides of every ratio.
    """
    loss().backward()
    model.zero_grad(set_to_none=True)


def alternated(
    functions: dict[str, Callable[[], None]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each function, called in turn so that a drift of the machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(warmup + repeats):
        for name, function in functions.items():
            gc.collect()
            start = time.perf_counter()
            function()
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of paired runs."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def in_own_process(script: str, *arguments: object) -> dict:
    """What a script prints as its last line, JSON, when called with these arguments: for peaks, and
    for settings that cannot be undone."""
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[
            -1
        ]
    )


def peak_bytes() -> int:
    """The most memory that was ever resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def header(*cells: str) -> None:
    """The first two rows of a table."""
    row(*cells)
    row(*["---"] * len(cells))


def row(*cells: object) -> None:
    """A row of a Markdown table, at once, so that a long benchmark shows where it is."""
    texts = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(texts)} |", flush=True)


def bar(
    number: int,
    what: str,
    measured: float,
    at_most: float | None = None,
    at_least: float | None = None,
) -> None:
    """The verdict on one bar, which `run.py` gathers."""
    holds = measured <= at_most if at_most is not None else measured >= at_least
    limit = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}"
    print(
        f"\nBar {number}: {what}: {measured:.3g}, {limit}: {'holds' if holds else '**missed**'}\n",
        flush=True,
    )
