"""Knowledge distillation via collaborative learning (Guo et al., CVPR 2020)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..choices import KDCLTarget
from ..losses import (
    error_products,
    general_share,
    kl_map,
    linear_target,
    masked_mean,
    minimum_target,
    naive_target,
    upsample,
)
from ..students import Student, StudentOutput
from .objective import Objective, StudentTerms

TARGETS = {"naive": naive_target, "linear": linear_target, "minlogit": minimum_target}
HELD_OUT_IMAGES = 32  # of the evaluation set, that "general" is measured on


class KDCL(Objective):
    """L = CE + w T^2 KL(softmax(z_t / T) || softmax(z / T)), the mean over labelled pixels; one target z_t for both.

    Gradient contract: a student's term moves that student; the target is a constant, whichever student it is made of.
    Both students see the same augmentation; in the original each has its own.

    Args:
        kdcl_target: what z_t is. "minlogit": the minimum over students of z - z_y; "naive": the logits of the student
            with the lower cross entropy over the batch; "linear": the mixture of both with the lowest; "general": the
            mixture with the least squared error on held-out images, measured before every epoch: see `observe`.
        distillation_weight: w.
        temperature: T (paper: 2).
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
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_warmup)
        self.target = TARGETS.get(kdcl_target)
        self.temperature = temperature
        if kdcl_target == "general":
            self.held_out_images = HELD_OUT_IMAGES
            self.register_buffer("share", torch.tensor(0.5))  # of a in the mixture
        for weights in self.weights:
            weights["kl"] = distillation_weight

    def observe(self, held_out: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        self.share.copy_(general_share(sum(error_products(*views, self.ignore_index) for views in held_out)))

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        logits = [upsample(student.logits, labels.shape[-2:]) for student in (a, b)]
        if self.target is None:
            target = torch.lerp(logits[1], logits[0], self.share.to(logits[0].dtype)).detach()
        else:
            target = self.target(*logits, labels, self.ignore_index)
        labelled = labels != self.ignore_index
        terms = []
        for student, own in zip((a, b), logits, strict=True):
            losses = self.segmentation_terms(student, labels)
            losses["kl"] = masked_mean(kl_map(own, target, "forward", self.temperature), labelled)
            terms.append(StudentTerms(losses, {}))
        return terms[0], terms[1]
