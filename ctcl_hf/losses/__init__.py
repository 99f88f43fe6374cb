"""The losses as pure functions of tensors. Directed losses read (learner, peer): only the learner
gets gradient.

`pixel_losses` is how CTCL takes cross entropy and pixel-wise BSD; `cross_entropy_map`, `kl_map` and
`pixel_bsd` say the same plainly on full-resolution logits: its reference in the tests, and building
blocks for methods of one's own.
"""

from .channel import channel_distillation
from .correlation import class_correlation, pearson, position_correlation
from .edges import edge_band, edge_distillation
from .ensemble import error_products, general_share, linear_share, minimum_target, naive_share
from .feature import feature_distillation, standardised
from .fused.strips import (
    PixelLosses,
    PixelTeaching,
    cross_entropy_loss,
    from_each_other,
    pixel_losses,
)
from .groups import ClassGroups, Distribution, Groups, groups_of, spread_over_classes
from .hetero import mixed_knowledge, projection_cross_entropy
from .hfd import as_constant, hfd
from .means import Mean, masked_mean, mean_of, mean_of_means, over_step
from .pixel import cross_entropy_map, kl_map, pixel_bsd, upsample
from .region import (
    LabelledRegions,
    average_pool,
    cosine_distance,
    labelled_regions,
    region_bsd,
    region_sums,
    spread,
    teaching_directions,
)
from .variation import intra_class_variation

__all__ = [
    "ClassGroups",
    "Distribution",
    "Groups",
    "LabelledRegions",
    "Mean",
    "PixelLosses",
    "PixelTeaching",
    "as_constant",
    "average_pool",
    "channel_distillation",
    "class_correlation",
    "cosine_distance",
    "cross_entropy_loss",
    "cross_entropy_map",
    "edge_band",
    "edge_distillation",
    "error_products",
    "feature_distillation",
    "from_each_other",
    "general_share",
    "groups_of",
    "hfd",
    "intra_class_variation",
    "kl_map",
    "labelled_regions",
    "linear_share",
    "masked_mean",
    "mean_of",
    "mean_of_means",
    "minimum_target",
    "mixed_knowledge",
    "naive_share",
    "over_step",
    "pearson",
    "pixel_bsd",
    "pixel_losses",
    "position_correlation",
    "projection_cross_entropy",
    "region_bsd",
    "region_sums",
    "spread",
    "spread_over_classes",
    "standardised",
    "teaching_directions",
    "upsample",
]
