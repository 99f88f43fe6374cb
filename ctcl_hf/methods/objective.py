"""What every training method is: a function of two students' outputs that returns named loss terms for each."""

from typing import NamedTuple

from torch import Tensor, nn

from ..losses import cross_entropy_loss
from ..students import Student, StudentOutput


class StudentTerms(NamedTuple):
    """What an objective says of one student."""

    losses: dict[str, Tensor]  # unweighted scalars with gradient
    statistics: dict[str, Tensor]  # detached scalars that are only logged


class Objective(nn.Module):
    """Base of all methods; a method is one subclass.

    `forward(a, b, labels)` returns the terms of both students. Terms travel unweighted; `weights[0]` and `weights[1]`
    say once by how much each counts in the loss of student a and b. Trainable parts that only training needs
    live in `projections[0]` and `projections[1]`, go to that student's optimizer, and are never saved in it.
    """

    def __init__(self, a: Student, b: Student):
        super().__init__()
        if a.ignore_index != b.ignore_index or a.config.num_labels != b.config.num_labels:
            raise ValueError(
                f"Both students must have the same classes: got {a.config.num_labels} (ignore index {a.ignore_index}) "
                f"and {b.config.num_labels} (ignore index {b.ignore_index})."
            )
        self.ignore_index = a.ignore_index
        self.weights: tuple[dict[str, float], dict[str, float]] = ({"ce": 1.0}, {"ce": 1.0})
        for student, weights in zip((a, b), self.weights, strict=True):
            if student.auxiliary_weight is not None:
                weights["aux"] = student.auxiliary_weight
        self.projections = nn.ModuleList([nn.ModuleDict(), nn.ModuleDict()])

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        """Labels (B, H, W) hold class ids and `ignore_index`."""
        raise NotImplementedError(f"{type(self).__name__} must compute the terms of both students.")

    def segmentation_terms(self, output: StudentOutput, labels: Tensor) -> dict[str, Tensor]:
        """The terms that a student has on its own: Eq. 1, and the auxiliary head's cross entropy."""
        ce = cross_entropy_loss(output.logits, labels, self.ignore_index)
        return {"ce": ce, **self.auxiliary_terms(output, labels)}

    def auxiliary_terms(self, output: StudentOutput, labels: Tensor) -> dict[str, Tensor]:
        """The auxiliary head's cross entropy, if the student has such a head and is in training mode."""
        if output.auxiliary_logits is None:
            return {}
        return {"aux": cross_entropy_loss(output.auxiliary_logits, labels, self.ignore_index)}
