"""Deep mutual learning (Zhang et al., CVPR 2018)."""

from ..choices import PixelClasses
from ..students import Student
from .pixelwise import LogitDistillation


class DML(LogitDistillation):
    """`LogitDistillation` from the other student as it is.

    Args:
        distillation_weight: w (paper: 1).
        temperature: T (paper: 1).
        pixel_classes: see `PixelwiseObjective`.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        distillation_weight: float = 1.0,
        temperature: float = 1.0,
        pixel_classes: PixelClasses = "all",
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_weight, temperature, pixel_classes, None, distillation_warmup)
