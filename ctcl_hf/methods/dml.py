"""Deep mutual learning (Zhang et al., CVPR 2018)."""

from dataclasses import dataclass

from .options import SoftenedOptions, Weight, option
from .pixelwise import LogitDistillation


@dataclass(kw_only=True)
class DMLOptions(SoftenedOptions):
    """Options of deep mutual learning."""

    distillation_weight: Weight = option(1.0, "Weight w of what a student learns from its peer (paper: 1).")


class DML(LogitDistillation):
    """`LogitDistillation` from the other student as it is."""

    Options = DMLOptions
