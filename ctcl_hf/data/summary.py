"""What a data set holds, counted while its files are checked: sizes, and each class's share of
pixels and of images.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.tables import counted
from .findings import Finding
from .masks import IGNORE_INDEX

RARE_SHARE = 0.1  # of an even share of the pixels: a class with less is rare
RARE_IMAGES = 0.01  # of the images: a class in fewer is rare
UNEVEN = 10  # times the pixels: from here on it is said of the largest and the smallest class
NAMED = 6  # classes in a note


class SplitSummary:
    """What the images of a split and their masks hold.

    pixels, images_with: int64 (K,), by class, the pixels of all masks and the images that have one.
    sizes: images by (height, width). ignored: pixels that no class has.
    """

    def __init__(self, num_classes: int, is_labelled: bool):
        self.is_labelled = is_labelled
        self.images, self.ignored = 0, 0
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels = np.zeros(num_classes, dtype=np.int64)
        self.images_with = np.zeros(num_classes, dtype=np.int64)

    def add(self, finding: Finding) -> None:
        """The next image, of which nothing is wrong."""
        self.images += 1
        self.sizes[finding.size] += 1
        for class_id, count in finding.pixels.items():
            if class_id == IGNORE_INDEX:
                self.ignored += count
            else:
                self.pixels[class_id] += count
                self.images_with[class_id] += 1

    @property
    def shares(self) -> np.ndarray:
        """Of the labelled pixels, by class."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def ignored_share(self) -> float:
        return self.ignored / max(self.ignored + int(self.pixels.sum()), 1)

    def __str__(self) -> str:
        """`240 images of 96x128, 1.3 % of the pixels not scored`; sizes are height x width."""
        if not self.images:
            return "no images"
        first, last = min(self.sizes), max(self.sizes)
        sizes = (
            _size(first)
            if first == last
            else f"{len(self.sizes)} sizes from {_size(first)} to {_size(last)}"
        )
        what = (
            f"{100 * self.ignored_share:.1f} % of the pixels not scored"
            if self.is_labelled
            else "without masks"
        )
        return f"{counted(self.images, 'image')} of {sizes}, {what}"


class DataSummary(NamedTuple):
    """What each split of a data set holds."""

    class_names: Sequence[str]
    splits: dict[str, SplitSummary]

    def __str__(self) -> str:
        """A line for each split, and one for each note."""
        return "\n".join(
            [*(f"{split}: {own}" for split, own in self.splits.items()), *self.notes()]
        )

    def rare(self, split: str) -> list[int]:
        """Classes that occur, with few pixels or in few images, the rarest first."""
        own = self.splits[split]
        is_rare = (own.shares < RARE_SHARE / len(own.shares)) | (
            own.images_with < RARE_IMAGES * own.images
        )
        ids = np.flatnonzero(is_rare & (own.pixels > 0))
        return ids[np.argsort(own.pixels[ids], kind="stable")].tolist()

    def absent(self, split: str) -> list[int]:
        return np.flatnonzero(self.splits[split].pixels == 0).tolist()

    def notes(self) -> list[str]:
        """What of the classes may decide how well they can be learnt, or be scored: a sentence
        each.
        """
        train = self.splits["train"]
        told = []
        shares, held = 100 * train.shares, np.flatnonzero(train.pixels)
        if rare := self.rare("train"):
            named = [
                f"{self.class_names[i]} {shares[i]:.2g} % in "
                f"{counted(train.images_with[i], 'image')}"
                for i in rare
            ]
            told.append(f"Rare in train: {_some(named)}.")
        largest, smallest = held[np.argmax(train.pixels[held])], held[np.argmin(train.pixels[held])]
        if (times := train.pixels[largest] / train.pixels[smallest]) >= UNEVEN:
            names = [self.class_names[i] for i in (largest, smallest)]
            told.append(
                f"{names[0]} has {times:,.0f} times the pixels of {names[1]}, and mIoU counts both "
                "alike."
            )
        for split, own in self.splits.items():
            if split != "train" and own.is_labelled and (absent := self.absent(split)):
                told.append(
                    f"Not in {split}: {_some([self.class_names[i] for i in absent])}. There, a "
                    "student that says one has 0 of it, and one that does not is not scored on it."
                )
        return told

    def as_json(self) -> dict[str, Any]:
        """All of it; lists by class in the order of "classes"; sizes as [height, width, images],
        most usual first.
        """
        return {
            "classes": list(self.class_names),
            "splits": {
                split: {
                    "images": own.images,
                    "labelled": own.is_labelled,
                    "sizes": [[*size, count] for size, count in own.sizes.most_common()],
                    "ignored_share": own.ignored_share,
                    "pixels": own.pixels.tolist(),
                    "images_with": own.images_with.tolist(),
                    "rare": [self.class_names[i] for i in self.rare(split)],
                    "absent": [self.class_names[i] for i in self.absent(split)],
                }
                for split, own in self.splits.items()
            },
            "notes": self.notes(),
        }


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:NAMED]) + (
        f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    )
