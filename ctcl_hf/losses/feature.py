"""Plain feature distillation: features that are projected, standardised and compared."""

import torch
from torch import Tensor

from ..base.choices import StatisticsOver
from .means import Mean, mean_of
from .precision import in_full_precision

# Added to a variance, as normalisation layers do: a constant channel is 0 then, and not undefined.
EPSILON = 1e-5


@in_full_precision
def standardised(features: Tensor, over: StatisticsOver) -> Tensor:
    """Features (B, C, h, w) with mean 0 and variance 1 in each channel, over the positions of all
    images of the batch, or of each image.
    """
    places = (0, 2, 3) if over == "batch" else (2, 3)
    centred = features - features.mean(places, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(places, keepdim=True) + EPSILON)


@in_full_precision
def feature_distillation(projected: Tensor, peer: Tensor, over: StatisticsOver) -> Mean:
    """Mean over images, channels and positions of (standardised learner - standardised peer)^2.

    All positions count, unlabelled ones too. It is 2 (1 - r), r the mean over channels of Pearson's
    correlation: 0 for features that agree, 2 for unrelated ones, at most 4. Shapes: `projected`,
    the learner's features in the peer's channels, and the peer's own, both (B, C, h, w).
    Gradient: projected only, through its mean and variance too.

    Raises:
        ValueError: features of two shapes, which broadcasting could hide.
    """
    if projected.shape != peer.shape:
        raise ValueError(
            f"Features to compare must have one shape, got {tuple(projected.shape)} and "
            f"{tuple(peer.shape)}."
        )
    difference = standardised(projected, over) - standardised(peer.detach(), over)
    return mean_of(difference.square())
