"""Small models of families that are not ours."""

from transformers import DPTConfig


def small_dpt_config() -> DPTConfig:
    """Of a transformer that knows images of 32x32 alone, and three classes."""
    return DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        num_labels=3,
        use_auxiliary_head=False,
    )
