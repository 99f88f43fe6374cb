"""Intra-class feature variation distillation (Wang et al., ECCV 2020), between students."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..losses import Mean, intra_class_variation
from ..students import Student, StudentOutput
from ..students.student import features_of
from ..students.teacher import Teacher
from .options import Weight, WeightedOptions, option
from .paper import Paper
from .peers import PeerObjective


@dataclass(kw_only=True)
class IFVDOptions(WeightedOptions):
    """Options of intra-class variation."""

    TEACHERS = "optional"
    READS_FEATURES_OF_TEACHERS = True

    distillation_weight: Weight = option(
        20.0, "Weight w of what a student learns from its peer (20 or 200 in published runs)."
    )


class IFVD(PeerObjective):
    """L = CE + w mean (M_learner - M_peer)^2, M the similarity of each last feature to its class's
    mean in its image.

    The mean is over labelled positions of the coarser of both last grids. The public code lets the
    gradient into the teacher (a detach whose result is dropped); here the peer is a constant.

    Raises:
        ValueError: a student, or a teacher, whose features are not known.
    """

    Options = IFVDOptions
    TERMS: ClassVar[dict[str, str]] = {"ifv": "intra-class variation"}
    WEIGHTS: ClassVar[dict[str, str]] = {"ifv": "distillation_weight"}
    PAPER = Paper(
        key="wang2020intra",
        title="Intra-class Feature Variation Distillation for Semantic Segmentation",
        authors="Wang, Yukang and Zhou, Wei and Jiang, Tao and Bai, Xiang and Xu, Yongchao",
        venue="Proceedings of the European Conference on Computer Vision (ECCV)",
        year=2020,
    )

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        super().__init__(*students, teachers=teachers, **options)
        for student in (*students, *self.teachers):
            _ = student.last_channels  # says now, not at the first step, that features are missing

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        own, other = features_of(learner).last, features_of(peer).last
        return {
            "ifv": intra_class_variation(own, other, labels, self.num_labels, self.ignore_index)
        }
