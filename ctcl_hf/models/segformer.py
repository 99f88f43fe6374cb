"""SegFormer's decode head (Xie et al., 2021), computed in a cheaper order.

transformers, like the original, projects each of the four features to D channels, upsamples them to
stride 4, and fuses the 4 D channels there by a 1x1 convolution. Nothing nonlinear lies between, and
upsampling mixes positions alike in all channels, so the two projections of a feature may be
multiplied first and applied at the feature's own stride: the same function of the same weights,
without the 4 D channels at stride 4, its largest tensor and most of its arithmetic.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead


def decode(head: SegformerDecodeHead, features: Sequence[Tensor]) -> Tensor:
    """What `head(features)` returns, to rounding: four features (B, C_i, h_i, w_i) -> logits (B, K,
    h, w).

    The logits have the first feature's size. BatchNorm's statistics and dropout's mask are updated
    and drawn alike.
    """
    fused = None
    # The convolution reads the stages from the last to the first.
    blocks = reversed(head.linear_fuse.weight.flatten(1).chunk(len(features), dim=1))  # (D, D) each
    for feature, projection, block in zip(features, head.linear_projections, blocks, strict=True):
        # half precision would round the product once more
        with torch.autocast(feature.device.type, enabled=False):
            weight, bias = block @ projection.proj.weight, block @ projection.proj.bias
        # A linear layer on the last dimension leaves the result in channels-last, in which
        # upsampling is the fastest.
        own = F.linear(feature.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
        if fused is None:
            fused = own
        else:
            fused = fused + F.interpolate(
                own, size=fused.shape[2:], mode="bilinear", align_corners=False
            )
    return head.classifier(head.dropout(head.activation(head.batch_norm(fused))))
