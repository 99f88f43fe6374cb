"""DIST, distillation by correlation (Huang et al., NeurIPS 2022), between students."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..base.choices import StatisticsOver
from ..losses import Mean, class_correlation, position_correlation
from ..students import StudentOutput
from .options import DistillationOptions, Positive, Weight, option
from .paper import Paper
from .peers import PeerObjective


@dataclass(kw_only=True)
class DISTOptions(DistillationOptions):
    """Options of DIST."""

    TEACHERS = "optional"

    inter_weight: Weight = option(
        1.0, "Weight of the correlation over classes at a position (its authors' code: 1)."
    )
    intra_weight: Weight = option(
        1.0, "Weight of the correlation over positions of a class (its authors' code: 1)."
    )
    statistics_over: StatisticsOver = option(
        "batch",
        "Over what a class's probabilities are correlated: the positions of all images of a batch, "
        "as in its authors' code, or of each image on its own.",
    )
    deviation_floor: Positive = option(
        0.02,
        "Standard deviation whose square is added to the variances of the probabilities that are "
        "correlated; its authors' code has next to none, by which students from random weights "
        "diverge.",
    )


class DIST(PeerObjective):
    """L = CE + w_inter mean (1 - r over classes) + w_intra mean (1 - r over positions), r Pearson's
    correlation of the learner's and the peer's probabilities.

    On logits at the learner's own stride; all positions count. What hardly varies is hardly
    compared (`deviation_floor`). The authors' code compares auxiliary
    heads too; here a student need not have one.
    """

    Options = DISTOptions
    options: DISTOptions
    TERMS: ClassVar[dict[str, str]] = {
        "inter": "1 - correlation over classes",
        "intra": "1 - correlation over positions",
    }
    WEIGHTS: ClassVar[dict[str, str]] = {"inter": "inter_weight", "intra": "intra_weight"}
    PAPER = Paper(
        key="huang2022knowledge",
        title="Knowledge Distillation from A Stronger Teacher",
        authors="Huang, Tao and You, Shan and Wang, Fei and Qian, Chen and Xu, Chang",
        venue="Advances in Neural Information Processing Systems (NeurIPS)",
        year=2022,
        url="https://arxiv.org/abs/2205.10536",
    )

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        over, floor = self.options.statistics_over, self.options.deviation_floor
        return {
            "inter": class_correlation(learner.logits, peer.logits, floor),
            "intra": position_correlation(learner.logits, peer.logits, over, floor),
        }
