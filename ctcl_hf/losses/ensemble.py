"""One target made of both students' logits, for KDCL (Guo et al., CVPR 2020)."""

import torch
from torch import Tensor

from .pixel import cross_entropy_map
from .precision import in_full_precision
from .sharing import shared_sums

HALVINGS = 20  # of the interval in which the best mixture is sought: 1e-6


@in_full_precision
def naive_target(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The logits of the student whose mean cross entropy over the batch is the lower; b's on a tie.

    Shapes: (B, K, H, W) twice, labels (B, H, W) -> (B, K, H, W). Constant, as all targets here.
    """
    a, b = a.detach(), b.detach()
    labelled = labels != ignore_index
    ce_a, ce_b = shared_sums(
        *(torch.where(labelled, cross_entropy_map(z, labels, ignore_index), 0).sum() for z in (a, b))
    )
    return torch.where(ce_a < ce_b, a, b)


@in_full_precision
def linear_target(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The mixture s a + (1 - s) b, s in 0..1, whose mean cross entropy over the batch is the lowest.

    That is convex in s; its slope, the mean of sum_k p_k d_k - d_y with d = a - b, is brought to 0 by halving.
    """
    a, b = a.detach(), b.detach()
    labelled = labels != ignore_index
    difference = a - b
    target = torch.where(labelled, labels, 0).unsqueeze(1)
    of_target = difference.gather(1, target).squeeze(1)
    low, high = a.new_zeros(()), a.new_ones(())
    for _ in range(HALVINGS):
        share = (low + high) / 2
        p = torch.softmax(torch.lerp(b, a, share), dim=1)
        (slope,) = shared_sums(torch.where(labelled, (p * difference).sum(1) - of_target, 0).sum())
        low, high = torch.where(slope < 0, share, low), torch.where(slope < 0, high, share)
    return torch.lerp(b, a, (low + high) / 2)


@in_full_precision
def error_products(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Sums over labelled pixels of the students' errors e = softmax(z) - onehot(y): <e_a, e_a>, <e_b, e_b>, <e_a, e_b>.

    Shapes: logits (B, K, H, W) twice, labels (B, H, W) -> (3,), float64.
    """
    labelled = labels != ignore_index
    target = torch.where(labelled, labels, 0).unsqueeze(1)
    one = a.new_ones(()).expand(target.shape)
    errors = [torch.softmax(z.detach(), dim=1).scatter_add(1, target, -one) for z in (a, b)]
    pairs = ((0, 0), (1, 1), (0, 1))
    return torch.stack([((errors[i] * errors[j]).sum(1) * labelled).sum(dtype=torch.float64) for i, j in pairs])


def general_share(products: Tensor) -> Tensor:
    """The share of a in the mixture of both students whose squared error is the least (KDCL-General).

    With C the matrix of the students' error products, the weights C^-1 1 / (1' C^-1 1) of Guo et al. (CVPR 2020) come
    to (C_bb - C_ab) / (C_aa + C_bb - 2 C_ab) for two; kept in 0..1, so that no student is subtracted. 1/2 where both
    always err alike.
    """
    of_a, of_b, of_both = products
    distance = of_a + of_b - 2 * of_both  # squared, between the two predictions
    return torch.where(distance > 0, (of_b - of_both) / distance, 0.5).clamp(0, 1)


@in_full_precision
def minimum_target(a: Tensor, b: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Each class's smallest lead over the true class: the minimum over students of z - z_y (KDCL-MinLogit)."""
    target = torch.where(labels != ignore_index, labels, 0).unsqueeze(1)
    a, b = (z - z.gather(1, target) for z in (a.detach(), b.detach()))
    return torch.minimum(a, b)
