"""Centre crops, as VOC is scored."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from ...data import EvaluationTransform
from .framing import Framing, in_words


@dataclass(frozen=True, kw_only=True)
class CentreCrop(Framing):
    """Image and labels, scaled to just cover the window, and what of them lies in it."""

    window: tuple[int, int]

    KEEPS_IMAGES = False

    def words(self) -> str:
        return f"centre crop of {in_words(self.window)} from images and labels scaled to cover it"

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sides = image.shape[-2:]
        scale = max(wanted / side for wanted, side in zip(self.window, sides, strict=True))
        height, width = (
            max(round(side * scale), wanted)
            for side, wanted in zip(sides, self.window, strict=True)
        )
        image = EvaluationTransform((height, width))(image, labels)[0]
        labels = F.interpolate(labels[None, None], size=(height, width), mode="nearest-exact")[0, 0]
        return center_crop(image, list(self.window)), center_crop(labels[None], list(self.window))[
            0
        ]
