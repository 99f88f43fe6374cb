"""Offline knowledge distillation (Hinton et al., 2015): from a peer that was trained before."""

from ..choices import PixelClasses
from ..students import Student
from .pixelwise import LogitDistillation


class OfflineKD(LogitDistillation):
    """`LogitDistillation` from frozen, trained peers.

    Args:
        teachers: a trained model of b's kind for a to learn from, and one of a's kind for b.
        distillation_weight: w.
        temperature: T.
        pixel_classes: see `PixelwiseObjective`.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        teachers: tuple[Student, Student],
        distillation_weight: float = 1.0,
        temperature: float = 1.0,
        pixel_classes: PixelClasses = "all",
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_weight, temperature, pixel_classes, teachers, distillation_warmup)
