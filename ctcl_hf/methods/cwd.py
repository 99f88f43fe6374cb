"""Channel-wise distillation (Shu et al., ICCV 2021), between students. Not in CTCL's tables."""

from torch import Tensor

from ..losses import channel_distillation
from ..students import Student, StudentOutput
from .peers import PeerDistillation


class CWD(PeerDistillation):
    """L = CE + w T^2 / (B K) sum KL(peer || learner) over the B K channels of the logits, as softmax over positions.

    Args:
        distillation_weight: w (paper: 3 for logits).
        temperature: T (paper: 4).
        teachers: frozen peers, of a's peer and of b's; None: the other student as it is.
        distillation_warmup: see `Objective`.
    """

    TERM = "channel"

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        distillation_weight: float = 3.0,
        temperature: float = 4.0,
        teachers: tuple[Student, Student] | None = None,
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_weight, teachers, distillation_warmup)
        self.temperature = temperature

    def distill(self, learner: StudentOutput, peer: StudentOutput, labels: Tensor) -> Tensor:
        return channel_distillation(learner.logits, peer.logits, self.temperature)
