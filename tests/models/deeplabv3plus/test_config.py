"""DeepLabV3+'s configuration: a field that cannot be built is refused with its mend."""

import pytest
import torch
from helpers.deeplabv3plus import build
from transformers import AutoConfig

from ctcl_hf.models import DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation


def test_config_comes_back_from_json_unchanged(tmp_path):
    config = DeepLabV3PlusConfig(
        encoder="resnet50",
        output_stride=16,
        classifier_dropout_prob=0,
        id2label={0: "sky", 1: "road", 2: "car"},
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is DeepLabV3PlusConfig
    assert loaded.to_dict() == config.to_dict() | {"_name_or_path": str(tmp_path)}
    assert (loaded.output_stride, loaded.classifier_dropout_prob, loaded.id2label[2]) == (
        16,
        0,
        "car",
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": 50}, "encoder must be the name of a timm model.*got 50"),
        ({"output_stride": 4}, "output_stride must be 8, 16 or 32, got 4.*Take 8"),
        ({"aspp_channels": 0}, "aspp_channels must be a whole number.*got 0"),
        ({"decoder_channels": 2.5}, "decoder_channels must be a whole number.*got 2.5"),
        ({"auxiliary_channels": "256"}, "auxiliary_channels must be a whole number.*got '256'"),
        ({"classifier_dropout_prob": 1}, r"classifier_dropout_prob must lie in \[0, 1\), got 1"),
        (
            {"auxiliary_loss_weight": -0.4},
            "must not be negative, got -0.4.*use_auxiliary_head=False",
        ),
        ({"num_labels": 1}, "num_labels must be at least 2, got 1.*background"),
        (
            {"num_labels": 300},
            r"semantic_loss_ignore_index 255 is one of the class ids 0..299.*-100",
        ),
    ],
)
def test_a_field_that_cannot_be_built_is_quoted_with_its_mend(fields, message):
    with pytest.raises(ValueError, match=message):
        DeepLabV3PlusConfig(**fields)


def test_a_field_set_after_construction_is_checked_when_the_model_is_built():
    config = DeepLabV3PlusConfig(aspp_channels=16)
    config.output_stride = 12
    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32, got 12"):
        DeepLabV3PlusForSemanticSegmentation(config)


@pytest.mark.parametrize(
    ("encoder", "fields", "message"),
    [
        ("resnet_50", {}, "got 'resnet_50'.*nearest names are resnet50"),
        ("hf-hub:timm/resnet50.a1_in1k", {}, "must be the name of a timm model"),
        ("resnet50.nosuchtag", {}, "Invalid pretrained tag"),
        ("maxvit_pico_rw_256", {"output_stride": 8}, "output stride 8.*set output_stride=32"),
        ("vit_tiny_patch16_224", {"output_stride": 32}, r"gives \[16, 16, 16, 16\].*hierarchical"),
        ("swin_tiny_patch4_window7_224", {"output_stride": 32}, "channels-last"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_by_name(encoder, fields, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(encoder, **fields)


def test_an_encoder_without_published_weights_is_refused_before_any_download():
    with pytest.raises(ValueError, match="no pretrained weights for 'mobilenetv2_035'"):
        DeepLabV3PlusForSemanticSegmentation.from_timm("mobilenetv2_035", aspp_channels=16)


def test_a_misspelt_field_is_refused_by_from_timm():
    with pytest.raises(TypeError, match="no field 'aspp_chanels'\\. Did you mean 'aspp_channels'"):
        DeepLabV3PlusForSemanticSegmentation.from_timm(
            "resnet18", pretrained=False, aspp_chanels=16
        )
