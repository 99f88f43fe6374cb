"""Training and evaluation samples: the files of a split, read and transformed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from .findings import Finding, Problem, digest_of, pixels_by_id
from .images import content_of, open_stored, read_pixels, shown_size
from .masks import IGNORE_INDEX, BadValues, Colour, MaskReader, shown_colours
from .streaming import StreamedRows

if TYPE_CHECKING:
    import datasets


class BadSample(ValueError):
    """An image or a mask that cannot be used; the message names it."""


def is_of_sample(error: Exception) -> bool:
    """Whether it says that an image or a mask cannot be used, here or in a worker."""
    return isinstance(error, BadSample) or f"{BadSample.__name__}: " in str(error)


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
            raise BadSample(str(self._problem("Cannot read", index, "image", error))) from error

    def inspect(self, index: int) -> Finding:
        """What there is to be said of a sample: what is wrong with it, or what it holds."""
        read = self.examine(index)
        if isinstance(read, Problem):
            return Finding(read)
        _, labels, is_turned = read
        return Finding(
            None,
            pixels_by_id(labels),
            labels.shape,
            is_turned,
            digest_of(content_of(self.stored(index)["image"])),
            self.shown_colours(index),
        )

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
        read = self.examine(index)
        if isinstance(read, Problem):
            raise BadSample(str(read))
        return read

    def examine(self, index: int) -> tuple[np.ndarray, np.ndarray, bool] | Problem:
        """As `decode`, or why the sample cannot be used."""
        try:
            files = self.stored(index)
            pixels, is_turned = read_pixels(open_stored(files["image"]))
        except Exception as error:
            # whatever keeps one row from being read becomes one sentence that names it
            return self._problem("Cannot read", index, "image", error)
        if "label" not in files:
            return pixels, np.full(pixels.shape[:2], IGNORE_INDEX, dtype=np.uint8), is_turned
        try:
            labels = self.read_mask(open_stored(files["label"]))
        except Exception as error:
            problem = self._problem("Bad mask of", index, "label", error)
            if isinstance(error, BadValues) and not _has_size_of(files["label"], pixels):
                problem = problem._replace(
                    cause=f"{problem.cause} It has another size than its image, too."
                )
            return problem
        if labels.shape != pixels.shape[:2]:
            turned = ""
            if is_turned and labels.shape == pixels.shape[1::-1]:
                turned = (
                    " The image is turned by its EXIF tag, and the mask was drawn on what is "
                    "stored: turn the image's pixels for good (ImageOps.exif_transpose) and the "
                    "mask as well, or remove the tag."
                )
            (height, width), (mask_height, mask_width) = pixels.shape[:2], labels.shape
            return Problem(
                "Bad mask of",
                index,
                self.paths(index),
                f"A mask must have its image's size: got {{}} (height x width).{turned}",
                (f"mask {mask_height}x{mask_width} and image {height}x{width}",),
            )
        return pixels, labels, is_turned

    def _problem(self, what: str, index: int, column: str, error: Exception) -> Problem:
        cause: str = str(error) or type(error).__name__
        values: tuple = ()
        if isinstance(error, BadValues):
            cause, values = error.sentence, error.values
        of_ids = isinstance(error, BadValues)
        return Problem(what, index, self.paths(index, column), cause, values, of_ids)

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

    def is_anonymous(self, index: int) -> bool:
        """Whether nothing but its number names a sample: it is embedded in no shard of a name."""
        if isinstance(self.rows, StreamedRows):
            return False
        return not any(file["path"] for file in self.stored(index).values())

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


def _has_size_of(mask: dict, pixels: np.ndarray) -> bool:
    """Whether the header of a stored mask says the size of pixels (H, W, 3)."""
    return open_stored(mask).size == pixels.shape[1::-1]


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


def _seed_of(*key: int) -> int:
    """A seed that differs between keys as random numbers do."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def collate_for_evaluation(samples: list[dict[str, torch.Tensor]]) -> dict:
    """Images as one batch; labels as a list, each at its own size."""
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "labels": [sample["labels"] for sample in samples],
    }
