"""Edges and bodies of objects, as BPKD (Liu et al., WACV 2024) tells them apart by the labels."""

import torch.nn.functional as F
from torch import Tensor

from .channel import channel_distillation
from .means import Mean, masked_mean
from .pixel import kl_map, upsample
from .precision import in_full_precision
from .variation import LabelledCentres, nearest_labels


def edge_band(labels: Tensor, width: int) -> Tensor:
    """Where the square of `width` pixels around a pixel holds more than one label: the union over
    classes of their masks dilated minus their masks eroded by that square.

    The ignore index is a label like others: objects' contours are often left out of the labels.
    Beyond the image there is nothing. Shapes: labels (B, H, W), width odd -> bool (B, H, W).
    """
    ids = labels.unsqueeze(1).float()
    largest = F.max_pool2d(ids, width, stride=1, padding=width // 2)
    smallest = -F.max_pool2d(-ids, width, stride=1, padding=width // 2)
    return (largest != smallest).squeeze(1)


@in_full_precision
def edge_distillation(
    learner: Tensor,
    peer: Tensor,
    labels: Tensor,
    width: int,
    temperature: float,
    ignore_index: int,
) -> tuple[Mean, Mean]:
    """What BPKD teaches at edges, and within bodies.

    Edges: sum over the labelled positions of the edge band of T^2 KL(peer || learner) between class
    distributions, divided by the number of all labelled positions. Bodies: `channel_distillation`
    over the labelled positions outside the band alone, divided by images and channels; an image
    without any adds 0.

    On the learner's grid: there the peer's logits are resized to, and the band, taken at the
    labels' size, and the labels are read at the nearest centres. Shapes: logits (B, K, h, w) and
    (B, K, h', w'), labels (B, H, W). Gradient: learner only.
    """
    grid = learner.shape[-2:]
    peer = upsample(peer.detach(), grid)
    labelled = nearest_labels(labels, grid) != ignore_index
    edges = nearest_labels(edge_band(labels, width), grid) & labelled
    divergence = kl_map(learner, peer, "forward", temperature)
    return (
        masked_mean(divergence, edges, labelled, LabelledCentres(grid)),
        channel_distillation(learner, peer, temperature, labelled & ~edges),
    )
