"""A data set for semantic segmentation, and its view as training or evaluation samples."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import datasets

IGNORE_INDEX = 255
UNKNOWN = 254  # what an id that no mask may hold becomes when a mask is read


@dataclass(frozen=True)
class SegmentationData:
    """What a builder yields.

    splits: {"train", "validation"[, "test"]} of {"image": Image, "label": Image}, decoded when read.
    class_names, palette: of classes 0..K-1; palette holds RGB triples.
    image_size: usual (height, width) of an image in pixels.
    label_map: ids in the masks that stand for another id (such as "unlabelled" for IGNORE_INDEX).
    title: what it is called in a sentence, where its name is not enough.
    """

    name: str
    splits: "datasets.DatasetDict"
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image_size: tuple[int, int]
    label_map: Mapping[int, int] = field(default_factory=dict)
    title: str | None = None

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


class BadSample(ValueError):
    """An image or a mask that cannot be used; the message names it."""


class SegmentationSamples(Dataset):
    """Samples {"pixel_values": uint8 (3, H, W) RGB, "labels": uint8 (H, W)} of one split.

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
        if num_classes > UNKNOWN:
            raise ValueError(f"{num_classes} classes: 8-bit masks hold at most {UNKNOWN}.")
        self.rows = rows
        self.num_classes = num_classes
        self.transform = transform
        known = {i: i for i in [*range(num_classes), IGNORE_INDEX]} | dict(label_map or {})
        self.lookup = [known.get(mask_id, UNKNOWN) for mask_id in range(256)]

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

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded image (3, H, W) uint8 and class ids (H, W) uint8, as stored. BadSample names a bad file."""
        try:
            row = self.rows[index]
        except (OSError, SyntaxError) as error:  # what PIL raises on truncated and on broken files
            raise BadSample(f"Cannot read sample {index} ({self.paths(index)}): {error}") from error
        image, mask = row["image"].convert("RGB"), row["label"]
        if mask.mode not in ("1", "L", "P"):
            raise BadSample(
                f"A mask must hold one 8-bit class id per pixel, got mode {mask.mode} in {self.paths(index)}."
            )
        if mask.size != image.size:
            raise BadSample(
                f"A mask must have its image's size: got mask {mask.width}x{mask.height} and image "
                f"{image.width}x{image.height} (width x height) in {self.paths(index)}."
            )
        if mask.mode == "1":
            mask = Image.fromarray(np.asarray(mask).astype(np.uint8))
        labels = np.array(mask.point(self.lookup))
        if (labels == UNKNOWN).any():
            bad = np.unique(np.asarray(mask)[labels == UNKNOWN]).tolist()
            raise BadSample(
                f"Masks must hold class ids 0..{self.num_classes - 1} or {IGNORE_INDEX} (ignored), got {bad} in "
                f"{self.paths(index)}."
            )
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), torch.from_numpy(labels)

    def problem(self, index: int) -> str | None:
        """What is wrong with a sample, or None."""
        try:
            self.read(index)
        except BadSample as error:
            return str(error)
        return None

    def paths(self, index: int) -> str:
        """The sample's files, for messages."""
        from datasets import Features, Image

        undecoded = self.rows.select([index]).cast(Features(image=Image(decode=False), label=Image(decode=False)))[0]
        return " and ".join(undecoded[name]["path"] or f"an embedded {name}" for name in ("image", "label"))


def _seed_of(*key: int) -> int:
    """A seed that differs between keys as random numbers do."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def collate_for_evaluation(samples: list[dict[str, torch.Tensor]]) -> dict:
    """Images as one batch; labels as a list, each at its own size."""
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "labels": [sample["labels"] for sample in samples],
    }
