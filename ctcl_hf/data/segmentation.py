"""A data set for semantic segmentation: its splits, its classes, and what is wrong with them."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from transformers.utils import logging

from ..base.heartbeat import watched
from .findings import IF_WRONG, BadFiles, Finding, Holders, Problem, Told, by_cause
from .masks import IGNORE_INDEX, Colour
from .samples import SegmentationSamples
from .streaming import StreamedRows
from .summary import DataSummary, SplitSummary
from .unscored import remark_on_names

if TYPE_CHECKING:
    import datasets

logger = logging.get_logger(__name__)
BAD_SHOWN = 5  # causes that keep files from being used, and files of each, on a terminal


@dataclass(frozen=True)
class SegmentationData:
    """What a builder yields.

    splits: {"train", "validation"[, "test"]} of {"image": Image, "label": Image}, decoded when
        read. A split without a "label" column has images alone. `StreamedRows` will do as well.
    class_names, palette: of classes 0..K-1; palette holds RGB triples.
    image_size: usual (height, width) of an image in pixels.
    label_map, colours: what the masks' ids and colours stand for, see `MaskReader`.
    title: what it is called in a sentence, where its name is not enough.
    protocol: how its benchmark is scored, a name of `PROTOCOLS`.
    hub_id: "user/name", if it comes from the Hub.
    source: where its files were found, and what is to be known of them.
    left_out: what of them is not taken, a sentence for each reason.
    unusable: how many files of those cannot be used, or lack their counterpart.
    told_ids: ids in the masks of which its user has said what they stand for; a check tells those
        that no mask holds.
    prediction_ids: what its benchmark calls classes 0..K-1 in predictions that are handed in; None
        if the same.
    """

    name: str
    splits: "Mapping[str, datasets.Dataset | StreamedRows]"
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]
    image_size: tuple[int, int]
    label_map: Mapping[int, int] = field(default_factory=dict)
    title: str | None = None
    colours: Mapping[Colour, int] = field(default_factory=dict)
    protocol: str = "whole"
    hub_id: str | None = None
    source: str | None = None
    left_out: tuple[str, ...] = ()
    unusable: int = 0
    prediction_ids: tuple[int, ...] | None = None
    told_ids: tuple[int, ...] = ()

    def __post_init__(self):
        if len(self.palette) != len(self.class_names):
            raise ValueError(
                f"{self.name}: {len(self.class_names)} classes, but {len(self.palette)} colours."
            )

    def __str__(self) -> str:
        """Its splits, number of classes and source in one line."""
        return self.with_counts({split: len(rows) for split, rows in self.splits.items()})

    def with_counts(self, images: Mapping[str, int]) -> str:
        """The same with these numbers of images."""
        counts = ", ".join(f"{split} {count}" for split, count in images.items())
        known = "; ".join(filter(None, [self.source, *self.left_out]))
        return (
            f"{self.title or self.name}: {counts} images, {len(self.class_names)} classes"
            f"{f' ({known})' if known else ''}"
        )

    @property
    def scored_splits(self) -> list[str]:
        """The splits that students are scored on: all with labels but train."""
        return [
            split
            for split, rows in self.splits.items()
            if split != "train" and "label" in rows.column_names
        ]

    def samples(self, split: str, transform: Callable) -> "SegmentationSamples":
        """The split as a map-style data set of transformed samples."""
        return SegmentationSamples(
            self.splits[split], len(self.class_names), transform, self.label_map, self.colours
        )

    def part(self, numbers: Mapping[str, int]) -> "SegmentationData":
        """The same with at most so many images in these splits, spread evenly: neighbours may be
        frames of a film.
        """
        splits = dict(self.splits)
        for split, number in numbers.items():
            total = len(splits[split])
            if number < total:
                splits[split] = splits[split].select([i * total // number for i in range(number)])
        return replace(self, splits=splits)

    def without_bad(self) -> "SegmentationData":
        """The same without images and masks that `check` would refuse: `left_out` counts them, and
        tells each cause with the first files.

        Reads every file. ValueError if nothing is left of a split.
        """
        splits = dict(self.splits)
        told, unusable = [], self.unusable
        for split, rows in self.splits.items():
            findings = self._findings(split, "Reading")
            problems = {i: finding.problem for i, finding in enumerate(findings) if finding.problem}
            if not problems:
                continue
            if len(problems) == len(rows):
                bad = {split: list(problems.values())}
                told_all = [f"No image of {split} of {self.name} can be used."]
                raise BadFiles("\n".join([*told_all, *by_cause(bad, BAD_SHOWN)]), bad)
            splits[split] = rows.select(
                [index for index in range(len(rows)) if index not in problems]
            )
            unusable += len(problems)
            causes = by_cause({split: list(problems.values())}, BAD_SHOWN)
            reasons = "; ".join(cause.rstrip(".") for cause in causes)
            told.append(f"left out as bad: {len(problems)} of {len(rows)} of {split} ({reasons})")
        left_out = (*self.left_out, *told)
        return replace(self, splits=splits, left_out=left_out, unusable=unusable)

    def told_by_files(self) -> tuple[list[str], Holders, int]:
        """What keeps files from being used, as `check` says it; which ids beside IGNORE_INDEX all
        other masks hold, and how many these are.

        Reads every file.
        """
        bad: dict[str, list[Problem]] = {split: [] for split in self.splits}
        ids, masks = Holders(), 0
        for split in self.splits:
            samples = self.samples(split, transform=None)
            for index, finding in enumerate(self._findings(split, "Reading")):
                if finding.problem:
                    bad[split].append(finding.problem)
                    continue
                masks += "label" in samples.rows.column_names
                for class_id in sorted(finding.pixels.keys() - {IGNORE_INDEX}):
                    ids.add(class_id, samples.paths(index, "label"))
        return by_cause(bad, BAD_SHOWN), ids, masks

    def _findings(
        self, split: str, doing: str, watched_ids: set[int] | None = None
    ) -> Iterator[Finding]:
        """What every sample of a split holds, in order, several read at a time.

        watched_ids: of masks; each is taken out once one holds it.
        """
        samples = self.samples(split, transform=None)
        if watched_ids is not None:
            samples.read_mask.watched = watched_ids
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            findings = pool.map(samples.inspect, range(len(samples)))
            yield from watched(findings, f"{doing} {self.name} {split}", len(samples))

    @property
    def is_streamed(self) -> bool:
        return any(isinstance(rows, StreamedRows) for rows in self.splits.values())

    def check(self) -> DataSummary:
        """Reads every image and mask once, and returns what they hold.

        ValueError says each cause that keeps files from being used once, with their number and the
        first of them. It is raised as well where there would be nothing to learn or to validate
        on. Warns of classes without a pixel, and of what may not be as it was meant: turned images,
        and images that are in two splits.
        """
        bad: dict[str, list[Problem]] = {split: [] for split in self.splits}
        seen: dict[str, set[int]] = {}
        told = Told(self.told_ids)
        summary = DataSummary(self.class_names, {})
        for split, rows in self.splits.items():
            seen[split] = set()
            counted = summary.splits[split] = SplitSummary(
                len(self.class_names), "label" in rows.column_names
            )
            for index, finding in enumerate(self._findings(split, "Checking", told.unmet)):
                if finding.problem:
                    bad[split].append(finding.problem)
                    continue
                seen[split].update(finding.pixels)
                counted.add(finding)
                told.add(split, index, finding)
        if causes := by_cause(bad, BAD_SHOWN):
            raise BadFiles("\n".join(causes), bad)
        for sentence in [*told.sentences(), *self.remarks_on_names()]:
            logger.warning(f"{self.name}: {sentence}")
        self._check_classes(seen)
        return summary

    def check_classes(self) -> None:
        """Reads training masks until two classes were seen.

        ValueError if there are none such, as `check` does, and of what keeps images from being
        used.
        """
        samples = self.samples("train", transform=None)
        seen: set[int] = set()
        bad: list[Problem] = []
        for index in range(len(samples)):
            finding = samples.inspect(index)
            if finding.problem:
                bad.append(finding.problem)
            seen.update(finding.pixels)
            if self.problem_of_classes(seen) is None:
                return
        causes = by_cause({"train": bad}, BAD_SHOWN)
        if bad and len(bad) == len(samples):
            told = f"No training image of {self.name} can be used."
        else:
            told = str(self.problem_of_classes(seen))
        if not bad:
            raise ValueError(told)
        raise BadFiles("\n".join([told, *causes]), {"train": bad})

    def remarks_on_names(self) -> list[str]:
        """That a class may mean what is not scored, by its name."""
        remark = remark_on_names(self.class_names, self.label_map, self.colours)
        return [] if remark is None else [remark]

    def problem_of_classes(self, seen: Collection[int]) -> str | None:
        """What is wrong where training masks hold these ids: fewer than two classes of several."""
        held = sorted({*seen} - {IGNORE_INDEX})
        if len(held) >= min(2, len(self.class_names)):
            return None
        hint = ""
        if IGNORE_INDEX in seen:
            hint = (
                " They hold 255 as well, which is not scored: if it stands for a class, as in "
                "masks of 0 and 255, say which, such as --label_map "
                f"255:{min(1, len(self.class_names) - 1)}."
            )
        what = f"{self.class_names[held[0]]} alone" if held else "no class"
        return (
            f"The training masks of {self.name} hold {what}, of {len(self.class_names)} classes: "
            f"there is nothing to tell apart, and every score would be perfect or missing.{hint}"
        )

    def _check_classes(self, seen: Mapping[str, set[int]]) -> None:
        """Of the ids that each split's masks hold."""
        if "train" not in seen:
            raise ValueError(f"{self.name} has no training images, but {', '.join(self.splits)}.")
        if problem := self.problem_of_classes(seen["train"]):
            raise ValueError(problem)
        if not seen.get("validation", {0}) - {IGNORE_INDEX}:
            raise ValueError(
                f"No validation mask of {self.name} has a pixel of any class: there is nothing to "
                "score."
            )
        for split in self.scored_splits:
            if not seen[split] - {IGNORE_INDEX}:
                logger.warning(
                    f"No mask of {split} of {self.name} has a pixel of any class: it will not be "
                    "scored."
                )
        if absent := [name for i, name in enumerate(self.class_names) if i not in seen["train"]]:
            logger.warning(
                f"No training mask of {self.name} has a pixel of {', '.join(absent)}. {IF_WRONG}"
            )
