"""What happens to an image and its labels between the data set and the students."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from .masks import IGNORE_INDEX

# Padding in the ImageNet mean colour is 0 after normalisation.
MEAN_COLOUR = (124, 116, 104)
PHOTOMETRIC = v2.RandomPhotometricDistort()


@dataclass(frozen=True)
class TrainingTransform:
    """Scale jitter, random crop, padding, horizontal flip and, if asked for, photometric jitter.

    Only what the crop keeps is resized. What comes out is drawn from torch's global random state
    alone. Its fields are what a run records of it, and a resumed one must share.

    Args:
        image_size: (height, width) in pixels that scale 1 means: images are fitted into it, their
            aspect ratio kept.
        crop_size: (height, width) of what comes out. Where the scaled image is smaller it is
            padded, at random sides; the padding is ignored in the labels.
        scale_range: smallest and largest scale.
        photometric: whether brightness, contrast, saturation and hue are jittered.
    """

    image_size: tuple[int, int]
    crop_size: tuple[int, int]
    scale_range: tuple[float, float] = (0.5, 2.0)
    photometric: bool = False

    def padded_share(self) -> float:
        """The share of a crop, 0 to 1, that is padding on average over the scales, of images of
        `image_size`.
        """
        lowest, highest = self.scale_range
        scales = torch.linspace(lowest, highest, 101)
        filled = torch.ones_like(scales)
        for side, crop in zip(self.image_size, self.crop_size, strict=True):
            filled *= (scales * side / crop).clamp(max=1)
        return 1 - filled.mean().item()

    def scaled_size(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """(height, width) of an image of `size` at a scale, of which the crop is taken."""
        zoom = self._zoom(size, scale)
        height, width = size
        return _scaled(height, zoom), _scaled(width, zoom)

    def _zoom(self, sides: Sequence[int], scale: float) -> float:
        return scale * min(size / side for size, side in zip(self.image_size, sides, strict=True))

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 image (3, H, W) and labels (H, W) -> the same at the crop's size."""
        sides = image.shape[-2:]
        lowest, highest = self.scale_range
        scale = lowest + (highest - lowest) * torch.rand(()).item()
        zoom = self._zoom(sides, scale)
        (rows, columns), places = zip(
            *(_window(side, zoom, crop) for side, crop in zip(sides, self.crop_size, strict=True)),
            strict=True,
        )
        size = [place.stop - place.start for place in places]
        # This layout is twice as fast to resize.
        kept = image[:, rows, columns].unsqueeze(0).contiguous(memory_format=torch.channels_last)
        image = F.interpolate(kept, size=size, mode="bilinear", antialias=True)[0]
        labels = F.interpolate(labels[None, None, rows, columns], size=size, mode="nearest-exact")[
            0
        ]
        if torch.rand(()) < 0.5:
            image, labels = image.flip(-1), labels.flip(-1)
        if size != list(self.crop_size):
            padded = (
                torch.tensor(MEAN_COLOUR, dtype=image.dtype)
                .view(3, 1, 1)
                .repeat(1, *self.crop_size)
            )
            padded[:, places[0], places[1]] = image
            ignored = torch.full((1, *self.crop_size), IGNORE_INDEX, dtype=labels.dtype)
            ignored[:, places[0], places[1]] = labels
            image, labels = padded, ignored
        if self.photometric:
            image = PHOTOMETRIC(image)
        return image, labels[0]


class EvaluationTransform:
    """Resizes the image alone, as a student's image processor does; labels keep their own size."""

    def __init__(self, image_size: tuple[int, int]):
        self.resize = v2.Resize(image_size, antialias=True)

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.resize(image), labels


def _scaled(side: int, zoom: float) -> int:
    return max(round(side * zoom), 1)


def _window(side: int, zoom: float, crop: int) -> tuple[slice, slice]:
    """Which pixels of one side of an image, scaled by `zoom`, go where in the crop: drawn evenly
    from all that fit.
    """
    scaled = _scaled(side, zoom)
    if scaled > crop:
        kept = min(max(round(crop / zoom), 1), side)
        start = int(torch.randint(side - kept + 1, ()))
        return slice(start, start + kept), slice(0, crop)
    start = int(torch.randint(crop - scaled + 1, ()))
    return slice(0, side), slice(start, start + scaled)
