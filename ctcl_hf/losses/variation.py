"""Intra-class feature variation distillation (IFVD; Wang et al., ECCV 2020)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .means import Mean, masked_mean
from .precision import in_full_precision
from .region import average_pool


def nearest_labels(labels: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Labels (B, H, W) at the centres of a coarser grid: (B, h, w)."""
    rows, columns = (
        (2 * torch.arange(points, device=labels.device) + 1) * pixels // (2 * points)
        for pixels, points in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[:, rows[:, None], columns]


@dataclass(frozen=True)
class LabelledCentres:
    """Weighs a micro-batch by how many positions of a coarser grid are labelled at their centre:
    see `Mean`.
    """

    grid: tuple[int, int] | torch.Size

    def __call__(self, labelled: Tensor) -> Tensor:
        return nearest_labels(labelled, self.grid).sum()


@in_full_precision
def similarity_to_class(
    features: Tensor, labels: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Cosine similarity of every feature to the mean feature of its class in its image; 0 where
    ignored.

    Shapes: features (B, C, h, w), labels (B, h, w) -> (B, h, w).
    """
    labelled = labels != ignore_index
    # (B, h, w, K)
    of_class = F.one_hot(torch.where(labelled, labels, 0), num_classes) * labelled.unsqueeze(-1)
    of_class = of_class.flatten(1, 2).to(features.dtype)
    sums = features.flatten(2) @ of_class  # (B, C, K)
    means = sums / of_class.sum(1, keepdim=True).clamp_min(1)
    own = (means @ of_class.mT).view_as(features)  # each position's class's mean
    return torch.where(labelled, F.cosine_similarity(features, own, dim=1), 0)


@in_full_precision
def intra_class_variation(
    learner: Tensor, peer: Tensor, labels: Tensor, num_classes: int, ignore_index: int
) -> Mean:
    """Mean over labelled positions of (M_learner - M_peer)^2, M the `similarity_to_class` of a
    student's features.

    The two need not have the same channels. Features are averaged, and labels taken at the nearest
    centre, on the coarser of the two grids. Shapes: (B, C, h, w) and (B, C', h', w'), labels (B, H,
    W).
    Gradient: learner only, its class means included.
    """
    grid = min(learner.shape[-2:], peer.shape[-2:])
    labels = nearest_labels(labels, grid)
    maps = [
        similarity_to_class(average_pool(features, grid), labels, num_classes, ignore_index)
        for features in (learner, peer.detach())
    ]
    difference = (maps[0] - maps[1]).square()
    return masked_mean(difference, labels != ignore_index, weighed_by=LabelledCentres(grid))
