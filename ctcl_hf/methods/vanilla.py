"""Vanilla: each student on its own, in the same loop and on the same batches. The control of every claim."""

from torch import Tensor

from ..students import Student, StudentOutput
from .objective import Objective, StudentTerms


class Vanilla(Objective):
    """Cross entropy alone (Eq. 1) for each student."""

    def __init__(self, a: Student, b: Student):
        super().__init__(a, b)

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        return (
            StudentTerms(self.segmentation_terms(a, labels), {}),
            StudentTerms(self.segmentation_terms(b, labels), {}),
        )
