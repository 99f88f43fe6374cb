"""A method of one's own: all students alone, each on labels that are smoothed.

Label smoothing (Szegedy et al., CVPR 2016) softens targets as a peer does, and knows nothing; what
a distillation gains beyond it is more than regularisation.

ctcl-hf train --method examples/label_smoothing.py:LabelSmoothing --smoothing 0.1
ctcl-hf compare --methods examples/label_smoothing.py:LabelSmoothing ctcl
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ctcl_hf.losses import Mean, masked_mean, upsample
from ctcl_hf.methods.objective import Objective, StudentTerms
from ctcl_hf.methods.options import MethodOptions, option
from ctcl_hf.methods.paper import Paper
from ctcl_hf.students import StudentOutput


@dataclass(kw_only=True)
class LabelSmoothingOptions(MethodOptions):
    STUDENTS = "two or more"

    smoothing: float = option(0.1, "Share of a label's weight that all classes divide equally.")


class LabelSmoothing(Objective):
    """Cross entropy with label smoothing s, for each student: CE + s (log p_y - mean_k log p_k).

    That is (1 - s) (-log p_y) + s mean_k(-log p_k), as PyTorch's `label_smoothing`.
    """

    Options = LabelSmoothingOptions
    TERMS: ClassVar = {"smoothing": "smoothing of the labels (nats)"}
    WEIGHTS: ClassVar = {"smoothing": "smoothing"}
    PAPER = Paper(
        key="szegedy2016rethinking",
        title="Rethinking the Inception Architecture for Computer Vision",
        authors="Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon and "
        "Wojna, Zbigniew",
        venue="Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition "
        "(CVPR)",
        year=2016,
        url="https://arxiv.org/abs/1512.00567",
    )

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        return [
            StudentTerms(
                self.segmentation_terms(own, labels) | {"smoothing": self.spread(own, labels)}, {}
            )
            for own in students
        ]

    def spread(self, output: StudentOutput, labels: Tensor) -> Mean:
        log_p = F.log_softmax(upsample(output.logits, labels.shape[-2:]), dim=1)
        labelled = labels != self.ignore_index
        target = labels.where(labelled, 0).unsqueeze(1)
        return masked_mean(log_p.gather(1, target).squeeze(1) - log_p.mean(1), labelled)
