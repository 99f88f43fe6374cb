"""Channel-wise distillation (Shu et al., ICCV 2021), between students. Not in CTCL's tables."""

from dataclasses import dataclass

from torch import Tensor

from ..losses import channel_distillation
from ..students import StudentOutput
from .options import DistillationOptions, Positive, Weight, option
from .peers import PeerDistillation


@dataclass(kw_only=True)
class CWDOptions(DistillationOptions):
    """Options of channel-wise distillation."""

    TEACHERS = "optional"

    distillation_weight: Weight = option(3.0, "Weight w of what a student learns from its peer (paper: 3 for logits).")
    temperature: Positive = option(4.0, "Temperature T of the distributions over positions (paper: 4).")


class CWD(PeerDistillation):
    """L = CE + w T^2 / (B K) sum KL(peer || learner) over the B K channels of the logits, as softmax over positions."""

    Options = CWDOptions
    TERM = "channel"

    def distill(self, learner: StudentOutput, peer: StudentOutput, labels: Tensor) -> Tensor:
        return channel_distillation(learner.logits, peer.logits, self.options.temperature)
