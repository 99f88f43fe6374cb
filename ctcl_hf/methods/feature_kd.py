"""Plain feature distillation, between students: the baseline of methods that compare features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..base.choices import StatisticsOver
from ..losses import Mean, average_pool, feature_distillation
from ..students import Student, StudentOutput
from ..students.student import features_of
from ..students.teacher import Teacher
from .options import Weight, WeightedOptions, option
from .paper import Paper
from .peers import PeerObjective
from .projection import Projection


@dataclass(kw_only=True)
class FeatureKDOptions(WeightedOptions):
    """Options of feature distillation."""

    TEACHERS = "optional"
    READS_FEATURES_OF_TEACHERS = True

    distillation_weight: Weight = option(
        1.0, "Weight w of what a student learns from its peer: not from the paper."
    )
    statistics_over: StatisticsOver = option(
        "batch",
        "What a channel is standardised over: the positions of all images of a batch, or of each "
        "image on its own.",
    )


class FeatureKD(PeerObjective):
    """L = CE + w mean (N(P F_learner) - N(F_peer))^2, F the last features, P a 1x1 convolution to
    the peer's channels, N each channel at mean 0 and variance 1.

    The mean is over images, channels and positions of the coarser of both last grids, labelled or
    not. P is the learner's: trained by its optimizer, saved in no student. Which features are
    compared, and N, are choices of this project; the paper says that the plain form is hard to beat
    at equal wall clock.

    Raises:
        ValueError: a student, or a teacher, whose features are not known.
    """

    Options = FeatureKDOptions
    options: FeatureKDOptions
    TERMS: ClassVar[dict[str, str]] = {"feature": "distance of standardised features"}
    WEIGHTS: ClassVar[dict[str, str]] = {"feature": "distillation_weight"}
    PAPER = Paper(
        key="ali2026surprising",
        title="The Surprising Effectiveness of Canonical Knowledge Distillation for Semantic "
        "Segmentation",
        authors="Ali, Muhammad and Laube, Kevin Alexander and Ravi Ganesh, Madan and Schott, Lukas "
        "and Popp, Niclas and Brox, Thomas",
        venue="arXiv:2604.25530",
        year=2026,
        url="https://arxiv.org/abs/2604.25530",
        kind="misc",
    )

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        super().__init__(*students, teachers=teachers, **options)
        a, b = students
        for modules, learner, peer in zip(
            self.projections, (a, b), teachers or (b, a), strict=True
        ):
            modules["last"] = Projection(learner.last_channels, peer.last_channels)

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        own, other = features_of(learner).last, features_of(peer).last
        grid = min(own.shape[-2:], other.shape[-2:])
        projected = self.projections[i]["last"](own, grid)
        return {
            "feature": feature_distillation(
                projected, average_pool(other, grid), self.options.statistics_over
            )
        }
