"""HeteroAKD, distillation between architectures in the space of logits (Huang et al., AAAI 2025),
both ways between students.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..losses import mixed_knowledge, projection_cross_entropy
from ..students import Student, StudentOutput
from ..students.student import features_of
from ..students.teacher import Teacher
from .objective import StudentTerms
from .options import SoftenedWeightedOptions, Weight, option
from .paper import Paper
from .pixelwise import LogitDistillation
from .projection import Projection


@dataclass(kw_only=True)
class HeteroAKDOptions(SoftenedWeightedOptions):
    """Options of HeteroAKD."""

    TEACHERS = "optional"
    READS_FEATURES_OF_TEACHERS = True

    distillation_weight: Weight = option(
        0.1, "Weight of the plain distillation of logits beside it (as reported of the paper: 0.1)."
    )
    hetero_weight: Weight = option(
        1.0, "Weight of what is learnt from the mixture of both students' projected features."
    )
    projection_weight: Weight = option(
        1.0, "Weight of the projections' own cross entropy, which moves no student."
    )


class LogitProjection(nn.Module):
    """Features to the space of logits: BatchNorm of a 1x1 convolution, (B, C, h, w) -> (B, K,
    *size).
    """

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.projection = Projection(in_channels, num_classes)
        self.norm = nn.BatchNorm2d(num_classes)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return self.norm(self.projection(features, size))


class HeteroAKD(LogitDistillation):
    """L = CE + w_hetero D + w T^2 KL(p_peer || p_learner) + w_projection H for each student.

    D is `losses.mixed_knowledge` between both students' last features, each through its own
    projection to K channels, on the coarser of both grids; the KL is `LogitDistillation`'s. H is
    the binary cross entropy of the learner's projection, and of that of its teacher if there is
    one: without it nothing would make a projection's channels the classes, and the errors by which
    D mixes and weighs would tell nothing. H moves projections alone, so that what a student gains
    is from its peer. Gradient contract: D moves the learner and its projection; the peer's is a
    constant.

    Raises:
        ValueError: a student, or a teacher, whose features are not known.
    """

    Options = HeteroAKDOptions
    options: HeteroAKDOptions
    TERMS: ClassVar[dict[str, str]] = {
        **LogitDistillation.TERMS,
        "hetero": "KL to the mixed knowledge (nats)",
        "projection": "cross entropy of projections (nats)",
    }
    WEIGHTS: ClassVar[dict[str, str]] = {
        **LogitDistillation.WEIGHTS,
        "hetero": "hetero_weight",
        "projection": "projection_weight",
    }
    PAPER = Paper(
        key="huang2025distilling",
        title="Distilling Knowledge from Heterogeneous Architectures for Semantic Segmentation",
        authors="Huang, Yanglin and Hu, Kai and Zhang, Yuan and Chen, Zhineng and Gao, Xieping",
        venue="Proceedings of the AAAI Conference on Artificial Intelligence",
        year=2025,
        url="https://arxiv.org/abs/2504.07691",
    )

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        super().__init__(*students, teachers=teachers, **options)
        for i, student in enumerate(students):
            modules = self.projections[i]
            modules["own"] = LogitProjection(student.last_channels, self.num_labels)
            if teachers is not None:
                modules["teacher"] = LogitProjection(teachers[i].last_channels, self.num_labels)

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        terms = super().forward(students, labels, teachers)
        a, b = students
        own = [features_of(output).last for output in (a, b)]
        other = [features_of(output).last for output in teachers or (b, a)]
        grids = [min(x.shape[-2:], y.shape[-2:]) for x, y in zip(own, other, strict=True)]
        # What learns to be classes, on features that it does not move: a student's projection, and
        # its teacher's.
        learning = [
            [self.projections[i]["own"](own[i].detach(), grids[i])]
            + ([self.projections[i]["teacher"](other[i], grids[i])] if teachers else [])
            for i in (0, 1)
        ]
        for i in (0, 1):
            peer = learning[i][1] if teachers else learning[1 - i][0]
            projected = self.projections[i]["own"](own[i], grids[i])
            terms[i].losses["hetero"] = mixed_knowledge(projected, peer, labels, self.ignore_index)
            terms[i].losses["projection"] = projection_cross_entropy(
                learning[i], labels, self.ignore_index
            )
        return terms
