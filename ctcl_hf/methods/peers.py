"""What methods share in which each student learns from one peer."""

from collections.abc import Sequence

from torch import Tensor

from ..losses import Mean
from ..students import StudentOutput
from .objective import Objective, StudentTerms


class PeerObjective(Objective):
    """L = CE + sum of w_k D_k(learner, peer) for each student.

    The peer is the other student as it is, or, with `teachers`, a frozen model. A subclass computes
    the D_k in `taught`, names them in TERMS and their weights w_k in WEIGHTS. Gradient contract:
    they move the learner, and its own projections, alone.

    Of a teacher that lacks some of the classes, they see the `known_part`.
    """

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        a, b = students
        terms = []
        for i, (learner, peer) in enumerate(zip((a, b), teachers or (b, a), strict=True)):
            losses = self.segmentation_terms(learner, labels)
            losses |= self.taught(i, *self.known_part(i, learner, peer, labels))
            terms.append(StudentTerms(losses, {}))
        return terms

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        """The D_k of student i by name, unweighted: means, or scalars, whose gradient reaches the
        learner alone.

        How many classes there are is told by the logits, of which a teacher may lack some.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must say what a student learns from its peer."
        )
