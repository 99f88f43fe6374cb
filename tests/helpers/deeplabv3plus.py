"""DeepLabV3+ networks of seed 0, and what they are given."""

import torch

from ctcl_hf.models import DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation

IGNORE = 255


def build(encoder="mobilenetv2_100", **fields):
    """A network with a narrow ASPP, drawn with seed 0."""
    fields = {"aspp_channels": 16, "auxiliary_channels": 16, "num_labels": 5, **fields}
    torch.manual_seed(0)
    return DeepLabV3PlusForSemanticSegmentation(DeepLabV3PlusConfig(encoder=encoder, **fields))


def images(batch=2, size=64, dtype=torch.float32):
    return torch.randn(
        batch, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype
    )


def label_maps(batch=2, size=64, num_labels=5):
    labels = torch.randint(
        0, num_labels, (batch, size, size), generator=torch.Generator().manual_seed(2)
    )
    labels[:, : size // 4] = IGNORE
    return labels
