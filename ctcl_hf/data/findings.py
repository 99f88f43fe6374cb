"""What a check of a data set finds in its samples, and says of them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from .masks import Colour

NONE: Mapping = MappingProxyType({})


class Finding(NamedTuple):
    """What there is to be said of a sample."""

    problem: str | None  # why it cannot be used; then nothing else is known
    pixels: Mapping[int, int] = NONE  # of its labels, by id
    size: tuple[int, int] = (0, 0)  # height and width of its image
    is_turned: bool = False  # by its image's EXIF tag
    digest: bytes | None = None  # of its image's file
    colours: Mapping[Colour, int] = NONE  # in which its mask shows the ids that it holds


class Told:
    """What is not wrong with samples, but may not be as it was meant."""

    def __init__(self):
        self.ids: dict[Colour, int] = {}  # the id that masks show in a colour
        # the first colour that stands for two ids
        self.moved: tuple[Colour, int, int] | None = None
        self.turned: Counter[str] = Counter()  # images by split
        # split and number of the image that was first of its content
        self.places: dict[bytes, tuple[str, int]] = {}
        # images by their split and that of the first
        self.copies: Counter[tuple[str, str]] = Counter()

    def add(self, split: str, index: int, finding: Finding) -> None:
        self.turned[split] += finding.is_turned
        for colour, class_id in finding.colours.items():
            if self.ids.setdefault(colour, class_id) != class_id and self.moved is None:
                self.moved = (colour, self.ids[colour], class_id)
        if finding.digest is not None:
            first, _ = self.places.setdefault(finding.digest, (split, index))
            self.copies[split, first] += self.places[finding.digest] != (split, index)

    def sentences(self) -> list[str]:
        told = [
            f"{count} images of {split} are turned by their EXIF tag: their masks must be drawn on "
            "the turned image."
            for split, count in self.turned.items()
            if count
        ]
        if self.moved is not None:
            colour, first, second = self.moved
            told.append(
                f"Masks show id {first} and id {second} in one colour, {colour}: if they hold "
                "colours, numbered anew in every file, say what the colours mean: --palette."
            )
        return told + [
            f"{count} images of {split} are the same files as images of {first}."
            + (" What is scored has been trained on." if split != first else "")
            for (split, first), count in self.copies.items()
            if count
        ]


def pixels_by_id(labels: np.ndarray) -> dict[int, int]:
    """How many pixels each id has that occurs in labels (H, W) uint8."""
    counts = np.bincount(labels.ravel())
    return {int(class_id): int(counts[class_id]) for class_id in np.flatnonzero(counts)}


def digest_of(content: bytes) -> bytes:
    """What tells a file from others, in 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()
