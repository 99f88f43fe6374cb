"""CTCL: collaborative learning of a CNN and a ViT (Zhu et al., ICCV 2023, Eqs. 1-6)."""

from torch import Tensor, nn

from .. import losses
from ..choices import Divisor, KLDirection, PixelClasses, RegionProjection
from ..students import Student, StudentOutput
from .objective import StudentTerms
from .pixelwise import PixelwiseObjective


class Projection(nn.Conv2d):
    """The paper's Gamma: a 1x1 convolution and average pooling, (B, C, h, w) -> (B, C', *size)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        # A 1x1 convolution and averaging commute; pooling first leaves the convolution fewer positions.
        return super().forward(losses.average_pool(features, size))


class CTCL(PixelwiseObjective):
    """L = CE + beta HFD + gamma (region BSD + alpha pixel BSD) for each student (Eqs. 5, 6).

    Student a is the paper's CNN and b its ViT, but any two students will do: each loss is directed from a peer to a
    learner and applied both ways. Gradient contract: a student's terms move that student and its own projections; the
    peer's features, logits and borrowed stage are constants.

    Args:
        alpha, beta, gamma: weights of pixel BSD within BSD, of HFD, and of BSD (paper: 1, 0.1, 1; Tables 7-9).
        hfd, region_bsd, pixel_bsd: which parts there are (Tables 4 and 5). Without HFD and region BSD no features are
            read, so that any two segmentation models will do.
        kl_direction: order of the divergence in Eq. 4. "forward" is KL(peer || learner), as distillation usually has it
            and as did better on CamVid (docs/results-all-classes.md); "reverse" is KL(learner || peer), as printed.
        pixel_divisor: of a student's pixel BSD. "labelled": all labelled pixels, as cross entropy's. "taught", as Eq. 4
            is printed: those at which this student is taught, so that the fewer they are, the more each weighs against
            its cross entropy.
        pixel_classes: what pixel BSD compares. "grouped": groups of classes that the peer tells apart, so that it
            cannot make a student forget the others (docs/fidelity.md); see `PixelwiseObjective`. "all", as printed.
        region_divisor: the same of region BSD, in regions; "taught" as printed in Eq. 3.
        temperature: softens both distributions in Eq. 4, whose value is then scaled by T^2. The paper names none: 1.
        region_projection: who is projected in Eq. 3. "both", as printed: both students' last features, to the narrower
            one's channels; "learner": only the learner's, onto the peer's own features.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        alpha: float = 1.0,
        beta: float = 0.1,
        gamma: float = 1.0,
        hfd: bool = True,
        region_bsd: bool = True,
        pixel_bsd: bool = True,
        kl_direction: KLDirection = "forward",
        pixel_divisor: Divisor = "labelled",
        pixel_classes: PixelClasses = "grouped",
        region_divisor: Divisor = "taught",
        temperature: float = 1.0,
        region_projection: RegionProjection = "both",
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, (1, 0), pixel_classes if pixel_bsd else "all", distillation_warmup=distillation_warmup)
        self.hfd, self.region_bsd, self.pixel_bsd = hfd, region_bsd, pixel_bsd
        self.teaching = losses.PixelTeaching(
            peers=self.peers,
            selective=True,
            direction=kl_direction,
            temperature=temperature,
            divisor=pixel_divisor,
        )
        self.region_projection, self.region_divisor = region_projection, region_divisor
        for weights, modules, learner, peer in zip(self.weights, self.projections, (a, b), (b, a), strict=True):
            # What a student lacks is said here, not at the first step.
            if hfd:
                _ = peer.second_stage
                weights["hfd"] = beta
                modules["low"] = Projection(learner.low_channels, peer.low_channels)
            if region_bsd:
                weights["region"] = gamma
                shared_channels = min(learner.last_channels, peer.last_channels)
                modules["last"] = Projection(
                    learner.last_channels, shared_channels if region_projection == "both" else peer.last_channels
                )
            if pixel_bsd:
                weights["pixel"] = gamma * alpha

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        students = (a, b)
        if not (self.region_bsd or self.pixel_bsd):
            terms = [StudentTerms(self.segmentation_terms(student, labels), {}) for student in students]
        else:
            terms = self._selective_terms(a, b, labels)
        if self.hfd:
            for i, j in ((0, 1), (1, 0)):
                learner, peer = students[i], students[j]
                transformed = peer.second_stage(self.projections[i]["low"](learner.low, peer.low.shape[-2:]))
                terms[i].losses["hfd"] = losses.hfd(transformed, peer.second)
        return terms[0], terms[1]

    def _selective_terms(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> list[StudentTerms]:
        """Cross entropies, and both kinds of BSD, which they direct."""
        on_pixels = self.pixel_losses((a.logits, b.logits), labels, self.teaching)
        labelled = labels != self.ignore_index
        (labelled_pixels,) = losses.divisors(labelled.sum())
        terms = []
        for i, student in enumerate((a, b)):
            taught = {"pixel": on_pixels.pixel[i]} if self.pixel_bsd else {}
            teaches = {"teaches_pixels": on_pixels.teaches[i].sum() / labelled_pixels, **self.group_statistics(i)}
            own = {"ce": on_pixels.ce[i], **self.auxiliary_terms(student, labels)}
            terms.append(StudentTerms(own | taught, teaches))
        if not self.region_bsd:
            return terms

        # Regions are the cells of the coarser of the two last feature grids.
        grid = min(student.last.shape[-2:] for student in (a, b))
        has_label = losses.region_sums(labelled.float(), grid) > 0
        teaches = losses.teaching_directions(*(losses.region_sums(ce, grid) for ce in on_pixels.ce_maps), has_label)
        projected = [own["last"](student.last, grid) for own, student in zip(self.projections, (a, b), strict=True)]
        targets = projected
        if self.region_projection == "learner":
            targets = [losses.average_pool(student.last, grid) for student in (a, b)]
        (labelled_regions,) = losses.divisors(has_label.sum())
        for i, j in ((0, 1), (1, 0)):  # learner, peer
            divided_by = teaches[j] if self.region_divisor == "taught" else has_label
            terms[i].losses["region"] = losses.region_bsd(projected[i], targets[j], teaches[j], divided_by)
            terms[i].statistics["teaches_regions"] = teaches[i].sum() / labelled_regions
            terms[i].statistics["region_spread"] = losses.spread(projected[i].detach())
        return terms
