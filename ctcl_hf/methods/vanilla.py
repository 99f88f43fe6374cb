"""Vanilla: each student on its own, in the same loop and on the same batches.

The control of every claim.
"""

from dataclasses import dataclass

from torch import Tensor

from ..students import StudentOutput
from .objective import Objective, StudentTerms
from .options import MethodOptions


@dataclass(kw_only=True)
class VanillaOptions(MethodOptions):
    """None."""


class Vanilla(Objective):
    """Cross entropy alone (Eq. 1) for each student."""

    Options = VanillaOptions

    def forward(
        self, a: StudentOutput, b: StudentOutput, labels: Tensor
    ) -> tuple[StudentTerms, StudentTerms]:
        return (
            StudentTerms(self.segmentation_terms(a, labels), {}),
            StudentTerms(self.segmentation_terms(b, labels), {}),
        )
