"""Input pipeline

One core, files to a training sample: decode, scale jitter 0.5-2, pad, crop to 512x512, flip; ours
against the same chain in torchvision's v2 transforms, in albumentations and by hand in OpenCV, from
files and from Parquet. Then the share of time that a training step waits for data, with one worker
beside a two-core CTCL step of the `cpu` recipe. Profiled on 2026-11-27, by parts of 3.75 ms on one
busy core: Pillow decodes the JPEG in 0.95 (torchvision.io in 0.88) and the mask in 0.52 (0.47), an
antialiased resize of what the crop keeps takes 0.4, the nearest one of the labels 0.3, padding and
flips 0.2, checks of both files and copies 0.5. Another decoder would save a twentieth, and not
refuse files that are cut, turned, deep or transparent; a nearest resize by rows and columns is
faster, and gave other labels in one of a hundred sizes, by float32's rounding.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from common import bar, camvid_or_scenes, header, make_pair, row, step
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from ctcl_hf import SegmentationData, TrainingTransform
from ctcl_hf.data.transforms import MEAN_COLOUR
from ctcl_hf.training.reproducibility import EpochSampler

SIZE, CROP, SCALES = (360, 480), (512, 512), (0.5, 2.0)


def torchvision_chain(row: dict) -> tuple[torch.Tensor, torch.Tensor]:
    image, labels = Image.open(_file(row["image"])).convert("RGB"), Image.open(_file(row["label"]))
    image, labels = v2.functional.pil_to_tensor(image), tv_tensors.Mask(np.array(labels))
    return TORCHVISION(tv_tensors.Image(image), labels)


class Scale(v2.Transform):
    """Instead of v2.ScaleJitter, which takes the height for the width."""

    def make_params(self, flat_inputs):
        scale = np.random.uniform(*SCALES)
        return {"size": [int(side * scale) for side in SIZE]}

    def transform(self, inpt, params):
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"], antialias=True)


TORCHVISION = v2.Compose(
    [
        Scale(),
        v2.RandomCrop(
            CROP, pad_if_needed=True, fill={tv_tensors.Image: MEAN_COLOUR, tv_tensors.Mask: 255}
        ),
        v2.RandomHorizontalFlip(),
    ]
)
ALBUMENTATIONS = A.Compose(
    [
        A.RandomScale((SCALES[0] - 1, SCALES[1] - 1), p=1.0),
        A.PadIfNeeded(*CROP, border_mode=cv2.BORDER_CONSTANT, fill=MEAN_COLOUR, fill_mask=255),
        A.RandomCrop(*CROP),
        A.HorizontalFlip(),
    ]
)


def albumentations_chain(row: dict) -> tuple[torch.Tensor, torch.Tensor]:
    out = ALBUMENTATIONS(
        image=_opencv(row["image"]), mask=_opencv(row["label"], cv2.IMREAD_UNCHANGED)
    )
    return torch.from_numpy(out["image"].transpose(2, 0, 1).copy()), torch.from_numpy(out["mask"])


def opencv_chain(row: dict) -> tuple[torch.Tensor, torch.Tensor]:
    image, labels = _opencv(row["image"]), _opencv(row["label"], cv2.IMREAD_UNCHANGED)
    scale = np.random.uniform(*SCALES)
    size = [int(side * scale) for side in reversed(SIZE)]
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    missing = [max(side - own, 0) for side, own in zip(CROP, labels.shape, strict=True)]
    if any(missing):
        before = [np.random.randint(side + 1) for side in missing]
        edges = (before[0], missing[0] - before[0], before[1], missing[1] - before[1])
        image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=MEAN_COLOUR)
        labels = cv2.copyMakeBorder(labels, *edges, cv2.BORDER_CONSTANT, value=255)
    top, left = (
        np.random.randint(own - side + 1) for side, own in zip(CROP, labels.shape, strict=True)
    )
    image, labels = (
        values[top : top + CROP[0], left : left + CROP[1]] for values in (image, labels)
    )
    if np.random.rand() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(labels.copy())


def _file(encoded: dict) -> str | io.BytesIO:
    return encoded["path"] if encoded["bytes"] is None else io.BytesIO(encoded["bytes"])


def _opencv(encoded: dict, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    if encoded["bytes"] is None:
        return cv2.imread(encoded["path"], flags)
    return cv2.imdecode(np.frombuffer(encoded["bytes"], np.uint8), flags)


def milliseconds(read: Callable[[int], object], samples: int) -> float:
    start = time.perf_counter()
    for index in range(samples):
        read(index)
    return (time.perf_counter() - start) / samples * 1e3


def readers(data: SegmentationData) -> dict[str, Callable[[int], object]]:
    import datasets

    rows = data.splits["train"]
    encoded = rows.cast(
        datasets.Features(image=datasets.Image(decode=False), label=datasets.Image(decode=False))
    )
    samples = data.samples("train", TrainingTransform(SIZE, CROP, SCALES))
    return {
        "ours": lambda index: samples[(0, 0, index)],
        "torchvision v2": lambda index: torchvision_chain(encoded[index]),
        "albumentations": lambda index: albumentations_chain(encoded[index]),
        "OpenCV by hand": lambda index: opencv_chain(encoded[index]),
    }


def as_parquet(data: SegmentationData, folder: str) -> SegmentationData:
    import datasets
    from datasets.table import embed_table_storage

    path = str(Path(folder) / "train.parquet")
    rows = (
        data.splits["train"]
        .with_format("arrow")
        .map(embed_table_storage, batched=True)
        .with_format(None)
    )
    rows.to_parquet(path)
    splits = datasets.DatasetDict(train=datasets.Dataset.from_parquet(path, cache_dir=folder))
    return SegmentationData(
        data.name, splits, data.class_names, data.palette, data.image_size, data.label_map
    )


def idle_share(data: SegmentationData, steps: int) -> float:
    """Of the time of training steps, the share spent waiting for a batch."""
    pair = make_pair(len(data.class_names), (180, 240), 128, output_stride=16)
    samples = data.samples("train", TrainingTransform((180, 240), (160, 224), (0.75, 1.75)))
    loader = DataLoader(
        samples, 8, sampler=EpochSampler(len(samples), 0), drop_last=True, num_workers=1
    )
    batches, waited, started = iter(loader), 0.0, 0.0
    for index in range(steps + 1):
        if index == 1:  # the first batch waits for the worker to start
            waited, started = 0.0, time.perf_counter()
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(lambda batch=batch: pair(**batch).loss, pair)
    return waited / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn scenes of its size.")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    data = camvid_or_scenes(arguments.data_dir)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    header("ms / sample, one core", "files", "Parquet")
    with tempfile.TemporaryDirectory() as folder:
        medians = []
        for source in (readers(data), readers(as_parquet(data, folder))):
            times: dict[str, list[float]] = {name: [] for name in source}
            for repeat in range(arguments.repeats + 1):
                for name, read in source.items():
                    times[name] += [milliseconds(read, arguments.samples)] if repeat else []
            medians.append({name: statistics.median(values) for name, values in times.items()})
    for name in medians[0]:
        row(name, *(f"{source[name]:.2f}" for source in medians))
    torch.set_num_threads(threads)
    idle = idle_share(data, arguments.steps)
    for where, source in zip(("files", "Parquet"), medians, strict=True):
        fastest = min(value for name, value in source.items() if name != "ours")
        bar(
            5,
            f"our time per sample / the fastest peer's, {where}",
            source["ours"] / fastest,
            at_most=1.0,
        )
    bar(5, "share of a training step spent waiting for data, one worker", idle, at_most=0.02)


if __name__ == "__main__":
    main()
