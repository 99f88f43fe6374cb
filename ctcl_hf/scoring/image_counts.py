"""Confusion counts of single images: what a score is the sum of, kept so that images can be
resampled later.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from ..base.files import whole
from ..metrics import scores_from_counts

COUNTS_FILE = "counts.npz"  # in the output folder of a finished run


class ImageCounts:
    """K x K pixel counts of each image by one model: rows what the label says, columns what was
    predicted.

    An image shows few of many classes, so only the pairs that occur are kept in memory.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        # occurring pairs, row * K + column, and their pixels
        self._images: list[tuple[np.ndarray, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, counts: Tensor) -> None:
        """Adds the next image: counts (ids, ids) of all ids, of which those of labelled pixels,
        0..K-1, are kept.
        """
        flat = counts[: self.num_classes, : self.num_classes].cpu().numpy().ravel()
        pairs = np.flatnonzero(flat)
        self._images.append((pairs.astype(np.uint32), flat[pairs].astype(np.uint32)))

    def gather(self) -> "ImageCounts":
        """The images of all processes, of which process p of P has counted p, p + P, ..., in their
        order.
        """
        shares = gather_object([self._images])
        merged = ImageCounts(self.num_classes)
        merged._images = [
            image for turn in zip_longest(*shares) for image in turn if image is not None
        ]
        return merged

    def dense(self) -> np.ndarray:
        """All counts, uint32 (N, K, K)."""
        table = np.zeros((len(self), self.num_classes**2), dtype=np.uint32)
        for row, (pairs, pixels) in zip(table, self._images, strict=True):
            row[pairs] = pixels
        return table.reshape(-1, self.num_classes, self.num_classes)

    @property
    def labelled_pixels(self) -> int:
        return sum(int(pixels.sum()) for _, pixels in self._images)

    def worst(self, count: int) -> list[tuple[int, float]]:
        """Number and mIoU of the images that are scored worst, the worst first; those without a
        label are left out.
        """
        scored = []
        for number, table in enumerate(self.dense()):
            if table.any():
                scores = scores_from_counts(
                    torch.from_numpy(table.astype(np.int64)), self.num_classes, None
                )
                scored.append((float(scores["mean_iou"]), number))
        return [(number, mean_iou) for mean_iou, number in sorted(scored)[:count]]


@dataclass(frozen=True)
class SplitCounts:
    """The counts of a split's images.

    images: their names, in the data's order.
    students: by name, uint32 (N, K, K): image, class of the label, predicted class.
    """

    images: tuple[str, ...]
    students: Mapping[str, np.ndarray]


def save_counts(
    folder: Path, class_names: Sequence[str], splits: Mapping[str, SplitCounts]
) -> Path:
    """Writes a run's counts, whole or not at all; returns the file.

    Its arrays: "class_names", "SPLIT/images", and "SPLIT/STUDENT" for each student.
    """
    arrays: dict[str, Any] = {"class_names": np.array(class_names, dtype=str)}
    for split, counts in splits.items():
        arrays[f"{split}/images"] = np.array(counts.images, dtype=str)
        arrays |= {f"{split}/{name}": table for name, table in counts.students.items()}
    path = folder / COUNTS_FILE
    with whole(path) as staged, staged.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def load_counts(folder: Path) -> tuple[tuple[str, ...], dict[str, SplitCounts]]:
    """The class names, and the counts by split, that `save_counts` wrote.

    Raises:
        FileNotFoundError: the folder has none. ValueError: the file is damaged, or is another.
    """
    path = folder / COUNTS_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
        class_names = tuple(found.pop("class_names").tolist())
        splits = {}
        for key in (key for key in found if key.endswith("/images")):
            split = key.removesuffix("/images")
            images = tuple(found[key].tolist())
            own = {
                k.removeprefix(f"{split}/"): v
                for k, v in found.items()
                if k.startswith(f"{split}/") and k != key
            }
            shape = (len(images), len(class_names), len(class_names))
            if not own or any(table.shape != shape for table in own.values()):
                raise ValueError(f"the counts of {split} are not of shape {shape}")
            splits[split] = SplitCounts(images, own)
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no file of counts ({error}). Delete it: the report of a grid "
            "makes it again."
        ) from error
    return class_names, splits
