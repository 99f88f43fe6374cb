"""How a model is scored on a benchmark: what it sees of an image, at which sizes, and once or
several times.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ...base.registry import origin_of
from ...losses import upsample
from . import PROTOCOLS
from .framing import SIZES, Framing


@dataclass(frozen=True)
class Protocol:
    """A way to score.

    Args:
        name: one of `PROTOCOLS`: "whole", "centre_crop" (VOC), "sliding" (Cityscapes), or one of
            one's own.
        image_size: (height, width) in pixels; None leaves images as they are.
        window: (height, width) in pixels of the sliding window or of the centre crop.
        stride: (height, width) from one window to the next; None is two thirds of the window,
            rounded up.
        scales: of the image; with several (or with `flip`) the probabilities are averaged, as
            mmsegmentation does.
        flip: whether the mirrored image counts as well, at every scale.
    """

    name: str = "whole"
    image_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    # what it says of images, by its name
    framing: Framing = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.name not in PROTOCOLS:
            raise ValueError(f"protocol {self.name!r}: {PROTOCOLS.refusal(self.name)}.")
        kind = PROTOCOLS[self.name]
        if (self.window is None) == kind.takes("window"):
            windowed = ", ".join(name for name in PROTOCOLS if PROTOCOLS[name].takes("window"))
            raise ValueError(
                f"protocol {self.name}: a window is for {windowed}, got {self.window}."
            )
        if kind.takes("stride") and self.stride is None and self.window is not None:
            object.__setattr__(self, "stride", tuple(-(-2 * side // 3) for side in self.window))
        framing = kind(**{size: getattr(self, size) for size in SIZES if kind.takes(size)})
        object.__setattr__(self, "framing", framing)

    def __str__(self) -> str:
        """What was done, in words: part of every result."""
        words = self.framing.words()
        if origin := origin_of(PROTOCOLS[self.name]):
            words += f" ({origin})"
        if self.scales != (1.0,):
            words += f", scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        return words + (", mirrored too" if self.flip else "")

    def transform(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from the disk -> what is scored: uint8 image (3, H, W) and labels (H, W)."""
        return self.framing.transform(image, labels)

    def logits(self, predict: Callable[[Tensor], Tensor], pixel_values: Tensor) -> Tensor:
        """Logits (B, K, h, w) of images (B, 3, H, W), of `predict`'s resolution or of the images'.

        Of several views of an image they are the logarithm of the mean probability. In memory at
        once are one view (or one window) and the sum.
        """
        if self.scales == (1.0,) and not self.flip:
            return self.framing.logits(predict, pixel_values)
        size = pixel_values.shape[-2:]
        views = 0
        total = torch.zeros((), device=pixel_values.device)
        for scale in self.scales:
            scaled = [max(round(side * scale), 1) for side in size]
            view = F.interpolate(pixel_values.float(), size=scaled, mode="bilinear", antialias=True)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self.framing.logits(predict, view.flip(-1) if mirrored else view)
                probabilities = (
                    upsample(logits.flip(-1) if mirrored else logits, size).float().softmax(1)
                )
                total, views = total + probabilities, views + 1
        return (total / views).clamp_min(torch.finfo(torch.float32).tiny).log()
