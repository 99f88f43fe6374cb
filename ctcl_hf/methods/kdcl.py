"""Knowledge distillation via collaborative learning (Guo et al., CVPR 2020)."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..choices import KDCLTarget, PixelClasses
from ..losses import PixelTeaching, error_products, general_share, linear_share, minimum_target, naive_share
from ..students import Student, StudentOutput
from .objective import StudentTerms
from .pixelwise import PixelwiseObjective

SHARES = {"naive": naive_share, "linear": linear_share}  # of a in the mixture, from a batch
HELD_OUT_IMAGES = 32  # of the evaluation set, that "general" is measured on


class KDCL(PixelwiseObjective):
    """L = CE + w T^2 KL(softmax(z_t / T) || softmax(z / T)), the mean over labelled pixels; one target z_t for both.

    Gradient contract: a student's term moves that student; the target is a constant, whichever student it is made of.
    Both students see the same augmentation; in the original each has its own.

    Args:
        kdcl_target: what z_t is. "minlogit": the minimum over students of z - z_y; "naive": the logits of the student
            with the lower cross entropy over the batch; "linear": the mixture of both with the lowest; "general": the
            mixture with the least squared error on held-out images, measured before every epoch: see `observe`.
        distillation_weight: w.
        temperature: T (paper: 2).
        pixel_classes: see `PixelwiseObjective`; the target's blind classes are counted as a student's.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        *,
        kdcl_target: KDCLTarget = "minlogit",
        distillation_weight: float = 1.0,
        temperature: float = 2.0,
        pixel_classes: PixelClasses = "all",
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, (2, 2), pixel_classes, predicted=3, distillation_warmup=distillation_warmup)
        self.kdcl_target = kdcl_target
        self.teaching = PixelTeaching(peers=self.peers, temperature=temperature)
        if kdcl_target == "general":
            self.held_out_images = HELD_OUT_IMAGES
            self.register_buffer("share", torch.tensor(0.5))  # of a in the mixture
        for weights in self.weights:
            weights["kl"] = distillation_weight

    def observe(self, held_out: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        self.share.copy_(general_share(sum(error_products(*views, self.ignore_index) for views in held_out)))

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        students = (a.logits, b.logits)
        on_pixels = self.pixel_losses(students, labels, self.teaching._replace(target=self._target(*students, labels)))
        terms = []
        for i, student in enumerate((a, b)):
            own = {"ce": on_pixels.ce[i], **self.auxiliary_terms(student, labels), "kl": on_pixels.pixel[i]}
            terms.append(StudentTerms(own, self.group_statistics(i)))
        return terms[0], terms[1]

    def _target(self, a: Tensor, b: Tensor, labels: Tensor) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
        """How the target's logits at some pixels are made of the students': see `PixelTeaching`."""
        if self.kdcl_target == "minlogit":
            return minimum_target
        if self.kdcl_target == "general":
            share = self.share
        else:
            share = SHARES[self.kdcl_target](a, b, labels, self.ignore_index)
        return lambda logits, _: torch.lerp(logits[1], logits[0], share.to(logits[0].dtype))
