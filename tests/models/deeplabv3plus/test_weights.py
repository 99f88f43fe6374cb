"""DeepLabV3+'s weights on every way in and out."""

import pytest
import timm
import torch
from helpers.deeplabv3plus import build, images, label_maps
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSemanticSegmentation

from ctcl_hf.models import DeepLabV3PlusForSemanticSegmentation


def randomize(module):
    """Move every weight and statistic away from any initialiser's values."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand(tensor.shape, generator=generator) + 0.5 * name.endswith("running_var")
            )
    return module


def differing(state_a, state_b):
    """Names of the tensors that are not equal bit for bit; KeyError when one is missing."""
    assert state_a.keys() == state_b.keys()
    return [name for name, tensor in state_a.items() if not torch.equal(tensor, state_b[name])]


def test_an_encoder_from_scratch_keeps_timms_own_initialisation():
    # post_init() once redrew every convolution and BatchNorm of the encoder, silently.
    model = build("regnety_002")
    torch.manual_seed(0)
    encoder = timm.create_model(
        "regnety_002", features_only=True, out_indices=(-4, -3, -2, -1), output_stride=8
    )
    assert differing(model.encoder.state_dict(), encoder.state_dict()) == []


def test_encoder_weights_that_a_checkpoint_lacks_are_drawn_as_timm_draws_them(tmp_path):
    """They were drawn as the heads are: depthwise convolutions a fifth as wide."""
    model = build("mobilenetv2_100")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lacking = [f"encoder.blocks.{i}.0.conv_dw.weight" for i in range(1, 5)] + ["encoder.bn1.weight"]
    save_file(
        {name: w for name, w in weights.items() if name not in lacking},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    loaded = type(model).from_pretrained(tmp_path).state_dict()
    drawn = torch.cat([loaded[name].flatten() for name in lacking[:4]])
    assert drawn.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)  # fan out of one group
    assert loaded["encoder.bn1.weight"].eq(1).all()
    assert [
        name
        for name in weights
        if name not in lacking and not torch.equal(loaded[name], weights[name])
    ] == []


def test_heads_are_drawn_as_in_mmsegmentation():
    model = build(aspp_channels=64)
    weight = model.decode_head.aspp.fuse.conv.weight
    # Kaiming normal over the fan out
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    classifier = model.decode_head.classifier
    assert (
        classifier.weight.std().item() == pytest.approx(0.01, rel=0.1) and not classifier.bias.any()
    )


@pytest.fixture
def imagenet_weights(monkeypatch, tmp_path):
    """Stand in for the download: timm reads the pretrained resnet18 from a local file of
    recognisable weights.
    """
    published = randomize(timm.create_model("resnet18")).state_dict()
    torch.save(published, tmp_path / "resnet18.pth")
    create_model = timm.create_model

    def create_from_file(name, pretrained=False, **kwargs):
        overlay = {"file": str(tmp_path / "resnet18.pth")} if pretrained else None
        return create_model(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **kwargs)

    monkeypatch.setattr(timm, "create_model", create_from_file)
    return {name: tensor for name, tensor in published.items() if not name.startswith("fc.")}


def test_from_timm_and_a_saved_folder_keep_the_imagenet_weights_bit_for_bit(
    imagenet_weights, tmp_path
):
    model = DeepLabV3PlusForSemanticSegmentation.from_timm(
        "resnet18", aspp_channels=16, num_labels=5
    )
    assert model.config.encoder == "resnet18" and model.config.num_labels == 5
    assert differing(model.encoder.state_dict(), imagenet_weights) == []
    model.save_pretrained(tmp_path / "saved")
    loaded = DeepLabV3PlusForSemanticSegmentation.from_pretrained(tmp_path / "saved")
    assert differing(loaded.encoder.state_dict(), imagenet_weights) == []


def test_only_from_timm_with_pretrained_asks_timm_for_weights(monkeypatch, tmp_path):
    asked = []
    create_model = timm.create_model

    def record(name, pretrained=False, **kwargs):
        asked.append(pretrained)
        return create_model(name, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", record)
    model = DeepLabV3PlusForSemanticSegmentation.from_timm(
        "resnet18", pretrained=False, aspp_channels=16
    )
    model.save_pretrained(tmp_path)
    DeepLabV3PlusForSemanticSegmentation.from_pretrained(tmp_path)
    assert asked == [False, False]
    DeepLabV3PlusForSemanticSegmentation.from_timm("resnet18", aspp_channels=16)
    assert asked == [False, False, False, True]


def test_a_failed_download_names_both_ways_on(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"'resnet18'.*from_pretrained\(folder\).*pretrained=False"):
        DeepLabV3PlusForSemanticSegmentation.from_timm("resnet18", aspp_channels=16)


@pytest.mark.parametrize(
    ("encoder", "output_stride"),
    [("mobilenetv2_100", 8), ("convnext_atto", 16), ("maxvit_pico_rw_256", 32)],
)
def test_a_saved_folder_comes_back_bit_for_bit_through_auto_model(encoder, output_stride, tmp_path):
    # MaxViT also has index tables that no checkpoint holds, which from_pretrained once left as
    # garbage.
    model = randomize(build(encoder, output_stride=output_stride))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert type(loaded) is DeepLabV3PlusForSemanticSegmentation and not loaded.training
    assert differing(model.state_dict(), loaded.state_dict()) == []
    assert differing(dict(model.named_buffers()), dict(loaded.named_buffers())) == []


def test_bfloat16_weights_load_and_give_a_finite_float32_loss(tmp_path):
    build().save_pretrained(tmp_path)
    model = DeepLabV3PlusForSemanticSegmentation.from_pretrained(
        tmp_path, dtype=torch.bfloat16
    ).train()
    output = model(images().bfloat16(), labels=label_maps())
    output.loss.backward()
    assert output.logits.dtype == torch.bfloat16 and output.loss.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_gradient_checkpointing_is_refused_rather_than_ignored():
    model = build()
    assert not model.supports_gradient_checkpointing
    with pytest.raises(ValueError, match="does not support"):
        model.gradient_checkpointing_enable()
