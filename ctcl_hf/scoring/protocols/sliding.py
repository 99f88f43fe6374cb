"""Sliding windows, as Cityscapes is scored."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..predict import sliding_window_logits
from .framing import Framing, in_words


@dataclass(frozen=True, kw_only=True)
class Sliding(Framing):
    """Overlapping windows of the image, resized to `image_size`, whose logits are averaged.

    Labels keep their own size, and logits are upsampled to it. ValueError if a side of the stride
    is larger than the window's.
    """

    window: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self):
        if any(not 1 <= step <= side for step, side in zip(self.stride, self.window, strict=True)):
            raise ValueError(
                f"--stride {in_words(self.stride)}: each side must be in "
                f"1..{in_words(self.window)}, the window's."
            )

    def words(self) -> str:
        return (
            f"sliding window of {in_words(self.window)}, stride {in_words(self.stride)}, over "
            f"{self.images}"
        )

    def logits(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        return sliding_window_logits(predict, pixel_values, self.window, self.stride)
