"""Deep mutual learning (Zhang et al., CVPR 2018)."""

from dataclasses import dataclass

from .options import SoftenedWeightedOptions, Weight, option
from .paper import Paper
from .pixelwise import LogitDistillation


@dataclass(kw_only=True)
class DMLOptions(SoftenedWeightedOptions):
    """Options of deep mutual learning."""

    distillation_weight: Weight = option(
        1.0, "Weight w of what a student learns from its peer (paper: 1)."
    )


class DML(LogitDistillation):
    """`LogitDistillation` from the other student as it is."""

    Options = DMLOptions
    PAPER = Paper(
        key="zhang2018deep",
        title="Deep Mutual Learning",
        authors="Zhang, Ying and Xiang, Tao and Hospedales, Timothy M. and Lu, Huchuan",
        venue="Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition "
        "(CVPR)",
        year=2018,
        url="https://arxiv.org/abs/1706.00384",
    )
