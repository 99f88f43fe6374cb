"""Vanilla: each student on its own, in the same loop and on the same batches.

The control of every claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..students import StudentOutput
from .objective import Objective, StudentTerms
from .options import MethodOptions


@dataclass(kw_only=True)
class VanillaOptions(MethodOptions):
    """None."""

    STUDENTS = "two or more"


class Vanilla(Objective):
    """Cross entropy alone (Eq. 1) for each student."""

    Options = VanillaOptions

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        return [StudentTerms(self.segmentation_terms(own, labels), {}) for own in students]
