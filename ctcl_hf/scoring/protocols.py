"""How a model is scored on a benchmark: what it sees of an image, and how its logits are put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from ..choices import ProtocolName
from ..data import EvaluationTransform
from ..losses import upsample
from .predict import sliding_window_logits

PROTOCOLS = get_args(ProtocolName)


@dataclass(frozen=True)
class Protocol:
    """A way to score.

    "whole": the image, resized to `image_size`. "sliding" (Cityscapes): overlapping windows of that, whose logits are
    averaged. "centre_crop" (VOC): image and labels, scaled to just cover the window, and what of them lies in it.
    In the first two labels keep their own size, and logits are upsampled to it.

    Args:
        name: one of these.
        image_size: (height, width) in pixels; None leaves images as they are.
        window: (height, width) in pixels of the sliding window or of the centre crop.
        stride: (height, width) from one sliding window to the next; None is two thirds of the window, rounded up.
        scales: of the image; with several (or with `flip`) the probabilities are averaged, as mmsegmentation does.
        flip: whether the mirrored image counts as well, at every scale.
    """

    name: ProtocolName = "whole"
    image_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self):
        if self.name not in PROTOCOLS:
            raise ValueError(f"protocol {self.name!r}: expected one of {', '.join(PROTOCOLS)}.")
        if (self.window is None) != (self.name == "whole"):
            raise ValueError(f"protocol {self.name}: a window is for {', '.join(PROTOCOLS[1:])}, got {self.window}.")
        if self.name == "sliding" and self.window is not None:
            stride = self.stride or tuple(-(-2 * side // 3) for side in self.window)
            if any(not 1 <= step <= side for step, side in zip(stride, self.window, strict=True)):
                raise ValueError(
                    f"--stride {_size(stride)}: each side must be in 1..{_size(self.window)}, the window's."
                )
            object.__setattr__(self, "stride", stride)

    def __str__(self) -> str:
        """What was done, in words: part of every result."""
        images = f"images at {_size(self.image_size)}"
        if self.name == "centre_crop":
            words = f"centre crop of {_size(self.window)} from images and labels scaled to cover it"
        elif self.name == "sliding":
            words = f"sliding window of {_size(self.window)}, stride {_size(self.stride)}, over {images}"
        else:
            words = f"whole {images}"
        if self.scales != (1.0,):
            words += f", scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        return words + (", mirrored too" if self.flip else "")

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from the disk -> what is scored: uint8 image (3, H, W) and labels (H, W)."""
        if self.name != "centre_crop" or self.window is None:
            if self.image_size is not None:
                image = EvaluationTransform(self.image_size)(image, labels)[0]
            return image, labels
        sides = image.shape[-2:]
        scale = max(wanted / side for wanted, side in zip(self.window, sides, strict=True))
        height, width = (max(round(side * scale), wanted) for side, wanted in zip(sides, self.window, strict=True))
        image = EvaluationTransform((height, width))(image, labels)[0]
        labels = F.interpolate(labels[None, None], size=(height, width), mode="nearest-exact")[0, 0]
        return center_crop(image, list(self.window)), center_crop(labels[None], list(self.window))[0]

    def logits(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        """Logits (B, K, h, w) of images (B, 3, H, W), of `predict`'s resolution or of the images'.

        Of several views of an image they are the logarithm of the mean probability. In memory at once are one view (or
        one window) and the sum.
        """
        if self.scales == (1.0,) and not self.flip:
            return self._one_view(predict, pixel_values)
        size, views = pixel_values.shape[-2:], 0
        total = torch.zeros((), device=pixel_values.device)
        for scale in self.scales:
            scaled = [max(round(side * scale), 1) for side in size]
            view = F.interpolate(pixel_values.float(), size=scaled, mode="bilinear", antialias=True)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self._one_view(predict, view.flip(-1) if mirrored else view)
                probabilities = upsample(logits.flip(-1) if mirrored else logits, size).float().softmax(1)
                total, views = total + probabilities, views + 1
        return (total / views).clamp_min(torch.finfo(torch.float32).tiny).log()

    def _one_view(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        if self.name == "sliding" and self.window is not None and self.stride is not None:
            return sliding_window_logits(predict, pixel_values, self.window, self.stride)
        return predict(pixel_values)


def _size(sides: Sequence[int] | None) -> str:
    return "their own size" if sides is None else "x".join(map(str, sides))
