"""Channel-wise distillation (Shu et al., ICCV 2021)."""

import torch.nn.functional as F
from torch import Tensor

from .means import Mean, mean_of
from .precision import in_full_precision


@in_full_precision
def channel_distillation(learner: Tensor, peer: Tensor, temperature: float) -> Mean:
    """Mean over images and channels of T^2 KL in nats between where peer and learner see the
    channel.

    Each channel of the logits is a distribution over positions: softmax over (h, w) of logits / T;
    the divergence is KL(peer || learner). All positions count, unlabelled ones too, as in the
    paper. Shapes: (B, K, h, w) twice, the peer's resized to the learner's if they differ. Gradient:
    learner only.
    """
    peer = peer.detach()
    if peer.shape[-2:] != learner.shape[-2:]:
        peer = F.interpolate(peer, size=learner.shape[-2:], mode="bilinear", align_corners=False)
    log_learner, log_peer = (
        F.log_softmax(z.flatten(2) / temperature, dim=2) for z in (learner, peer)
    )
    return mean_of((log_peer.exp() * (log_peer - log_learner)).sum(2) * temperature**2)
