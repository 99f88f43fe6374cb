"""Cross entropy and pixel-wise BSD without logits at full resolution.

Logits at full resolution, K classes at every pixel, are by far a pair's largest tensors, and every loss on them is a
few passes over memory. Here all losses and their gradients are taken of one phase of the pixels and one strip of the
image at a time (see `phases`), while those few are in the cache: the same values, and no tensor larger than the
logits at their own stride.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..choices import KLDirection
from .phases import PhasedUpsampling
from .pixel import upsample
from .precision import in_full_precision
from .region import teaching_directions
from .sharing import divisors

CE, KL = 0, 1  # the terms whose gradients are collected
# An accelerator has memory for logits at full resolution, and waits for launches: at a factor of 4 there are 16 phases
# of some 18 launches each, at 16 (an auxiliary head's) 256.
LARGEST_FACTOR_ACCELERATOR = 4
LARGEST_FACTOR_CPU = math.inf


class PixelLosses(NamedTuple):
    """Of students a and b, in this order: scalars with gradient to the student's own logits, and maps without."""

    ce: tuple[Tensor, Tensor]  # Eq. 1
    pixel: tuple[Tensor, Tensor]  # Eq. 4, each student as the learner
    ce_maps: tuple[Tensor, Tensor]  # (B, H, W) in nats, 0 where ignored
    teaches: tuple[Tensor, Tensor]  # (B, H, W) bool: where this student is the more reliable


@torch.compiler.disable  # a loop over phases, which a compiler would unroll
@in_full_precision
def cross_entropy_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Eq. 1: mean cross entropy in nats over the labelled pixels, logits upsampled to the labels' size.

    Shapes: logits (B, K, h, w), labels (B, H, W) -> scalar. 0 if no pixel is labelled.
    """
    return _PixelLosses.apply(labels, ignore_index, None, 1.0, *_with_phases(labels, logits))[0]


@torch.compiler.disable  # a loop over phases, which a compiler would unroll
@in_full_precision
def pixel_losses(
    logits_a: Tensor,
    logits_b: Tensor,
    labels: Tensor,
    ignore_index: int,
    direction: KLDirection = "forward",
    temperature: float = 1.0,
) -> PixelLosses:
    """Eqs. 1 and 4 for both students, and who teaches where, at the labels' size.

    Equal to `cross_entropy_loss`, `teaching_directions` and `pixel_bsd` on upsampled logits.
    Shapes: logits (B, K, h, w), each at its own stride; labels (B, H, W). Gradient of each term: the learner's logits.
    """
    students = _with_phases(labels, logits_a, logits_b)
    results = _PixelLosses.apply(labels, ignore_index, direction, temperature, *students)
    return PixelLosses(*(results[i : i + 2] for i in (0, 2, 4, 6)))


def _with_phases(labels: Tensor, *students: Tensor) -> list[Tensor]:
    """Logits whose sides divide the labels', on accelerators by few enough phases. Others are upsampled as a whole."""
    size = labels.shape[-2:]
    largest = LARGEST_FACTOR_CPU if labels.device.type == "cpu" else LARGEST_FACTOR_ACCELERATOR
    fits = [
        all(side % own == 0 and side // own <= largest for side, own in zip(size, logits.shape[-2:], strict=True))
        for logits in students
    ]
    return [logits if fit else upsample(logits, size) for logits, fit in zip(students, fits, strict=True)]


class _PixelLosses(torch.autograd.Function):
    """Of one student: CE, CE map. Of two: both CEs, both pixel BSDs, both CE maps, both teaching masks."""

    @staticmethod
    def forward(ctx, labels, ignore_index, direction, temperature, *students):
        is_pair = len(students) == 2
        with_gradient = any(ctx.needs_input_grad)
        labelled = labels != ignore_index
        ce_maps = [students[0].new_empty(labels.shape) for _ in students]
        teaches = [torch.empty_like(labelled) for _ in students] if is_pair else []
        divergences = [students[0].new_zeros(()) for _ in teaches]  # sums over the pixels that are taught
        # Gradients, too, are collected of sums; backward divides and weights them.
        upsampling = PhasedUpsampling(students, labels.shape[-2:], terms=(1 + is_pair) * with_gradient)

        for phase in upsampling:
            valid = labelled[phase.place]
            target = torch.where(valid, labels[phase.place], 0).unsqueeze(1).long()
            log_p = [F.log_softmax(logits, dim=1) for logits in phase.pixels()]
            p = [values.exp() for values in log_p]
            for i, ce_map in enumerate(ce_maps):
                ce_map[phase.place] = torch.where(valid, -log_p[i].gather(1, target).squeeze(1), 0)
                if with_gradient:
                    phase.add_gradient(i, CE, _cross_entropy_gradient(p[i], target, valid))
            if not is_pair:
                continue
            if temperature != 1:
                log_p = [F.log_softmax(values / temperature, dim=1) for values in log_p]
                p = [values.exp() for values in log_p]
            masks = teaching_directions(*(ce_map[phase.place] for ce_map in ce_maps), valid)
            taught = [mask.unsqueeze(1).to(p[0].dtype) for mask in reversed(masks)]
            divergence, gradient = _divergence_and_gradient(log_p, p, taught, direction)
            for i, sign in ((0, 1), (1, -1)):
                teaches[i][phase.place] = masks[i]
                divergences[i] += (divergence * taught[i]).sum() * (sign * temperature**2)
                if with_gradient:
                    phase.add_gradient(i, KL, gradient * (taught[i] * (sign * temperature)))  # T^2 / T

        # A student is taught where its peer teaches: the masks in reverse order.
        counts = [labelled.sum()] * len(students) + [mask.sum() for mask in reversed(teaches)]
        divided_by = divisors(*counts)
        sums = [*(ce_map.sum() for ce_map in ce_maps), *divergences]
        if with_gradient:
            gradients = [*upsampling.gradients(CE), *(upsampling.gradients(KL) if is_pair else ())]
            ctx.save_for_backward(*gradients, *divided_by)
        ctx.mark_non_differentiable(*ce_maps, *teaches)
        return *(total / divisor for total, divisor in zip(sums, divided_by, strict=True)), *ce_maps, *teaches

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):
        terms = len(ctx.saved_tensors) // 2
        gradients, divided_by = ctx.saved_tensors[:terms], ctx.saved_tensors[terms:]
        scaled = [g * (up / n) for g, up, n in zip(gradients, upstream[:terms], divided_by, strict=True)]
        if terms == 4:
            scaled = [ce + pixel for ce, pixel in zip(scaled[:2], scaled[2:], strict=True)]
        return None, None, None, None, *scaled


def _cross_entropy_gradient(p: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """d CE / d logits = p - onehot(target) at labelled pixels: p (B, K, H, W), target (B, 1, H, W)."""
    valid = valid.unsqueeze(1).to(p.dtype)
    return (p * valid).scatter_add_(1, target, -valid)


def _divergence_and_gradient(
    log_p: list[Tensor], p: list[Tensor], taught: list[Tensor], direction: KLDirection
) -> tuple[Tensor, Tensor]:
    """KL (B, 1, H, W) and its gradient to the learner's logits (B, K, H, W), with sign: + of a as learner, - of b.

    A pixel has one learner, and all that differs between the two is the order of a - b: one pass serves both.
    Of both students: log_p, p (B, K, H, W); taught (B, 1, H, W), 0 or 1 and never both 1.
    """
    log_ratio = log_p[0] - log_p[1]
    if direction == "reverse":
        learner = (p[0] * taught[0]).addcmul_(p[1], taught[1])
        divergence = (learner * log_ratio).sum(1, keepdim=True)
        return divergence, log_ratio.sub_(divergence).mul_(learner)
    teacher = (p[1] * taught[0]).addcmul_(p[0], taught[1])
    return -log_ratio.mul_(teacher).sum(1, keepdim=True), p[0] - p[1]
