"""Small models of families that are not ours."""

from transformers import (
    BeitConfig,
    DPTConfig,
    EomtConfig,
    Mask2FormerConfig,
    MaskFormerConfig,
    SwinConfig,
)
from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig


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


def small_beit_config(**labels) -> BeitConfig:
    """Of a transformer with positions for images of 64x64, which it can stretch."""
    return BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        out_indices=[1, 2, 3, 4],
        pool_scales=[1, 2],
        use_auxiliary_head=False,
        use_relative_position_bias=True,
        **labels,
    )


def small_eomt_config(**labels) -> EomtConfig:
    """Of a universal model that knows images of 64x64 alone."""
    return EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_queries=5,
        num_blocks=1,
        num_upscale_blocks=1,
        num_register_tokens=1,
        **labels,
    )


def small_swin_config() -> SwinConfig:
    return SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def small_mask2former_config(**labels) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        backbone_config=small_swin_config(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=5,
        **labels,
    )


def small_maskformer_config(**labels) -> MaskFormerConfig:
    decoder = MaskFormerDetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
    )
    return MaskFormerConfig(
        backbone_config=small_swin_config(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        **labels,
    )
