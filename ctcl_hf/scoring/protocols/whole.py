"""Whole images."""

from .framing import Framing


class Whole(Framing):
    """The image, resized to `image_size`.

    Labels keep their own size, and logits are upsampled to it.
    """

    def words(self) -> str:
        return f"whole {self.images}"
