"""DIST (Huang et al., NeurIPS 2022): predictions that correlate with the peer's, in place of ones
that equal them.
"""

import torch
from torch import Tensor

from ..base.choices import StatisticsOver
from .means import Mean, mean_of
from .pixel import upsample
from .precision import in_full_precision


def pearson(x: Tensor, y: Tensor, dim: int, floor: float) -> Tensor:
    """Pearson's correlation along a dimension, which is gone then, with floor^2 added to either
    variance.

    Its gradient grows as 1 / standard deviation: without a floor that of a student from random
    weights, whose probabilities are nearly constant, would be of any size. 0 where either side is
    constant.
    """
    sides = [values - values.mean(dim, keepdim=True) for values in (x, y)]
    scales = [torch.rsqrt(side.square().mean(dim, keepdim=True) + floor**2) for side in sides]
    return (sides[0] * scales[0] * (sides[1] * scales[1])).mean(dim)


@in_full_precision
def class_correlation(learner: Tensor, peer: Tensor, floor: float) -> Mean:
    """DIST's inter-class relation: mean over positions of 1 - Pearson's correlation over the
    classes of both students' probabilities.

    0 where one is an increasing linear function of the other, if both differ by much more than the
    `floor` of `pearson`; 1 where one is constant; 2 at most. All positions count, unlabelled ones
    too. Shapes: logits (B, K, h, w) twice, the peer's resized to the learner's if
    they differ. Gradient: learner only.
    """
    p, q = learner.softmax(1), upsample(peer.detach(), learner.shape[-2:]).softmax(1)
    return mean_of(1 - pearson(p, q, 1, floor))


@in_full_precision
def position_correlation(learner: Tensor, peer: Tensor, over: StatisticsOver, floor: float) -> Mean:
    """DIST's intra-class relation: mean over classes of 1 - Pearson's correlation over positions of
    both students' probabilities of the class.

    The positions are those of all images of the batch, as in the authors' code, or of each image,
    over which the mean is then as well. 0 to 2, and all count, as in `class_correlation`. Shapes:
    logits (B, K, h, w) twice, the peer's resized to the learner's if they differ. Gradient: learner
    only.
    """
    p, q = learner.softmax(1), upsample(peer.detach(), learner.shape[-2:]).softmax(1)
    if over == "batch":
        p, q = (values.transpose(0, 1).flatten(1) for values in (p, q))  # (K, B h w)
    else:
        p, q = (values.flatten(2) for values in (p, q))  # (B, K, h w)
    return mean_of(1 - pearson(p, q, -1, floor))
