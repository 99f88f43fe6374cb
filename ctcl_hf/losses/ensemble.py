"""One target made of both students' logits, for KDCL (Guo et al., CVPR 2020).

But for the smallest logits it is a mixture `share a + (1 - share) b` of them, and what differs is
the share.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .fused.phases import PhasedUpsampling
from .fused.strips import cross_entropy_loss, with_phases
from .means import summed_over_processes
from .precision import in_full_precision

INTERVALS = 20  # of the shares at whose ends the slope of the cross entropy is taken


def minimum_target(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Each class's smallest lead over the true class: the minimum over students of z - z_y
    (KDCL-MinLogit).

    Shapes: (b, K, n, m) each, labels (b, 1, n, m) of class ids alone -> (b, K, n, m).
    """
    a, b = (z - z.gather(1, labels) for z in logits)
    return torch.minimum(a, b)


@torch.no_grad()
def naive_share(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """1 if a's mean cross entropy over the batch is the lower, else 0: the better student alone
    (KDCL-Naive).

    Shapes: logits (B, K, h, w), each at its own stride; labels (B, H, W) -> scalar.
    """
    ce_a, ce_b = summed_over_processes(
        *(cross_entropy_loss(z, labels, ignore_index).total for z in (a, b))
    )
    return (ce_a < ce_b).to(ce_a.dtype)


@torch.no_grad()
@torch.compiler.disable  # a loop over phases, which a compiler would unroll
@in_full_precision
def linear_share(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The share whose mixture has the lowest mean cross entropy over the batch (KDCL-Linear).

    That is convex in the share: its slope, the sum of sum_k p_k d_k - d_y with d = a - b, rises
    through 0. Straight lines between evenly spaced shares stand for it, so that processes exchange
    their sums but once.
    Shapes: logits (B, K, h, w), each at its own stride; labels (B, H, W) -> scalar.
    """
    labelled = labels != ignore_index
    upsampling = PhasedUpsampling(with_phases(labels, a, b), labels.shape[-2:], [0, 0])
    slopes = a.new_zeros(INTERVALS + 1)
    for phase in upsampling:
        of_a, of_b = phase.pixels()
        valid = labelled[phase.place]
        target = torch.where(valid, labels[phase.place], 0).unsqueeze(1).long()
        difference = of_a - of_b
        of_label = difference.gather(1, target).squeeze(1)
        for i in range(INTERVALS + 1):
            expected = (F.softmax(torch.lerp(of_b, of_a, i / INTERVALS), dim=1) * difference).sum(1)
            slopes[i] += torch.where(valid, expected - of_label, 0).sum()
    (slopes,) = summed_over_processes(slopes)
    low, high = slopes[:-1], slopes[1:]
    # the part of an interval in which the slope is below 0, if it is between 0 and 1
    falling = low / (low - high)
    return falling.nan_to_num(0.0).clamp(0, 1).mean()


@in_full_precision
def error_products(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Sums over labelled pixels of the students' errors e = softmax(z) - onehot(y): <e_a, e_a>,
    <e_b, e_b>, <e_a, e_b>.

    Shapes: logits (B, K, H, W) twice, labels (B, H, W) -> (3,), float64 on the CPU.
    """
    labelled = labels != ignore_index
    target = torch.where(labelled, labels, 0).unsqueeze(1).long()
    one = a.new_ones(()).expand(target.shape)
    errors = [torch.softmax(z.detach(), dim=1).scatter_add(1, target, -one) for z in (a, b)]
    pairs = ((0, 0), (1, 1), (0, 1))
    of_images = [((errors[i] * errors[j]).sum(1) * labelled).sum((1, 2)) for i, j in pairs]
    # not on the device: Apple's GPUs know no float64
    return torch.stack(of_images).cpu().double().sum(1)


def general_share(products: Tensor) -> Tensor:
    """The share of a in the mixture of both students whose squared error is the least
    (KDCL-General).

    With C the matrix of the students' error products, the weights C^-1 1 / (1' C^-1 1) of Guo et
    al. (CVPR 2020) come to (C_bb - C_ab) / (C_aa + C_bb - 2 C_ab) for two; kept in 0..1, so that no
    student is subtracted. 1/2 where both always err alike.
    """
    of_a, of_b, of_both = products
    distance = of_a + of_b - 2 * of_both  # squared, between the two predictions
    return torch.where(distance > 0, (of_b - of_both) / distance, 0.5).clamp(0, 1)
