"""What a check of a data set finds in its samples, and says of them."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..base.tables import counted
from .masks import Colour, with_values

NONE: Mapping = MappingProxyType({})
OF_IDS = (
    "What masks hold is said by --class_names, --label_map, --ignore_index, --reduce_labels and "
    "--palette: docs/data.md."
)
OF_MODELS_IDS = (
    "If these are data of your own with other classes than the model, say what each id is to the "
    "model, --label_map OLD:NEW ..., 255 for none: ids that it knows may be of other classes, too."
)


class BadFiles(ValueError):
    """What keeps files of data from being used, by split."""

    def __init__(self, told: str, bad: Mapping[str, Sequence["Problem"]]):
        super().__init__(told)
        self.bad = bad

    @property
    def problems(self) -> list["Problem"]:
        return [problem for own in self.bad.values() for problem in own]


class Problem(NamedTuple):
    """Why a sample cannot be used; as text, in one sentence.

    what: is to be said before "sample".
    cause: a sentence that other samples may share, with {} for the values of this one.
    of_ids: whether the mask holds what means nothing.
    """

    what: str
    index: int
    paths: str
    cause: str
    values: tuple = ()
    of_ids: bool = False

    def __str__(self) -> str:
        told = with_values(self.cause, self.values)
        return f"{self.what} sample {self.index} ({self.paths}): {told}"


# of classes without a pixel
IF_WRONG = (
    "If that is wrong, so are the names of the classes, or what the ids in the masks stand for."
)


def ways_to_say_ids(problems: Iterable[Problem], num_classes: int) -> list[str]:
    """Which options say what masks of a user's own data hold, where some hold what means nothing; a
    sentence each, none where all is known.
    """
    values = {value for problem in problems if problem.of_ids for value in problem.values}
    if not values:
        return []
    last = num_classes
    likely = (
        f"{num_classes} classes are named, 0..{last - 1}. If {last} is one, name it as well "
        f"(--class_names). If {last} is what is not scored: --ignore_index {last}. If 0 is, and "
        f"classes are 1..{last}: --reduce_labels."
    )
    return [*([likely] if values == {last} else []), OF_IDS]


def by_cause(bad: Mapping[str, Sequence[Problem]], most: int | None = None) -> list[str]:
    """A sentence for each cause, those of most samples first, with how many of each split it keeps
    from being used.

    most: of the causes, and of the files that each is of; None for all of them.
    """
    groups: dict[tuple[str, str], list[tuple[str, Problem]]] = {}
    for split, problems in bad.items():
        for problem in problems:
            groups.setdefault((problem.what, problem.cause), []).append((split, problem))
    ordered = sorted(groups.values(), key=len, reverse=True)
    told = [_of_one_cause(own, most) for own in ordered[:most]]
    if rest := sum(map(len, ordered[len(told) :])):
        told.append(f"{rest} more cannot be used, for other causes.")
    return told


def _of_one_cause(own: Sequence[tuple[str, Problem]], most: int | None) -> str:
    _, first = own[0]
    if len(own) == 1:
        return str(first)
    counts = Counter(split for split, _ in own)
    splits = " and ".join(f"{count} of {split}" for split, count in counts.items())
    paths = [problem.paths for _, problem in own[:most]]
    shown = ", ".join([*paths, *(["..."] if len(paths) < len(own) else [])])
    holders = Holders()
    for _, problem in own:
        for value in problem.values:
            holders.add(value, problem.paths)
    told = with_values(first.cause, holders.told(len(own)))
    return f"{first.what} {len(own)} samples, {splits} ({shown}): {told}"


class Holders:
    """Which values samples hold: of each, in order, the first sample's files and how many there
    are.
    """

    def __init__(self) -> None:
        self.first: dict[Any, str] = {}
        self.counts: Counter[Any] = Counter()

    def add(self, value: Any, paths: str) -> None:
        self.first.setdefault(value, paths)
        self.counts[value] += 1

    def told(self, total: int) -> list[str]:
        """Each value, by its numbers, and where it is if not in all of so many samples."""
        where = {value: paths for value, paths in self.first.items() if self.counts[value] == 1}
        return [
            str(value) if count == total else f"{value} (in {where.get(value, count)})"
            for value, count in sorted(self.counts.items(), key=lambda held: _numbers(held[0]))
        ]


def _numbers(value: Any) -> list[int]:
    """Those of an id, of a colour, or of "3 in (64, 0, 128)"."""
    return [int(number) for number in re.findall(r"-?\d+", str(value))]


class Finding(NamedTuple):
    """What there is to be said of a sample."""

    problem: Problem | None  # why it cannot be used; then nothing else is known
    pixels: Mapping[int, int] = NONE  # of its labels, by id
    size: tuple[int, int] = (0, 0)  # height and width of its image
    is_turned: bool = False  # by its image's EXIF tag
    digest: bytes | None = None  # of its image's file
    colours: Mapping[Colour, int] = NONE  # in which its mask shows the ids that it holds


class Told:
    """What is not wrong with samples, but may not be as it was meant."""

    def __init__(self, told_ids: Iterable[int] = ()):
        # of masks, for which an option says what they stand, and which none has held so far
        self.unmet = set(told_ids)
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
            _of(count, split, "is turned by its EXIF tag", "are turned by their EXIF tag")
            + f": {'its mask' if count == 1 else 'their masks'} must be drawn on the turned image."
            for split, count in self.turned.items()
            if count
        ]
        if self.moved is not None:
            colour, first, second = self.moved
            told.append(
                f"Masks show id {first} and id {second} in one colour, {colour}: if they hold "
                "colours, numbered anew in every file, say what the colours mean: --palette."
            )
        if self.unmet:
            ids = ", ".join(map(str, sorted(self.unmet)))
            told.append(
                f"No mask holds {ids}, of which --label_map or --ignore_index says what it stands "
                "for."
            )
        return told + [
            _of(count, split, "is the same file as one", "are the same files as images")
            + f" of {first}."
            + (" What is scored has been trained on." if split != first else "")
            for (split, first), count in self.copies.items()
            if count
        ]


def _of(count: int, split: str, one: str, several: str) -> str:
    return f"{counted(count, 'image')} of {split} {one if count == 1 else several}"


def pixels_by_id(labels: np.ndarray) -> dict[int, int]:
    """How many pixels each id has that occurs in labels (H, W) uint8."""
    counts = np.bincount(labels.ravel())
    return {int(class_id): int(counts[class_id]) for class_id in np.flatnonzero(counts)}


def digest_of(content: bytes) -> bytes:
    """What tells a file from others, in 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()
