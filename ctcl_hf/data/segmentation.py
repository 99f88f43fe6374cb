"""A data set for semantic segmentation, and its view as training or evaluation samples."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers.utils import logging

from .masks import IGNORE_INDEX, Colour, MaskReader
from .streaming import StreamedRows

if TYPE_CHECKING:
    import datasets


logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class SegmentationData:
    """What a builder yields.

    splits: {"train", "validation"[, "test"]} of {"image": Image, "label": Image}, decoded when read. A split without a
        "label" column has images alone. `StreamedRows` will do as well.
    class_names, palette: of classes 0..K-1; palette holds RGB triples.
    image_size: usual (height, width) of an image in pixels.
    label_map, colours: what the masks' ids and colours stand for, see `MaskReader`.
    title: what it is called in a sentence, where its name is not enough.
    protocol: how its benchmark is scored, a name of `PROTOCOLS`.
    hub_id: "user/name", if it comes from the Hub.
    source: where its files were found, and what is to be known of them.
    prediction_ids: what its benchmark calls classes 0..K-1 in predictions that are handed in; None if the same.
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
            raise ValueError(f"{self.name}: {len(self.class_names)} classes, but {len(self.palette)} colours.")

    def __str__(self) -> str:
        """Its splits, number of classes and source in one line."""
        counts = ", ".join(f"{split} {len(rows)}" for split, rows in self.splits.items())
        source = f" ({self.source})" if self.source else ""
        return f"{self.title or self.name}: {counts} images, {len(self.class_names)} classes{source}"

    @property
    def scored_splits(self) -> list[str]:
        """The splits that students are scored on: all with labels but train."""
        return [split for split, rows in self.splits.items() if split != "train" and "label" in rows.column_names]

    def samples(self, split: str, transform: Callable) -> "SegmentationSamples":
        """The split as a map-style data set of transformed samples."""
        return SegmentationSamples(self.splits[split], len(self.class_names), transform, self.label_map, self.colours)

    def part(self, numbers: Mapping[str, int]) -> "SegmentationData":
        """The same with at most so many images in these splits, spread evenly: neighbours may be frames of a film."""
        splits = dict(self.splits)
        for split, number in numbers.items():
            total = len(splits[split])
            if number < total:
                splits[split] = splits[split].select([i * total // number for i in range(number)])
        return replace(self, splits=splits)

    @property
    def is_streamed(self) -> bool:
        return any(isinstance(rows, StreamedRows) for rows in self.splits.values())

    def check(self) -> None:
        """Reads every image and mask once; ValueError names each split's first bad file and counts the others.

        Warns of classes without a pixel to learn them from.
        """
        problems, seen = [], set()
        for split, rows in self.splits.items():
            samples = self.samples(split, transform=None)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                checks = tqdm(
                    pool.map(samples.inspect, range(len(rows))), f"Checking {self.name} {split}", len(rows), leave=False
                )
                found = []
                for problem, ids in checks:
                    found += [problem] if problem else []
                    seen |= ids if split == "train" else set()
            if found:
                more = f" (and {len(found) - 1} more in {split})" if len(found) > 1 else ""
                problems.append(found[0] + more)
        if problems:
            raise ValueError("\n".join(problems))
        if absent := [name for i, name in enumerate(self.class_names) if i not in seen]:
            logger.warning(
                f"No training mask of {self.name} has a pixel of {', '.join(absent)}. If that is wrong, so are the "
                "names of the classes, or what the ids in the masks stand for."
            )


class BadSample(ValueError):
    """An image or a mask that cannot be used; the message names it."""


def reason_of(error: Exception) -> str:
    """What an error says of data, without the traceback that a worker puts before a `BadSample`."""
    return str(error).rpartition(f"{BadSample.__name__}: ")[2].strip().rstrip(".")


class SegmentationSamples(Dataset):
    """Samples {"pixel_values": uint8 (3, H, W) RGB, "labels": uint8 (H, W)} of one split.

    An item is asked for by index, or by (seed, epoch, index): its augmentation is drawn from these three alone, so it
    depends neither on the number of workers nor on what was loaded before.
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
        self.num_classes = num_classes
        self.transform = transform
        self.read_mask = MaskReader(num_classes, label_map, colours)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int, int]) -> dict[str, torch.Tensor]:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        image, labels = self.read(index)
        state = torch.get_rng_state()
        try:
            # torch.manual_seed would also note the seed for GPUs that a worker never opens, with a traceback each time.
            torch.default_generator.manual_seed(_seed_of(seed, epoch, index))
            image, labels = self.transform(image, labels)
        finally:
            torch.set_rng_state(state)
        return {"pixel_values": image, "labels": labels}

    def order(self, rng: np.random.Generator, processes: int, batch_size: int) -> np.ndarray:
        """The indices in the order of an epoch: any, or one that `StreamedRows` can read as it comes."""
        if isinstance(self.rows, StreamedRows):
            return self.rows.order(rng, processes, batch_size)
        return rng.permutation(len(self))

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded image (3, H, W) uint8 and class ids (H, W) uint8, as stored. BadSample names a bad file.

        Without a label all pixels are IGNORE_INDEX.
        """
        try:
            row = self.rows[index]
        except (OSError, SyntaxError, ValueError) as error:  # what PIL raises on truncated and on broken files
            raise BadSample(f"Cannot read sample {index} ({self.paths(index)}): {error}") from error
        image, mask = row["image"], row.get("label")
        if image.mode.startswith(("I", "F")):
            raise BadSample(f"An image must have 8 bits per channel, got mode {image.mode} in {self.paths(index)}.")
        if mask is None and "label" in self.rows.column_names:
            raise BadSample(f"No mask for sample {index} ({self.paths(index)}).")
        if mask is None:
            labels = np.full((image.height, image.width), IGNORE_INDEX, dtype=np.uint8)
        elif mask.size != image.size:
            raise BadSample(
                f"A mask must have its image's size: got mask {mask.width}x{mask.height} and image "
                f"{image.width}x{image.height} (width x height) in {self.paths(index)}."
            )
        else:
            try:
                labels = self.read_mask(mask)
            except ValueError as error:
                raise BadSample(f"Bad mask ({self.paths(index)}): {error}") from None
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1), torch.from_numpy(labels)

    def inspect(self, index: int) -> tuple[str | None, set[int]]:
        """What is wrong with a sample, or None; and the ids in its labels."""
        try:
            _, labels = self.read(index)
        except BadSample as error:
            return str(error), set()
        return None, set(np.flatnonzero(np.bincount(labels.numpy().ravel())).tolist())

    def paths(self, index: int) -> str:
        """The sample's files, for messages."""
        files = self.stored(index)
        return " and ".join(file["path"] or f"an embedded {name}" for name, file in files.items())

    def stored(self, index: int) -> dict[str, dict]:
        """The sample's columns undecoded, each as {"bytes", "path"}, of which one may be None."""
        if isinstance(self.rows, StreamedRows):
            return self.rows.stored(index)
        columns = [name for name in ("image", "label") if name in self.rows.column_names]
        row = self.rows.select([index]).select_columns(columns).with_format("arrow")[:].to_pylist()[0]
        return {name: row[name] or {"bytes": None, "path": None} for name in columns}


def _seed_of(*key: int) -> int:
    """A seed that differs between keys as random numbers do."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def collate_for_evaluation(samples: list[dict[str, torch.Tensor]]) -> dict:
    """Images as one batch; labels as a list, each at its own size."""
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "labels": [sample["labels"] for sample in samples],
    }
