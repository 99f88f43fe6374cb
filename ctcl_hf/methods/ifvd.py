"""Intra-class feature variation distillation (Wang et al., ECCV 2020), between students."""

from torch import Tensor

from ..losses import intra_class_variation
from ..students import Student, StudentOutput
from .peers import PeerDistillation


class IFVD(PeerDistillation):
    """L = CE + w mean (M_learner - M_peer)^2, M the similarity of each last feature to its class's mean in its image.

    The mean is over labelled positions of the coarser of both last grids. The public code lets the gradient into the
    teacher (a detach whose result is dropped); here the peer is a constant.

    Args:
        distillation_weight: w (20 or 200 in published runs).
        teachers: frozen peers, of a's peer and of b's; None: the other student as it is.
        distillation_warmup: see `Objective`.
    """

    TERM = "ifv"

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        distillation_weight: float = 20.0,
        teachers: tuple[Student, Student] | None = None,
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_weight, teachers, distillation_warmup)
        self.num_classes = a.config.num_labels
        for student in (a, b, *self.teachers):
            _ = student.last_channels  # says now, not at the first step, that features are missing

    def distill(self, learner: StudentOutput, peer: StudentOutput, labels: Tensor) -> Tensor:
        return intra_class_variation(learner.last, peer.last, labels, self.num_classes, self.ignore_index)
