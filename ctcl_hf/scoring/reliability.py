"""How often a model is right where it says how likely it is to be right."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

BINS = 15  # of confidence, of equal width, as Guo et al. 2017 have them


class Reliability:
    """Sums over labelled pixels by confidence, the largest probability p of a pixel, in bins
    ((m - 1) / 15, m / 15] (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2).

    sums: float64 (3, BINS): labelled pixels in a bin, their confidences, and those that are right.
    """

    def __init__(self, ignore_index: int):
        self.ignore_index = ignore_index
        self.sums = torch.zeros(3, BINS, dtype=torch.float64)

    def add(self, ids: Tensor, confidences: Tensor, labels: Tensor) -> None:
        """Takes the next image, all (H, W): the likeliest class of each pixel, its probability, and
        its label.
        """
        labelled = labels != self.ignore_index
        confidences = confidences[labelled].double().cpu()
        right = (ids == labels)[labelled].double().cpu()
        bins = ((confidences * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        for row, values in enumerate((torch.ones_like(confidences), confidences, right)):
            self.sums[row] += torch.bincount(bins, values, BINS)

    def gather(self, accelerator: Accelerator) -> None:
        """Adds up the sums of all processes."""
        if accelerator.num_processes > 1:  # Apple's GPUs, which know no float64, are always alone
            self.sums = accelerator.reduce(self.sums.to(accelerator.device), "sum").cpu()

    @property
    def expected_calibration_error(self) -> float:
        """ECE in 0..1: sum over bins of |right - confidence| of their means, weighed by their share
        of the pixels (Guo et al. 2017, Eq. 5). NaN without a labelled pixel.
        """
        pixels, confidences, right = self.sums
        total = float(pixels.sum())
        return float((right - confidences).abs().sum()) / total if total else math.nan
