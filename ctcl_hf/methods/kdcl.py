"""Knowledge distillation via collaborative learning (Guo et al., CVPR 2020)."""

from torch import Tensor

from ..choices import KDCLTarget
from ..losses import kl_map, linear_target, masked_mean, minimum_target, naive_target, upsample
from ..students import Student, StudentOutput
from .objective import Objective, StudentTerms

TARGETS = {"naive": naive_target, "linear": linear_target, "minlogit": minimum_target}


class KDCL(Objective):
    """L = CE + w T^2 KL(softmax(z_t / T) || softmax(z / T)), the mean over labelled pixels; one target z_t for both.

    Both students see the same augmentation; in the original each has its own. Its fourth target, "general", needs
    held-out data at every step and is not offered.

    Args:
        kdcl_target: what z_t is. "minlogit": the minimum over students of z - z_y; "naive": the logits of the student
            with the lower cross entropy over the batch; "linear": the mixture of both with the lowest.
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
        self.target = TARGETS[kdcl_target]
        self.temperature = temperature
        for weights in self.weights:
            weights["kl"] = distillation_weight

    def forward(self, a: StudentOutput, b: StudentOutput, labels: Tensor) -> tuple[StudentTerms, StudentTerms]:
        logits = [upsample(student.logits, labels.shape[-2:]) for student in (a, b)]
        target = self.target(*logits, labels, self.ignore_index)
        labelled = labels != self.ignore_index
        terms = []
        for student, own in zip((a, b), logits, strict=True):
            losses = self.segmentation_terms(student, labels)
            losses["kl"] = masked_mean(kl_map(own, target, "forward", self.temperature), labelled)
            terms.append(StudentTerms(losses, {}))
        return terms[0], terms[1]
