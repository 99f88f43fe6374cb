"""Offline knowledge distillation (Hinton et al., 2015): from a peer that was trained before."""

from dataclasses import dataclass

from .options import SoftenedWeightedOptions, Weight, option
from .paper import Paper
from .pixelwise import LogitDistillation


@dataclass(kw_only=True)
class OfflineKDOptions(SoftenedWeightedOptions):
    """Options of offline distillation."""

    TEACHERS = "needed"

    distillation_weight: Weight = option(1.0, "Weight w of what a student learns from its teacher.")


class OfflineKD(LogitDistillation):
    """`LogitDistillation` from frozen, trained models: a's teacher, and b's. In CTCL's tables they
    are of the other's kind: a's one of b's, and b's one of a's.
    """

    Options = OfflineKDOptions
    PAPER = Paper(
        key="hinton2015distilling",
        title="Distilling the Knowledge in a Neural Network",
        authors="Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff",
        venue="arXiv:1503.02531",
        year=2015,
        url="https://arxiv.org/abs/1503.02531",
        kind="misc",
    )
