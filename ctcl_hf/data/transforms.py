"""What happens to an image and its labels between the data set and the students."""

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from .segmentation import IGNORE_INDEX

# Padding in the ImageNet mean colour is 0 after normalisation.
MEAN_COLOUR = (124, 116, 104)


def train_transform(
    image_size: tuple[int, int],
    crop_size: tuple[int, int],
    scale_range: tuple[float, float] = (0.5, 2.0),
    photometric: bool = False,
) -> v2.Compose:
    """Scale jitter, padding, random crop, horizontal flip and, if asked for, photometric jitter.

    Args:
        image_size: (height, width) in pixels that scale 1 means; the aspect ratio is kept.
        crop_size: (height, width) of what comes out. Where the scaled image is smaller, it is padded, and the padding
            is ignored in the labels.
        scale_range: smallest and largest scale.
    """
    steps = [
        v2.ScaleJitter(image_size, scale_range, antialias=True),
        v2.RandomCrop(
            crop_size, pad_if_needed=True, fill={tv_tensors.Image: MEAN_COLOUR, tv_tensors.Mask: IGNORE_INDEX}
        ),
        v2.RandomHorizontalFlip(),
    ]
    if photometric:
        steps.append(v2.RandomPhotometricDistort())
    return v2.Compose(steps)


class EvaluationTransform:
    """Resizes the image alone, as a student's image processor does; labels keep their own size."""

    def __init__(self, image_size: tuple[int, int]):
        self.resize = v2.Resize(image_size, antialias=True)

    def __call__(self, image: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.resize(image), labels
