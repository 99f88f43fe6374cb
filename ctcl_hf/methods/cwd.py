"""Channel-wise distillation (Shu et al., ICCV 2021), between students. Not in CTCL's tables."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..losses import Mean, channel_distillation
from ..students import StudentOutput
from .options import Positive, Weight, WeightedOptions, option
from .paper import Paper
from .peers import PeerObjective


@dataclass(kw_only=True)
class CWDOptions(WeightedOptions):
    """Options of channel-wise distillation."""

    TEACHERS = "optional"

    distillation_weight: Weight = option(
        3.0, "Weight w of what a student learns from its peer (paper: 3 for logits)."
    )
    temperature: Positive = option(
        4.0, "Temperature T of the distributions over positions (paper: 4)."
    )


class CWD(PeerObjective):
    """L = CE + w T^2 / (B K) sum KL(peer || learner) over the B K channels of the logits, as
    softmax over positions.
    """

    Options = CWDOptions
    options: CWDOptions
    TERMS: ClassVar[dict[str, str]] = {"channel": "channel-wise KL (nats)"}
    WEIGHTS: ClassVar[dict[str, str]] = {"channel": "distillation_weight"}
    PAPER = Paper(
        key="shu2021channel",
        title="Channel-wise Knowledge Distillation for Dense Prediction",
        authors="Shu, Changyong and Liu, Yifan and Gao, Jianfei and Yan, Zheng and Shen, Chunhua",
        venue="Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)",
        year=2021,
        url="https://arxiv.org/abs/2011.13256",
    )

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        temperature = self.options.temperature
        return {"channel": channel_distillation(learner.logits, peer.logits, temperature)}
