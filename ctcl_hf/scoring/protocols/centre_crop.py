"""Centre crops, as VOC is scored."""

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from ...data import EvaluationTransform
from .framing import Framing, in_words


class CentreCrop(Framing):
    """Image and labels, scaled to just cover the window, and what of them lies in it."""

    HAS_WINDOW = True
    KEEPS_IMAGES = False

    def words(self) -> str:
        return f"centre crop of {in_words(self.window)} from images and labels scaled to cover it"

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sides = image.shape[-2:]
        scale = max(wanted / side for wanted, side in zip(self.window, sides, strict=True))
        size = [max(round(side * scale), wanted) for side, wanted in zip(sides, self.window, strict=True)]
        image = EvaluationTransform(size)(image, labels)[0]
        labels = F.interpolate(labels[None, None], size=size, mode="nearest-exact")[0, 0]
        return center_crop(image, list(self.window)), center_crop(labels[None], list(self.window))[0]
