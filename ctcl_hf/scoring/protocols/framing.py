"""What every protocol is: what of an image a model is shown, and how its logits are put
together.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...data import EvaluationTransform

SIZES = ("image_size", "window", "stride")  # what a protocol may be told: (height, width) in pixels


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Base of all protocols; a protocol is one subclass. The base shows the image as it is,
    resized.

    A subclass that is told more declares it as a field: `window`, what is shown at a time, and
    `stride`, how far it is from one window to the next.

    Args:
        image_size: (height, width) in pixels to which images are resized; None leaves them as they
            are.
    """

    image_size: tuple[int, int] | None = None

    # whether what is scored are whole images, at their labels' own size
    KEEPS_IMAGES: ClassVar[bool] = True

    @classmethod
    def takes(cls, size: str) -> bool:
        """Whether it is told one of SIZES."""
        return size in {field.name for field in dataclasses.fields(cls)}

    def words(self) -> str:
        """What is done, in words: part of every result."""
        raise NotImplementedError(
            f"{type(self).__name__} must say in words what it does: it is part of every result."
        )

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from the disk -> what is scored: uint8 image (3, H, W) and labels (H, W)."""
        if self.image_size is not None:
            image = EvaluationTransform(self.image_size)(image, labels)[0]
        return image, labels

    def logits(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        """Logits (B, K, h, w) of images (B, 3, H, W), of `predict`'s resolution or of the
        images'.
        """
        return predict(pixel_values)

    @property
    def images(self) -> str:
        """The images that are shown, in words."""
        return (
            f"images at {in_words(self.image_size)}"
            if self.image_size
            else "images at their own size"
        )


def in_words(sides: tuple[int, int]) -> str:
    """`480x640`, height x width."""
    return f"{sides[0]}x{sides[1]}"
