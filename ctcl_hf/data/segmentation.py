"""A data set for semantic segmentation, and its view as training or evaluation samples."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import datasets

IGNORE_INDEX = 255


@dataclass(frozen=True)
class SegmentationData:
    """What a builder yields.

    splits: {"train", "validation"[, "test"]} of {"image": Image, "label": Image}, decoded when read.
    class_names, palette: of classes 0..K-1; palette holds RGB triples.
    image_size: usual (height, width) of an image in pixels.
    label_map: ids in the masks that stand for another id (such as "unlabelled" for IGNORE_INDEX).
    """

    name: str
    splits: "datasets.DatasetDict"
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image_size: tuple[int, int]
    label_map: Mapping[int, int] = field(default_factory=dict)

    def samples(self, split: str, transform: Callable) -> "SegmentationSamples":
        """The split as a map-style data set of transformed samples."""
        return SegmentationSamples(self.splits[split], len(self.class_names), transform, self.label_map)

    def check(self) -> None:
        """Reads every image and mask once; ValueError names each split's first bad file and counts the others."""
        problems = []
        for split, rows in self.splits.items():
            samples = self.samples(split, transform=lambda image, labels: (image, labels))
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                checks = pool.map(samples.problem, range(len(rows)))
                found = [p for p in tqdm(checks, f"Checking {self.name} {split}", len(rows), leave=False) if p]
            if found:
                more = f" (and {len(found) - 1} more in {split})" if len(found) > 1 else ""
                problems.append(found[0] + more)
        if problems:
            raise ValueError("\n".join(problems))


class SegmentationSamples(Dataset):
    """Samples {"pixel_values": uint8 (3, H, W) RGB, "labels": int64 (H, W)} of one split.

    An item is asked for by index, or by (seed, epoch, index): its augmentation is drawn from these three alone, so it
    depends neither on the number of workers nor on what was loaded before.
    """

    def __init__(
        self,
        rows: "datasets.Dataset",
        num_classes: int,
        transform: Callable,
        label_map: Mapping[int, int] | None = None,
    ):
        self.rows = rows
        self.num_classes = num_classes
        self.transform = transform
        # Mask id -> class id or IGNORE_INDEX; -1 marks an id that no mask may hold.
        self.lookup = np.full(256, -1, dtype=np.int64)
        self.lookup[:num_classes] = np.arange(num_classes)
        self.lookup[IGNORE_INDEX] = IGNORE_INDEX
        for mask_id, class_id in (label_map or {}).items():
            self.lookup[mask_id] = class_id

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int, int]) -> dict[str, torch.Tensor]:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        image, labels = self.read(index)
        image, labels = tv_tensors.Image(image), tv_tensors.Mask(labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0]))
            image, labels = self.transform(image, labels)
        return {"pixel_values": image.as_subclass(torch.Tensor), "labels": labels.as_subclass(torch.Tensor).long()}

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded image (3, H, W) uint8 and class ids (H, W) uint8, as stored. ValueError names a bad file."""
        try:
            row = self.rows[index]
        except (OSError, SyntaxError) as error:  # what PIL raises on truncated and on broken files
            raise ValueError(f"Cannot read sample {index} ({self.paths(index)}): {error}") from error
        image, mask = np.asarray(row["image"].convert("RGB")), np.asarray(row["label"])
        if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_):
            raise ValueError(
                f"A mask must hold one 8-bit class id per pixel, got an image of mode {row['label'].mode} in "
                f"{self.paths(index)}."
            )
        if mask.shape != image.shape[:2]:
            raise ValueError(
                f"A mask must have its image's size: got mask {mask.shape[1]}x{mask.shape[0]} and image "
                f"{image.shape[1]}x{image.shape[0]} (width x height) in {self.paths(index)}."
            )
        labels = self.lookup[mask.astype(np.uint8)]
        if labels.min() < 0:
            bad = np.unique(mask[labels < 0]).tolist()
            raise ValueError(
                f"Masks must hold class ids 0..{self.num_classes - 1} or {IGNORE_INDEX} (ignored), got {bad} in "
                f"{self.paths(index)}."
            )
        return torch.from_numpy(image.copy()).permute(2, 0, 1), torch.from_numpy(labels.astype(np.uint8))

    def problem(self, index: int) -> str | None:
        """What is wrong with a sample, or None."""
        try:
            self.read(index)
        except ValueError as error:
            return str(error)
        return None

    def paths(self, index: int) -> str:
        """The sample's files, for messages."""
        from datasets import Features, Image

        undecoded = self.rows.select([index]).cast(Features(image=Image(decode=False), label=Image(decode=False)))[0]
        return " and ".join(undecoded[name]["path"] or f"an embedded {name}" for name in ("image", "label"))


def collate_for_evaluation(samples: list[dict[str, torch.Tensor]]) -> dict:
    """Images as one batch; labels as a list, each at its own size."""
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "labels": [sample["labels"] for sample in samples],
    }
