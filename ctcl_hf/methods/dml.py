"""Deep mutual learning (Zhang et al., CVPR 2018)."""

from ..students import Student
from .peers import LogitDistillation


class DML(LogitDistillation):
    """`LogitDistillation` from the other student as it is.

    Args:
        distillation_weight: w (paper: 1).
        temperature: T (paper: 1).
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        distillation_weight: float = 1.0,
        temperature: float = 1.0,
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_weight, temperature, None, distillation_warmup)
