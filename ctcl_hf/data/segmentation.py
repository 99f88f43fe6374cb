"""A data set for semantic segmentation, and its view as training or evaluation samples."""

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers.utils import logging

from .findings import Finding, Told, digest_of, pixels_by_id
from .images import content_of, open_stored, read_pixels, shown_size
from .masks import IGNORE_INDEX, Colour, MaskReader, shown_colours
from .streaming import StreamedRows
from .summary import DataSummary, SplitSummary

if TYPE_CHECKING:
    import datasets


logger = logging.get_logger(__name__)


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
    prediction_ids: tuple[int, ...] | None = None

    def __post_init__(self):
        if len(self.palette) != len(self.class_names):
            raise ValueError(
                f"{self.name}: {len(self.class_names)} classes, but {len(self.palette)} colours."
            )

    def __str__(self) -> str:
        """Its splits, number of classes and source in one line."""
        counts = ", ".join(f"{split} {len(rows)}" for split, rows in self.splits.items())
        source = f" ({self.source})" if self.source else ""
        return (
            f"{self.title or self.name}: {counts} images, {len(self.class_names)} classes{source}"
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
        """The same without images and masks that `check` would refuse: `source` counts them, and
        names the first.

        Reads every file. ValueError if nothing is left of a split.
        """
        splits, told = dict(self.splits), []
        for split, rows in self.splits.items():
            samples = self.samples(split, transform=None)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                findings = pool.map(samples.inspect, range(len(rows)))
                reading = tqdm(
                    findings, f"Reading {self.name} {split}", len(rows), leave=False, disable=None
                )
                problems = {
                    index: finding.problem
                    for index, finding in enumerate(reading)
                    if finding.problem
                }
            if not problems:
                continue
            first = next(iter(problems.values()))
            if len(problems) == len(rows):
                raise ValueError(
                    f"No image of {split} of {self.name} can be used. The first: {first}"
                )
            splits[split] = rows.select(
                [index for index in range(len(rows)) if index not in problems]
            )
            told.append(
                f"left out as bad: {len(problems)} of {len(rows)} of {split} ({first.rstrip('.')})"
            )
        return replace(self, splits=splits, source="; ".join(filter(None, [self.source, *told])))

    @property
    def is_streamed(self) -> bool:
        return any(isinstance(rows, StreamedRows) for rows in self.splits.values())

    def check(self) -> DataSummary:
        """Reads every image and mask once, and returns what they hold.

        ValueError names each split's first bad file and counts the others. It is raised as well
        where there would be nothing to learn or to validate on. Warns of classes without a pixel,
        and of what may not be as it was meant: turned images, and images that are in two splits.
        """
        problems, seen, told = [], {}, Told()
        summary = DataSummary(self.class_names, {})
        for split, rows in self.splits.items():
            samples = self.samples(split, transform=None)
            found, seen[split] = [], set()
            counted = summary.splits[split] = SplitSummary(
                len(self.class_names), "label" in rows.column_names
            )
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                checks = tqdm(
                    pool.map(samples.inspect, range(len(rows))),
                    f"Checking {self.name} {split}",
                    len(rows),
                    leave=False,
                    disable=None,
                )
                for index, finding in enumerate(checks):
                    if finding.problem:
                        found.append(finding.problem)
                        continue
                    seen[split].update(finding.pixels)
                    counted.add(finding)
                    told.add(split, index, finding)
            if found:
                more = f" (and {len(found) - 1} more in {split})" if len(found) > 1 else ""
                problems.append(found[0] + more)
        if problems:
            raise ValueError("\n".join(problems))
        for sentence in told.sentences():
            logger.warning(f"{self.name}: {sentence}")
        self._check_classes(seen)
        return summary

    def check_classes(self) -> None:
        """Reads training masks until two classes were seen.

        ValueError if there are none such, as `check` does.
        """
        samples, seen = self.samples("train", transform=None), set()
        for index in range(len(samples)):
            seen.update(samples.inspect(index).pixels)
            if self.problem_of_classes(seen) is None:
                return
        raise ValueError(self.problem_of_classes(seen))

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
                f"No training mask of {self.name} has a pixel of {', '.join(absent)}. If that is "
                "wrong, so are the names of the classes, or what the ids in the masks stand for."
            )


class BadSample(ValueError):
    """An image or a mask that cannot be used; the message names it."""


def reason_of(error: Exception) -> str:
    """What an error says of data, without the traceback that a worker puts before a `BadSample`."""
    return str(error).rpartition(f"{BadSample.__name__}: ")[2].strip().rstrip(".")


class SegmentationSamples(Dataset):
    """Samples {"pixel_values": uint8 (3, H, W) RGB, "labels": uint8 (H, W)} of one split.

    An item is asked for by index, or by (seed, epoch, index): its augmentation is drawn from these
    three alone, so it depends neither on the number of workers nor on what was loaded before.
    """

    def __init__(
        self,
        rows: "datasets.Dataset | StreamedRows",
        num_classes: int,
        transform: Callable,
        label_map: Mapping[int, int] | None = None,
        colours: Mapping[Colour, int] | None = None,
    ):
        self.rows = rows
        self._encoded = undecoded(rows)
        self.num_classes = num_classes
        self.transform = transform
        self.label_map, self.colours = dict(label_map or {}), dict(colours or {})
        self.read_mask = MaskReader(num_classes, label_map, colours)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int, int]) -> dict[str, torch.Tensor]:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        if index >= len(self):  # which ends a loop over the samples, and is no bad file
            raise IndexError(f"There are {len(self)} samples, and none of number {index}.")
        image, labels = self.read(index)
        state = torch.get_rng_state()
        try:
            # torch.manual_seed would also note the seed for GPUs that a worker never opens, with a
            # traceback each time.
            torch.default_generator.manual_seed(_seed_of(seed, epoch, index))
            image, labels = self.transform(image, labels)
        finally:
            torch.set_rng_state(state)
        return {"pixel_values": image, "labels": labels}

    def order(self, rng: np.random.Generator, processes: int, batch_size: int) -> np.ndarray:
        """The indices in the order of an epoch: any, or one that `StreamedRows` can read as it
        comes.
        """
        if isinstance(self.rows, StreamedRows):
            return self.rows.order(rng, processes, batch_size)
        return rng.permutation(len(self))

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded image (3, H, W) uint8 and class ids (H, W) uint8, as stored. BadSample names a
        bad file.

        Without a label all pixels are IGNORE_INDEX.
        """
        pixels, labels, _ = self.decode(index)
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels)

    def read_picture(self, index: int) -> tuple[Image.Image, np.ndarray]:
        """Image (RGB) and class ids (H, W), as stored, to be looked at.

        BadSample names a bad file.
        """
        pixels, labels, _ = self.decode(index)
        return Image.fromarray(pixels), labels

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) that the image is read in, from its header.

        BadSample names a bad file.
        """
        try:
            return shown_size(open_stored(self.stored(index)["image"]))
        except Exception as error:
            raise BadSample(
                f"Cannot read sample {index} ({self.paths(index, 'image')}): {_told(error)}"
            ) from error

    def inspect(self, index: int) -> Finding:
        """What there is to be said of a sample: what is wrong with it, or what it holds."""
        try:
            _, labels, is_turned = self.decode(index)
            digest = digest_of(content_of(self.stored(index)["image"]))
            return Finding(
                None,
                pixels_by_id(labels),
                labels.shape,
                is_turned,
                digest,
                self.shown_colours(index),
            )
        except BadSample as error:
            return Finding(str(error))

    def name(self, index: int) -> str:
        """The image file's name without its suffix; the sample's number if it is embedded without
        one.
        """
        path = self.stored(index)["image"]["path"]
        return Path(path).stem if path else f"{index:06}"

    def names(self) -> tuple[str, ...]:
        """`name` of every sample, in order; streamed rows, whose names come with their images, by
        number.
        """
        if isinstance(self.rows, StreamedRows):
            return tuple(f"{index:06}" for index in range(len(self)))
        return tuple(self.name(index) for index in range(len(self)))

    def shown_colours(self, index: int) -> dict[Colour, int]:
        """The colours in which a mask shows the indices that it is read by, if it has a palette and
        none was given.
        """
        if self.read_mask.colours or "label" not in (files := self.stored(index)):
            return {}
        return shown_colours(open_stored(files["label"]))

    def decode(self, index: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """RGB (H, W, 3) and class ids (H, W), both uint8; and whether an EXIF tag turned it.

        BadSample if none.
        """
        try:
            files = self.stored(index)
            image = open_stored(files["image"])
            pixels, is_turned = read_pixels(image)
        except Exception as error:
            # whatever keeps one row from being read becomes one sentence that names it
            raise BadSample(
                f"Cannot read sample {index} ({self.paths(index, 'image')}): {_told(error)}"
            ) from error
        if "label" not in files:
            return pixels, np.full(pixels.shape[:2], IGNORE_INDEX, dtype=np.uint8), is_turned
        try:
            labels = self.read_mask(open_stored(files["label"]))
        except Exception as error:
            raise BadSample(
                f"Bad mask of sample {index} ({self.paths(index, 'label')}): {_told(error)}"
            ) from error
        if labels.shape != pixels.shape[:2]:
            turned = ""
            if is_turned and labels.shape == pixels.shape[1::-1]:
                turned = (
                    " The image is turned by its EXIF tag, and the mask was drawn on what is "
                    "stored: turn the image's pixels for good (ImageOps.exif_transpose) and the "
                    "mask as well, or remove the tag."
                )
            (height, width), (mask_height, mask_width) = pixels.shape[:2], labels.shape
            raise BadSample(
                f"A mask must have its image's size: got mask {mask_width}x{mask_height} and image "
                f"{width}x{height} (width x height) in {self.paths(index)}.{turned}"
            )
        return pixels, labels, is_turned

    def paths(self, index: int, *columns: str) -> str:
        """The sample's files, or those of some columns, for messages."""
        try:
            files = self.stored(index)
        except Exception:  # what is being named is that it cannot be read
            return (
                f"{self.rows.place(index)}"
                if isinstance(self.rows, StreamedRows)
                else f"row {index}"
            )
        names = [
            file["path"] or f"an embedded {name}"
            for name, file in files.items()
            if name in columns or not columns
        ]
        place = f", {self.rows.place(index)}" if isinstance(self.rows, StreamedRows) else ""
        return " and ".join(names) + place

    def stored(self, index: int) -> dict[str, dict]:
        """The sample's columns undecoded, each as {"bytes", "path"}, of which one may be None."""
        if isinstance(self.rows, StreamedRows):
            return self.rows.stored(index)
        row = self._encoded[index]
        return {
            name: row[name] or {"bytes": None, "path": None}
            for name in ("image", "label")
            if name in row
        }


def undecoded(rows: "datasets.Dataset | StreamedRows") -> "datasets.Dataset | StreamedRows":
    """The rows with image and label as they are stored, which the readers of this package
    decode.
    """
    import datasets

    if isinstance(rows, StreamedRows):
        return rows
    for column in ("image", "label"):
        if column in rows.column_names:
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seed_of(*key: int) -> int:
    """A seed that differs between keys as random numbers do."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def collate_for_evaluation(samples: list[dict[str, torch.Tensor]]) -> dict:
    """Images as one batch; labels as a list, each at its own size."""
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "labels": [sample["labels"] for sample in samples],
    }
