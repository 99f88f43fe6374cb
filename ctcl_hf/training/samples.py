"""Data sets of anyone's as samples for a trainer: asked for by key, checked one by one, refused in
a sentence.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from ..data import IGNORE_INDEX, BadSample, SegmentationSamples
from ..methods.pair import StudentPair
from .reproducibility import drawn_from


class CheckedSamples(Dataset):
    """A data set that is indexed by number, asked for by index or, to train, by (seed, epoch,
    index).

    An item carries its "index", so that whoever has a batch can say which images it is of.

    `SegmentationSamples`, within `Subset` and `ConcatDataset` too, draw their augmentation from
    that key. For any other (a list, a `datasets.Dataset`, a class of one's own), random numbers are
    the key's while an item is made, and it is checked.

    Args:
        dataset: items {"pixel_values": (3, H, W) RGB in 0..255, "labels": (H, W) class ids or
            `ignore_index`}.
        num_classes, ignore_index: what labels may hold.

    Raises:
        TypeError: a data set without a length.
        BadSample: when it is asked for, an item that is not as it should be.
    """

    def __init__(self, dataset: Any, num_classes: int, ignore_index: int):
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise TypeError(
                f"A {type(dataset).__name__} has no length and is not indexed by number, so that "
                "no epoch could be drawn from the seed, nor resumed. Give one that is: "
                "build_own(..., streaming=True) makes one of Parquet files that need not fit the "
                "disk."
            )
        self.dataset = dataset
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int, int]) -> dict[str, Tensor]:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        dataset, own = origin(self.dataset, index)
        if isinstance(dataset, SegmentationSamples):
            return dataset[seed, epoch, own] | {"index": index}
        with drawn_from(seed, epoch, index):
            sample = dataset[own]
        try:
            sample = self._checked(sample)
            if (
                isinstance(key, tuple)
                and sample["labels"].shape != sample["pixel_values"].shape[1:]
            ):
                raise ValueError(
                    f"labels of {_size(sample['labels'])} pixels for an image of "
                    f"{_size(sample['pixel_values'])}"
                )
        except (ValueError, TypeError) as error:
            raise BadSample(
                f"Sample {index} of the {type(self.dataset).__name__} cannot be used: {error}. "
                "Expected: a dictionary of pixel_values (3, height, width), RGB in 0..255, and "
                "labels (height, width), class ids."
            ) from error
        return sample | {"index": index}

    def check_first(self, to_train: bool) -> None:
        """Makes the first item, so that a data set that cannot be used is told at once.

        ValueError says why.
        """
        if not len(self):
            raise ValueError(f"The data set, a {type(self.dataset).__name__}, has no sample.")
        # whose bad files training tells
        if not isinstance(origin(self.dataset, 0)[0], SegmentationSamples):
            self[(0, 0, 0) if to_train else 0]
        elif self.ignore_index != IGNORE_INDEX:
            raise ValueError(
                f"Pixels without a class are {IGNORE_INDEX} in the data, but {self.ignore_index} "
                "to the students (semantic_loss_ignore_index of their configuration). Load them "
                "with ctcl_hf.load_student, or set it."
            )

    def name(self, index: int) -> str:
        """A sample's files, or its number where it has none that are known."""
        dataset, own = origin(self.dataset, index)
        if isinstance(dataset, SegmentationSamples) and not dataset.is_anonymous(own):
            return dataset.paths(own)
        return f"sample {index}"

    def _checked(self, sample: Any) -> dict[str, Tensor]:
        if not isinstance(sample, Mapping):
            raise TypeError(f"it is a {type(sample).__name__}")
        if set(sample) != {"pixel_values", "labels"}:
            raise ValueError(f"it has {', '.join(map(str, sample)) or 'nothing'}")
        pixels, labels = (torch.as_tensor(sample[name]) for name in ("pixel_values", "labels"))
        if pixels.ndim != 3 or len(pixels) != 3 or labels.ndim != 2:
            raise ValueError(f"shapes {tuple(pixels.shape)} and {tuple(labels.shape)}")
        low, high = (float(bound) for bound in pixels.aminmax())
        if low < 0 or high > 255 or (pixels.is_floating_point() and high <= 1):
            raise ValueError(
                f"pixel_values from {low:g} to {high:g}; each student normalises them itself"
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"labels are {labels.dtype}")
        foreign = labels[
            ((labels < 0) | (labels >= self.num_classes)) & (labels != self.ignore_index)
        ]
        if len(foreign):
            raise ValueError(
                f"labels hold {foreign.unique().tolist()[:8]}, neither in "
                f"0..{self.num_classes - 1} nor {self.ignore_index}, which is ignored"
            )
        return {"pixel_values": pixels, "labels": labels}


def samples_for(pair: StudentPair, dataset: Any) -> CheckedSamples:
    """The data set, checked for these students."""
    student = next(iter(pair.students.values()))
    return CheckedSamples(dataset, student.config.num_labels, student.ignore_index)


def origin(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set that an item of torch's `Subset` or `ConcatDataset` comes from, and its index
    there.
    """
    if type(dataset) is Subset:  # not one of its subclasses, which may do more to an item
        return origin(dataset.dataset, int(dataset.indices[index]))
    if type(dataset) is ConcatDataset:
        part = bisect_right(dataset.cumulative_sizes, index)
        return origin(
            dataset.datasets[part], index - (dataset.cumulative_sizes[part - 1] if part else 0)
        )
    return dataset, index


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape[-2:]))
