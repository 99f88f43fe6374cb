"""Channel-wise distillation (Shu et al., ICCV 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .means import Mean, mean_of
from .precision import in_full_precision


@in_full_precision
def channel_distillation(
    learner: Tensor, peer: Tensor, temperature: float, positions: Tensor | None = None
) -> Mean:
    """Mean over images and channels of T^2 KL in nats between where peer and learner see the
    channel.

    Each channel of the logits is a distribution over positions: softmax over (h, w) of logits / T;
    the divergence is KL(peer || learner). All positions count, unlabelled ones too, as in the
    paper; or those that `positions`, a mask (B, h, w), holds: an image without any adds 0 and
    counts. Shapes: (B, K, h, w) twice, the peer's resized to the learner's if they differ.
    Gradient: learner only.
    """
    peer = peer.detach()
    if peer.shape[-2:] != learner.shape[-2:]:
        peer = F.interpolate(peer, size=learner.shape[-2:], mode="bilinear", align_corners=False)
    scaled = [z.flatten(2) / temperature for z in (learner, peer)]
    if positions is not None:
        # Not -inf, of which an image without a position would make NaN.
        outside = ~positions.flatten(1).unsqueeze(1)
        scaled = [z.masked_fill(outside, torch.finfo(z.dtype).min) for z in scaled]
    log_learner, log_peer = (F.log_softmax(z, dim=2) for z in scaled)
    return mean_of((log_peer.exp() * (log_peer - log_learner)).sum(2) * temperature**2)
