"""What every metric is that is scored beside mean IoU: sums over images, and scores of the sums."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor


class Metric(ABC):
    """Base of all metrics; a metric is one subclass, and one object of it is made for each model
    that is scored.

    Whatever it keeps of an image is added to `sums`, one tensor, which is added up over the
    processes before `compute`: so a score does not depend on how images are spread over them. Here
    `sums` is the confusion counts, int64 (K, K), rows what the label says, columns what was
    predicted. A metric of other things makes its own tensor of zeros in `__init__`, and overrides
    `add`.

    Args:
        num_classes: K.
        ignore_index: the label of pixels that are not scored.
    """

    # of each score, by its name in files and logs: what it is called in tables and on cards
    TITLES: ClassVar[Mapping[str, str]] = {}

    def __init__(self, num_classes: int, ignore_index: int):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.sums = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def add(self, predicted: Tensor, labels: Tensor, counts: Tensor) -> None:
        """Takes the next image: ids (H, W) predicted and ids (H, W) labelled, on any device, and
        their confusion counts, int64 (K, K) on the CPU, of labelled pixels.
        """
        self.sums += counts

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The scores of all images by their names in `TITLES`: shares in 0..1, NaN where there is
        none.
        """


def titles_of(kinds: Sequence[type[Metric]]) -> dict[str, str]:
    """What the scores of several metrics are called, by name.

    ValueError if two of them have a score of one name.
    """
    titles: dict[str, str] = {}
    for kind in kinds:
        if twice := titles.keys() & kind.TITLES.keys():
            raise ValueError(
                f"{kind.__name__} has a score of the name {min(twice)}, as another metric of this "
                "run has. Give one of them alone."
            )
        titles |= kind.TITLES
    return titles
