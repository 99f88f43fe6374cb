"""Knowledge distillation via collaborative learning (Guo et al., CVPR 2020)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..base.choices import KDCLTarget
from ..losses import (
    PixelTeaching,
    error_products,
    general_share,
    linear_share,
    minimum_target,
    naive_share,
)
from ..students import Student, StudentOutput
from .objective import StudentTerms
from .options import Positive, SoftenedWeightedOptions, Weight, option
from .paper import Paper
from .pixelwise import PixelwiseObjective

SHARES = {"naive": naive_share, "linear": linear_share}  # of a in the mixture, from a batch
HELD_OUT_IMAGES = 32  # of the evaluation set, that "general" is measured on


@dataclass(kw_only=True)
class KDCLOptions(SoftenedWeightedOptions):
    """Options of KDCL."""

    kdcl_target: KDCLTarget = option(
        "minlogit",
        "What the target z_t is. minlogit: the minimum over students of z - z_y; naive: the logits "
        "of the student with the lower cross entropy over the batch; linear: the mixture of both "
        "with the lowest; general: the mixture with the least squared error on held-out "
        "(evaluation) images, measured before every epoch.",
    )
    distillation_weight: Weight = option(1.0, "Weight w of what a student learns from the target.")
    temperature: Positive = option(2.0, "Temperature T of the distributions compared (paper: 2).")


class KDCL(PixelwiseObjective):
    """L = CE + w T^2 KL(softmax(z_t / T) || softmax(z / T)), the mean over labelled pixels; one
    target z_t for both.

    Gradient contract: a student's term moves that student; the target is a constant, whichever
    student it is made of. Both students see the same augmentation; in the original each has its
    own. Where classes are grouped, the target's blind classes are counted as a student's.
    """

    Options = KDCLOptions
    options: KDCLOptions
    share: Tensor
    TERMS: ClassVar[dict[str, str]] = {"kl": "KL to the peer or target (nats)"}
    WEIGHTS: ClassVar[dict[str, str]] = {"kl": "distillation_weight"}
    PAPER = Paper(
        key="guo2020online",
        title="Online Knowledge Distillation via Collaborative Learning",
        authors="Guo, Qiushan and Wang, Xinjiang and Wu, Yichao and Yu, Zhipeng and Liang, Ding "
        "and Hu, Xiaolin and Luo, Ping",
        venue="Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition "
        "(CVPR)",
        year=2020,
    )

    def __init__(self, *students: Student, **options: Any):
        super().__init__(*students, lessons=((0, 2), (1, 2)), **options)
        self.teaching = PixelTeaching(
            self.lessons,
            temperature=self.options.temperature,
            weighed=self.options.weigh_taught,
        )
        if self.options.kdcl_target == "general":
            self.held_out_images = HELD_OUT_IMAGES
            self.register_buffer("share", torch.tensor(0.5))  # of a in the mixture

    def observe(self, held_out: Iterable[tuple[Tensor, ...]]) -> None:
        self.share.copy_(
            general_share(sum(error_products(*views, self.ignore_index) for views in held_out))
        )

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        a, b = (own.logits for own in students)
        on_pixels = self.pixel_losses(
            (a, b), labels, self.teaching._replace(target=self._target(a, b, labels))
        )
        return [self.terms_of(i, own, labels, on_pixels) for i, own in enumerate(students)]

    def _target(
        self, a: Tensor, b: Tensor, labels: Tensor
    ) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
        """How the target's logits at some pixels are made of the students': see `PixelTeaching`."""
        if self.options.kdcl_target == "minlogit":
            return minimum_target
        if self.options.kdcl_target == "general":
            share = self.share
        else:
            share = SHARES[self.options.kdcl_target](a, b, labels, self.ignore_index)
        return lambda logits, _: torch.lerp(logits[1], logits[0], share.to(logits[0].dtype))
