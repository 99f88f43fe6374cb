"""Region-wise bidirectional selective distillation (Eq. 3) and the directions of both kinds of
BSD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .means import Mean, masked_mean
from .precision import in_full_precision


def teaching_directions(cross_entropies: Sequence[Tensor], labelled: Tensor) -> list[Tensor]:
    """Where each student is the most reliable, and so teaches all others: m and 1 - m of Eqs. 3
    and 4 for two, unlabelled places left out.

    The one with the lowest cross entropy teaches; on a tie the last of those that have it, as the
    paper's m (1 where the CNN's is smaller) says of two. At a place there is one teacher: of any
    student but it, the most reliable peer is it, and none is more reliable than it is.
    Shapes: (B, ...) of each student, and of the labelled places -> a bool mask (B, ...) each.
    """
    lowest, teaches = cross_entropies[0], [labelled]
    for number, cross_entropy in enumerate(cross_entropies[1:], 2):
        stays = lowest < cross_entropy
        teaches = [*(own & stays for own in teaches), labelled & ~stays]
        if number < len(cross_entropies):
            lowest = torch.where(stays, lowest, cross_entropy)
    return teaches


@in_full_precision
def region_sums(pixel_map: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """Sum of a per-pixel map over the pixels of every region: (B, H, W) -> (B, h, w).

    Pixel row y belongs to region row floor(y h / H) (columns alike), so a grid that does not divide
    the image still gives every pixel to exactly one region.
    """
    rows, columns = (
        F.one_hot(torch.arange(pixels, device=pixel_map.device) * regions // pixels, regions).to(
            pixel_map.dtype
        )
        for pixels, regions in zip(pixel_map.shape[-2:], grid, strict=True)
    )
    return torch.einsum("yr,byx,xc->brc", rows, pixel_map, columns)


def labelled_regions(labelled: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """The regions in which a pixel is labelled: a mask (B, H, W) -> (B, h, w)."""
    return region_sums(labelled.float(), grid) > 0


@dataclass(frozen=True)
class LabelledRegions:
    """Weighs a micro-batch by the number of its `labelled_regions`: see `Mean`."""

    grid: tuple[int, int] | torch.Size

    def __call__(self, labelled: Tensor) -> Tensor:
        return labelled_regions(labelled, self.grid).sum()


def average_pool(features: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Adaptive average pooling: (B, C, H, W) -> (B, C, h, w).

    Deterministic on GPUs where h and w divide H and W.
    """
    strides = [own // wanted for own, wanted in zip(features.shape[-2:], size, strict=True)]
    if [wanted * stride for wanted, stride in zip(size, strides, strict=True)] != list(
        features.shape[-2:]
    ):
        return F.adaptive_avg_pool2d(features, (size[0], size[1]))
    return features if strides == [1, 1] else F.avg_pool2d(features, strides)


@in_full_precision
def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cosine similarity over channels at every position: (B, C, h, w) twice -> (B, h, w), in
    0..2.
    """
    if x.shape != y.shape:  # which broadcasting could hide
        raise ValueError(
            f"Features to compare must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    return 1 - F.cosine_similarity(x, y, dim=1)


def region_bsd(
    learner: Tensor, peer: Tensor, peer_teaches: Tensor, divided_by: Tensor | None = None
) -> Mean:
    """Region-wise BSD (Eq. 3): mean cosine distance over the regions in which the peer is the more
    reliable.

    Shapes: projected last features (B, C, h, w) twice, peer_teaches (B, h, w) bool. `divided_by`:
    the regions (B, h, w) by whose number the sum is divided, if not those that are taught.
    Gradient: learner only.
    """
    distance = cosine_distance(learner, peer.detach())
    return masked_mean(distance, peer_teaches, divided_by, LabelledRegions(distance.shape[-2:]))


@in_full_precision
def spread(features: Tensor) -> Tensor:
    """How much the directions of features differ between positions: 0 if all point the same way,
    near 1 if at random.

    1 minus the length of the mean unit vector, averaged over images: (B, C, h, w) -> scalar. Eq. 3
    trains both of its projections, and would be satisfied by a constant; a spread near 0 tells that
    this has happened.
    """
    return 1 - F.normalize(features.flatten(2), dim=1).mean(2).norm(dim=1).mean()
