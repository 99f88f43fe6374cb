"""What every protocol is: what of an image a model is shown, and how its logits are put together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...data import EvaluationTransform


@dataclass(frozen=True)
class Framing:
    """Base of all protocols; a protocol is one subclass. The base shows the image as it is, resized.

    Args:
        image_size: (height, width) in pixels to which images are resized; None leaves them as they are.
        window: (height, width) in pixels of what is shown at a time, of a protocol that has one.
        stride: (height, width) in pixels from one window to the next, of a protocol that has one.
    """

    image_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None

    # Whether it takes a window, and a stride; and whether what is scored are whole images at their labels' own size.
    HAS_WINDOW: ClassVar[bool] = False
    HAS_STRIDE: ClassVar[bool] = False
    KEEPS_IMAGES: ClassVar[bool] = True

    def words(self) -> str:
        """What is done, in words: part of every result."""
        raise NotImplementedError(f"{type(self).__name__} must say in words what it does: it is part of every result.")

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from the disk -> what is scored: uint8 image (3, H, W) and labels (H, W)."""
        return image if self.image_size is None else EvaluationTransform(self.image_size)(image, labels)[0], labels

    def logits(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        """Logits (B, K, h, w) of images (B, 3, H, W), of `predict`'s resolution or of the images'."""
        return predict(pixel_values)

    @property
    def images(self) -> str:
        """The images that are shown, in words."""
        return f"images at {in_words(self.image_size)}" if self.image_size else "images at their own size"


def in_words(sides: tuple[int, int]) -> str:
    """`480x640`, height x width."""
    return f"{sides[0]}x{sides[1]}"
