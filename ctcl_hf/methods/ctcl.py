"""CTCL: collaborative learning of a CNN and a ViT (Zhu et al., ICCV 2023, Eqs. 1-6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import losses
from ..base.choices import Divisor, KLDirection, PixelClasses, RegionProjection
from ..students import Student, StudentOutput
from ..students.student import features_of
from ..students.teacher import Teacher
from .objective import StudentTerms
from .options import SoftenedOptions, Weight, option
from .paper import Paper
from .pixelwise import PixelwiseObjective, lessons_of_teachers
from .projection import Projection


@dataclass(kw_only=True)
class CTCLOptions(SoftenedOptions):
    """Options of CTCL: its weights, its parts, and what its paper leaves open
    (docs/fidelity.md).
    """

    STUDENTS = "two or more"
    TEACHERS = "optional"
    AS_PRINTED: ClassVar[Mapping[str, str]] = {  # Eqs. 3 and 4
        "kl_direction": "reverse",
        "pixel_divisor": "taught",
        "pixel_classes": "all",
        "region_divisor": "taught",
        "region_projection": "both",
    }

    alpha: Weight = option(1.0, "Weight of pixel-wise BSD within BSD (Eq. 5, Table 7).")
    beta: Weight = option(0.1, "Weight of HFD in each student's loss (Eq. 6, Table 8).")
    gamma: Weight = option(1.0, "Weight of BSD in each student's loss (Eq. 6, Table 9).")
    hfd: bool = option(True, "Heterogeneous feature distillation (Eq. 2, Table 4).")
    region_bsd: bool = option(True, "Region-wise selective distillation (Eq. 3, Table 5).")
    pixel_bsd: bool = option(True, "Pixel-wise selective distillation (Eq. 4, Table 5).")
    kl_direction: KLDirection = option(
        "forward",
        "Order in Eq. 4: reverse, KL(learner || peer), as printed; forward, KL(peer || learner).",
    )
    pixel_divisor: Divisor = option(
        "labelled",
        "What Eq. 4 divides by: all labelled pixels, or those that are taught, as printed.",
    )
    pixel_classes: PixelClasses = option(
        "grouped",
        "What is compared at a pixel: all classes, as printed; those that the peer knows; or "
        "grouped ones: a class that it does not know is merged with what it says instead.",
    )
    region_divisor: Divisor = option(
        "taught", "The same of Eq. 3, in regions: those taught, as printed, or all labelled ones."
    )
    region_projection: RegionProjection = option(
        "both",
        "Who is projected in Eq. 3: both students, as printed, or the learner onto the peer.",
    )
    as_printed: bool = option(
        False, "CTCL exactly as the paper prints Eqs. 3 and 4, whatever the options of BSD say."
    )

    def __post_init__(self):
        super().__post_init__()
        if self.as_printed:
            for name, printed in self.AS_PRINTED.items():
                setattr(self, name, printed)

    def problems(self) -> list[str]:
        found = super().problems()
        if self.as_printed:
            # One that equals the default may not have been asked for: `problems_of_typed`.
            found += [
                f"{name} {getattr(self, name)} is not as printed ({printed}): leave out one of the "
                "two."
                for name, printed in self.AS_PRINTED.items()
                if getattr(self, name) not in (printed, getattr(type(self), name))
            ]
        return found

    def problems_of_typed(self, typed: Mapping[str, str]) -> list[str]:
        if not self.as_printed:
            return []
        return [
            f"{name} {typed[name]} is not as printed ({printed}): leave out one of the two."
            for name, printed in self.AS_PRINTED.items()
            if typed.get(name, printed) != printed
        ]

    def values(self) -> dict[str, Any]:
        """As recorded: what `as_printed` stands for is there under its own names."""
        return {name: value for name, value in super().values().items() if name != "as_printed"}


class CTCL(PixelwiseObjective):
    """L = CE + beta HFD + gamma (region BSD + alpha pixel BSD) for each student (Eqs. 5, 6).

    The first student is the paper's CNN and the second its ViT, but any students will do: each loss
    is directed from a peer to a learner. Gradient contract: a student's terms move that student and
    its own projections; a peer's features, logits and borrowed stage are constants.

    Of N students, of which the paper has two, each learns from all N - 1 others:

        HFD_i    = 1/(N - 1) sum over j != i of Eq. 2 with learner i and peer j
        m_i(x)   = the j != i with the lowest CE_j(x), where that is below CE_i(x)
        pixel_i  = 1/n sum over x with an m_i(x) of T^2 KL(p_m(x) || p_i(x))
        region_i = 1/r sum over regions with an m_i of the cosine distance of Eq. 3 to m_i

    On a tie the later student teaches, as in Eq. 4. So there is one teacher at a place, the most
    reliable student, and all others learn from it; a place counts in a learner's loss once, however
    many students there are, and HFD is a mean over peers, so that alpha, beta and gamma weigh what
    they weigh between two. A region's CE is the sum over its pixels; regions are the cells of the
    coarsest last feature grid, and with `region_projection` "both" all students are projected to
    the fewest last channels of any. Classes are grouped for each learner and peer. For N = 2 these
    are the paper's equations.

    Without HFD and region BSD no features are read, so that any two segmentation models will do.
    What the paper leaves open is chosen where it matters (docs/fidelity.md): all labelled pixels
    divide pixel BSD, since of taught ones each weighs more, the fewer they are; classes are
    grouped, so that among those that a peer cannot tell apart the labels alone decide.

    With `teachers`, a frozen third party t_i beside the peers of each student i, pixel BSD is
    taught by whoever is the most reliable at the pixel, if that is not the learner itself:

        m_i(x) = t_i  where CE_t(x) is below the cross entropies of all students
                 as above elsewhere

    with the order of the KL, the divisor and the classes compared as the options say. A class that
    the teacher lacks has probability 0, so that it never teaches there. HFD and region BSD stay
    between the students: they read features, which a model of any kind need not have, and train
    the projections of both sides, where a frozen model's would have the learner's loss alone.
    """

    Options = CTCLOptions
    options: CTCLOptions
    TERMS: ClassVar[dict[str, str]] = {
        "hfd": "HFD, Eq. 2",
        "region": "region BSD, Eq. 3",
        "pixel": "pixel BSD, Eq. 4 (nats)",
    }
    STATISTICS: ClassVar[dict[str, str]] = {
        "teaches_pixels": "share of pixels it teaches",
        "taught_by_teacher": "share of pixels its teacher teaches it",
        "teaches_regions": "share of regions it teaches",
        **PixelwiseObjective.STATISTICS,
        "region_spread": "spread of the projected features",
    }
    PAPER = Paper(
        key="zhu2023good",
        title="A Good Student is Cooperative and Reliable: {CNN}-Transformer Collaborative "
        "Learning for Semantic Segmentation",
        authors="Zhu, Jinjing and Luo, Yunhao and Zheng, Xu and Wang, Hao and Wang, Lin",
        venue="Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)",
        year=2023,
        url="https://vlistlab22.github.io/CTCL/",
    )

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        lessons = losses.from_each_other(len(students)) + lessons_of_teachers(teachers or ())
        super().__init__(*students, lessons=lessons, teachers=teachers, **options)
        told = self.options
        if not told.pixel_bsd:
            if teachers is not None:
                raise ValueError(
                    "CTCL's teachers teach at pixels, by pixel BSD: leave out either them or "
                    "--no_pixel_bsd."
                )
            self.class_groups = None  # nothing is compared pixel by pixel
        self.teaching = losses.PixelTeaching(
            lessons,
            selective=True,
            direction=told.kl_direction,
            temperature=told.temperature,
            divisor=told.pixel_divisor,
            weighed=told.weigh_taught,
        )
        for i, (learner, modules) in enumerate(zip(students, self.projections, strict=True)):
            others = self._peers_of(i)
            # What a student lacks is said here, not at the first step.
            if told.hfd:
                for j in others:
                    _ = students[j].second_stage
                    modules[self._towards("low", j)] = Projection(
                        learner.low_channels, students[j].low_channels
                    )
            if told.region_bsd and told.region_projection == "both":
                shared_channels = min(student.last_channels for student in students)
                modules["last"] = Projection(learner.last_channels, shared_channels)
            elif told.region_bsd:
                for j in others:
                    modules[self._towards("last", j)] = Projection(
                        learner.last_channels, students[j].last_channels
                    )

    def _peers_of(self, i: int) -> list[int]:
        return [j for j in range(len(self.projections)) if j != i]

    def _towards(self, part: str, peer: int) -> str:
        """The name of a student's projection onto one peer; the only peer of two students needs no
        number.
        """
        return part if len(self.projections) == 2 else f"{part}_{peer}"

    def term_weights(self) -> dict[str, float]:
        told = self.options
        parts = {
            "hfd": (told.hfd, told.beta),
            "region": (told.region_bsd, told.gamma),
            "pixel": (told.pixel_bsd, told.gamma * told.alpha),
        }
        return {term: weight for term, (taken, weight) in parts.items() if taken}

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        if not (self.options.region_bsd or self.options.pixel_bsd):
            terms = [
                StudentTerms(self.segmentation_terms(student, labels), {}) for student in students
            ]
        else:
            terms = self._selective_terms(students, labels, teachers)
        if self.options.hfd:
            for i, own in enumerate(terms):
                own.losses["hfd"] = losses.mean_of_means(
                    [self._hfd(i, j, students) for j in self._peers_of(i)]
                )
        return terms

    def _hfd(self, i: int, j: int, students: Sequence[StudentOutput]) -> losses.Mean:
        """Eq. 2 of learner i and peer j."""
        learner, peer = features_of(students[i]), features_of(students[j])
        projection = self.projections[i][self._towards("low", j)]
        transformed = peer.second_stage(projection(learner.low, peer.low.shape[-2:]))
        return losses.hfd(transformed, peer.second)

    def _selective_terms(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput],
    ) -> list[StudentTerms]:
        """Cross entropies, and both kinds of BSD, which they direct."""
        on_pixels = self.pixel_losses(
            [own.logits for own in students], labels, self.teaching, self.logits_of(teachers)
        )
        labelled = labels != self.ignore_index
        terms = []
        for i, student in enumerate(students):
            taught = {"pixel": on_pixels.pixel[i]} if self.options.pixel_bsd else {}
            teaches_pixels = losses.Mean(on_pixels.teaches[i].sum(), labelled.sum())
            told = {"teaches_pixels": teaches_pixels, **self.group_statistics(i)}
            if teachers:
                by_teacher = on_pixels.by_teacher[i].sum()
                told["taught_by_teacher"] = losses.Mean(by_teacher, labelled.sum())
            own = {"ce": on_pixels.ce[i], **self.auxiliary_terms(student, labels)}
            terms.append(StudentTerms(own | taught, told))
        if self.options.region_bsd:
            self._add_regions(terms, students, labelled, on_pixels.ce_maps)
        return terms

    def _add_regions(
        self,
        terms: Sequence[StudentTerms],
        students: Sequence[StudentOutput],
        labelled: Tensor,
        ce_maps: Sequence[Tensor],
    ) -> None:
        """Eq. 3. Regions are the cells of the coarsest of the last feature grids."""
        last = [features_of(student).last for student in students]
        # a list: a generator within a compiled step may send its compiler round in circles
        grid = min([features.shape[-2:] for features in last])
        has_label = losses.labelled_regions(labelled, grid)
        teaches = losses.teaching_directions(
            [losses.region_sums(ce, grid) for ce in ce_maps], has_label
        )
        # of learner i and peer j
        projected: dict[tuple[int, int], Tensor] = {}
        targets: dict[tuple[int, int], Tensor] = {}
        if self.options.region_projection == "both":
            shared = [
                own["last"](features, grid)
                for own, features in zip(self.projections, last, strict=True)
            ]
            for i, j in losses.from_each_other(len(students)):
                projected[i, j], targets[i, j] = shared[i], shared[j]
        else:
            pooled = [losses.average_pool(features, grid) for features in last]
            for i, j in losses.from_each_other(len(students)):
                projection = self.projections[i][self._towards("last", j)]
                projected[i, j], targets[i, j] = projection(last[i], grid), pooled[j]
        weighed_by = losses.LabelledRegions(grid)
        for i, own in enumerate(terms):
            peers = self._peers_of(i)
            taught = has_label & ~teaches[i]
            divided_by = taught if self.options.region_divisor == "taught" else has_label
            several = [
                losses.region_bsd(projected[i, j], targets[i, j], teaches[j], divided_by)
                for j in peers
            ]
            total = reduce(torch.add, [mean.total for mean in several])
            own.losses["region"] = losses.Mean(total, several[0].number, weighed_by)
            own.statistics["teaches_regions"] = losses.Mean(
                teaches[i].sum(), has_label.sum(), weighed_by
            )
            spreads = [losses.spread(projected[i, j].detach()) for j in peers]
            own.statistics["region_spread"] = reduce(torch.add, spreads) / len(peers)
