"""CTCL: collaborative learning of a CNN and a ViT (Zhu et al., ICCV 2023, Eqs. 1-6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .. import losses
from ..base.choices import Divisor, KLDirection, PixelClasses, RegionProjection
from ..students import Student, StudentOutput
from ..students.student import features_of
from ..students.teacher import Teacher
from .objective import StudentTerms
from .options import SoftenedOptions, Weight, option
from .paper import Paper
from .pixelwise import PixelwiseObjective, places_of
from .projection import Projection


@dataclass(kw_only=True)
class CTCLOptions(SoftenedOptions):
    """Options of CTCL: its weights, its parts, and what its paper leaves open
    (docs/fidelity.md).
    """

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

    Student a is the paper's CNN and b its ViT, but any two students will do: each loss is directed
    from a peer to a learner and applied both ways. Gradient contract: a student's terms move that
    student and its own projections; the peer's features, logits and borrowed stage are constants.

    Without HFD and region BSD no features are read, so that any two segmentation models will do.
    What the paper leaves open is chosen where it matters (docs/fidelity.md): all labelled pixels
    divide pixel BSD, since of taught ones each weighs more, the fewer they are; classes are
    grouped, so that among those that a peer cannot tell apart the labels alone decide.

    With `teachers`, a frozen third party t_i beside the peer j of each student i, pixel BSD is
    taught by whoever is the most reliable at the pixel, if that is not the learner itself:

        m_i(x) = t_i  where CE_t(x) < min(CE_i(x), CE_j(x))
                 j    elsewhere, where Eq. 4 says so: CE_j(x) < CE_i(x), and ties as there
        pixel_i = 1/N sum over x with an m_i(x) of T^2 KL(p_m(x) || p_i(x))

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
        a: Student,
        b: Student,
        teachers: tuple[Student | Teacher, Student | Teacher] | None = None,
        **options: Any,
    ):
        third = None if teachers is None else places_of(teachers)
        super().__init__(a, b, (1, 0), third, teachers=teachers, **options)
        told = self.options
        if not told.pixel_bsd:
            if teachers is not None:
                raise ValueError(
                    "CTCL's teachers teach at pixels, by pixel BSD: leave out either them or "
                    "--no_pixel_bsd."
                )
            self.class_groups = None  # nothing is compared pixel by pixel
        self.teaching = losses.PixelTeaching(
            peers=self.peers,
            selective=True,
            direction=told.kl_direction,
            temperature=told.temperature,
            divisor=told.pixel_divisor,
            weighed=told.weigh_taught,
            third=third,
        )
        for modules, learner, peer in zip(self.projections, (a, b), (b, a), strict=True):
            # What a student lacks is said here, not at the first step.
            if told.hfd:
                _ = peer.second_stage
                modules["low"] = Projection(learner.low_channels, peer.low_channels)
            if told.region_bsd:
                shared_channels = min(learner.last_channels, peer.last_channels)
                modules["last"] = Projection(
                    learner.last_channels,
                    shared_channels if told.region_projection == "both" else peer.last_channels,
                )

    def term_weights(self) -> dict[str, float]:
        told = self.options
        parts = {
            "hfd": (told.hfd, told.beta),
            "region": (told.region_bsd, told.gamma),
            "pixel": (told.pixel_bsd, told.gamma * told.alpha),
        }
        return {term: weight for term, (taken, weight) in parts.items() if taken}

    def forward(
        self, a: StudentOutput, b: StudentOutput, labels: Tensor, *teachers: StudentOutput
    ) -> tuple[StudentTerms, StudentTerms]:
        students = (a, b)
        if not (self.options.region_bsd or self.options.pixel_bsd):
            terms = [
                StudentTerms(self.segmentation_terms(student, labels), {}) for student in students
            ]
        else:
            terms = self._selective_terms(a, b, labels, teachers)
        if self.options.hfd:
            for i, j in ((0, 1), (1, 0)):
                learner, peer = features_of(students[i]), features_of(students[j])
                transformed = peer.second_stage(
                    self.projections[i]["low"](learner.low, peer.low.shape[-2:])
                )
                terms[i].losses["hfd"] = losses.hfd(transformed, peer.second)
        return terms[0], terms[1]

    def _selective_terms(
        self,
        a: StudentOutput,
        b: StudentOutput,
        labels: Tensor,
        teachers: Sequence[StudentOutput],
    ) -> list[StudentTerms]:
        """Cross entropies, and both kinds of BSD, which they direct."""
        on_pixels = self.pixel_losses(
            (a.logits, b.logits), labels, self.teaching, self.logits_of(teachers)
        )
        labelled = labels != self.ignore_index
        terms = []
        for i, student in enumerate((a, b)):
            taught = {"pixel": on_pixels.pixel[i]} if self.options.pixel_bsd else {}
            teaches_pixels = losses.Mean(on_pixels.teaches[i].sum(), labelled.sum())
            told = {"teaches_pixels": teaches_pixels, **self.group_statistics(i)}
            if teachers:
                by_teacher = on_pixels.by_third[i].sum()
                told["taught_by_teacher"] = losses.Mean(by_teacher, labelled.sum())
            own = {"ce": on_pixels.ce[i], **self.auxiliary_terms(student, labels)}
            terms.append(StudentTerms(own | taught, told))
        if not self.options.region_bsd:
            return terms

        # Regions are the cells of the coarser of the two last feature grids.
        last = [features_of(student).last for student in (a, b)]
        grid = min(features.shape[-2:] for features in last)
        has_label = losses.labelled_regions(labelled, grid)
        ce_of_regions = [losses.region_sums(ce, grid) for ce in on_pixels.ce_maps]
        teaches = losses.teaching_directions(ce_of_regions[0], ce_of_regions[1], has_label)
        projected = [
            own["last"](features, grid)
            for own, features in zip(self.projections, last, strict=True)
        ]
        targets = projected
        if self.options.region_projection == "learner":
            targets = [losses.average_pool(features, grid) for features in last]
        weighed_by = losses.LabelledRegions(grid)
        for i, j in ((0, 1), (1, 0)):  # learner, peer
            divided_by = teaches[j] if self.options.region_divisor == "taught" else has_label
            terms[i].losses["region"] = losses.region_bsd(
                projected[i], targets[j], teaches[j], divided_by
            )
            terms[i].statistics["teaches_regions"] = losses.Mean(
                teaches[i].sum(), has_label.sum(), weighed_by
            )
            terms[i].statistics["region_spread"] = losses.spread(projected[i].detach())
        return terms
