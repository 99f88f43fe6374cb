"""Losses on the logits: cross entropy (Eq. 1), and pixel-wise bidirectional selective distillation
(Eq. 4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.choices import KLDirection
from .means import Mean, masked_mean
from .precision import in_full_precision


@in_full_precision
def upsample(logits: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Logits (B, K, h, w) at the labels' size (B, K, H, W), bilinear with half-pixel centres, in
    float32.
    """
    if logits.shape[-2:] == torch.Size(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


@in_full_precision
def cross_entropy_map(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Cross entropy in nats of every pixel, 0 where the label is `ignore_index`.

    Shapes: logits (B, K, H, W), labels (B, H, W) -> (B, H, W).
    """
    # Not F.cross_entropy, which has no deterministic backward on GPUs.
    labelled = labels != ignore_index
    target = torch.where(labelled, labels, 0).unsqueeze(1)
    return torch.where(labelled, -F.log_softmax(logits, dim=1).gather(1, target).squeeze(1), 0)


@in_full_precision
def kl_map(
    learner_logits: Tensor, peer_logits: Tensor, direction: KLDirection, temperature: float = 1.0
) -> Tensor:
    """T^2 KL in nats between the students' class distributions at every pixel.

    `reverse` is KL(learner || peer), as Eq. 4 is printed; `forward` is KL(peer || learner), as in
    Hinton's distillation and in deep mutual learning. Shapes: (B, K, H, W) twice -> (B, H, W).
    Gradient: learner_logits only.
    """
    log_learner = F.log_softmax(learner_logits / temperature, dim=1)
    log_peer = F.log_softmax(peer_logits.detach() / temperature, dim=1)
    if direction == "reverse":
        divergence = (log_learner.exp() * (log_learner - log_peer)).sum(1)
    else:
        divergence = (log_peer.exp() * (log_peer - log_learner)).sum(1)
    return divergence * temperature**2


def pixel_bsd(
    learner_logits: Tensor,
    peer_logits: Tensor,
    peer_teaches: Tensor,
    direction: KLDirection = "forward",
    temperature: float = 1.0,
) -> Mean:
    """Pixel-wise BSD (Eq. 4): mean of `kl_map` over the pixels at which the peer is the more
    reliable.

    Shapes: logits (B, K, H, W) at the labels' size, peer_teaches (B, H, W) bool -> mean of a
        scalar.
    Gradient: learner_logits only.
    """
    return masked_mean(kl_map(learner_logits, peer_logits, direction, temperature), peer_teaches)
