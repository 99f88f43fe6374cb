"""HeteroAKD (Huang et al., AAAI 2025): features of two architectures compared in the space of
logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .means import Mean, masked_mean
from .precision import in_full_precision, widened
from .variation import LabelledCentres, nearest_labels


@dataclass(frozen=True)
class LabelledImages:
    """Weighs a micro-batch by the number of images in which a position of a coarser grid is
    labelled at its centre: see `Mean`.
    """

    grid: tuple[int, int] | torch.Size

    def __call__(self, labelled: Tensor) -> Tensor:
        return nearest_labels(labelled, self.grid).flatten(1).any(1).sum()


def one_vs_rest(projected: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Binary cross entropy H in nats of every position and class, and where it is labelled.

    H = -y log s - (1 - y) log(1 - s), s the sigmoid of a projection (B, K, h, w), y 1 where the
    class is the label (B, h, w) and 0 elsewhere. -> (B, K, h, w), and a mask (B, 1, h, w).
    """
    labelled = (labels != ignore_index).unsqueeze(1)
    of_class = F.one_hot(torch.where(labelled.squeeze(1), labels, 0), projected.shape[1])
    of_class = of_class.permute(0, 3, 1, 2).to(projected.dtype)
    return F.binary_cross_entropy_with_logits(projected, of_class, reduction="none"), labelled


@in_full_precision
def mixed_knowledge(learner: Tensor, peer: Tensor, labels: Tensor, ignore_index: int) -> Mean:
    """Mean over images with a label, and over classes, of the weighted sum over labelled positions
    of KL(Bernoulli(sigmoid Z) || Bernoulli(sigmoid Z_learner)) in nats.

    Mixing: Z = S Z_peer + (1 - S) Z_learner, S = 1 - H_peer / (H_peer + H_learner): the more the
    peer's, the smaller its binary cross entropy H (`one_vs_rest`) is beside the learner's; half
    each where both are 0. Evaluation: the weights are, of an image and a class, the softmax over
    labelled positions of H_learner + max(0, H_learner - H of Z), larger where the learner is worse,
    and worse than the mixture. Z and the weights are constants.

    Labels are taken at the nearest centres. Shapes: projected features (B, K, h, w) twice, labels
    (B, H, W). Gradient: learner only.
    """
    grid = learner.shape[-2:]
    labels = nearest_labels(labels, grid)
    own, other = learner.detach(), peer.detach()
    own_error, labelled = one_vs_rest(own, labels, ignore_index)
    other_error, _ = one_vs_rest(other, labels, ignore_index)
    both = own_error + other_error
    share = torch.where(both > 0, own_error / both, 0.5)
    mixture = torch.lerp(own, other, share)
    mixed_error, _ = one_vs_rest(mixture, labels, ignore_index)
    importance = own_error + (own_error - mixed_error).clamp_min(0)
    # Not -inf, of which an image without a label would make NaN.
    importance = importance.masked_fill(~labelled, torch.finfo(importance.dtype).min)
    weights = importance.flatten(2).softmax(2).view_as(importance)
    divergence = sum(
        (sign * mixture).sigmoid() * (F.logsigmoid(sign * mixture) - F.logsigmoid(sign * learner))
        for sign in (1, -1)
    )
    total = torch.where(labelled, weights * divergence, 0).sum()
    images = labelled.flatten(1).any(1).sum()
    return Mean(total, images * learner.shape[1], LabelledImages(grid))


def projection_cross_entropy(
    projections: Sequence[Tensor], labels: Tensor, ignore_index: int
) -> Mean:
    """Sum over projections, each (B, K, h, w) on one grid, of the mean over labelled positions and
    classes of `one_vs_rest`: what makes the channels of a projection the classes.

    Labels (B, H, W) are taken at the nearest centres. Gradient: all of them.
    """
    grid = projections[0].shape[-2:]
    labels = nearest_labels(labels, grid)
    errors, labelled = zip(
        *(one_vs_rest(widened(own), labels, ignore_index) for own in projections), strict=True
    )
    return masked_mean(
        torch.stack(errors).sum(0), labelled[0].expand_as(errors[0]), None, LabelledCentres(grid)
    )
