"""DeepLabV3+ over timm encoders: layout, loss, weights on every way in and out, and its place on
the Hub.
"""

import importlib
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    SegformerImageProcessor,
    pipeline,
)

import ctcl_hf.models
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


# Layout


@pytest.mark.parametrize(
    ("encoder", "output_stride", "total", "auxiliary"),
    [
        ("mobilenetv2_100", 8, 15_345_244, 260_246),  # supplement, Table 2: 15.4 M
        # Table 2: 43.7 M. torchvision's stem, one 7x7 convolution
        ("resnet50", 16, 43_671_516, 2_398_358),
        # 43.69 M: mmsegmentation's own ResNetV1c, a stem of three 3x3
        ("resnet50c", 16, 43_690_748, 2_398_358),
    ],
)
def test_parameter_counts_are_those_of_the_papers_networks(
    encoder, output_stride, total, auxiliary
):
    with torch.device("meta"):
        config = DeepLabV3PlusConfig(encoder=encoder, output_stride=output_stride, num_labels=150)
        model = DeepLabV3PlusForSemanticSegmentation(config)
    assert sum(p.numel() for p in model.parameters()) == total
    assert sum(p.numel() for p in model.auxiliary_head.parameters()) == auxiliary


@pytest.mark.parametrize(
    ("encoder", "output_stride", "channels", "strides"),
    [
        ("mobilenetv2_100", 8, (24, 32, 96, 320), (4, 8, 8, 8)),
        ("resnet50", 16, (256, 512, 1024, 2048), (4, 8, 16, 16)),
        ("resnet18", 32, (64, 128, 256, 512), (4, 8, 16, 32)),
    ],
)
def test_hidden_states_are_the_encoders_four_features_at_their_strides(
    encoder, output_stride, channels, strides
):
    model = build(encoder, output_stride=output_stride).eval()
    with torch.no_grad():
        output = model(images(1, 128), output_hidden_states=True)
    assert [tuple(h.shape) for h in output.hidden_states] == [
        (1, c, 128 // s, 128 // s) for c, s in zip(channels, strides, strict=True)
    ]
    assert output.logits.shape == (1, 5, 32, 32)


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))]
)
def test_atrous_rates_follow_the_output_stride(output_stride, rates):
    aspp = build(output_stride=output_stride).decode_head.aspp
    separable = [branch.depthwise.conv for branch in aspp.branches[1:4]]
    assert [conv.dilation for conv in separable] == [(rate, rate) for rate in rates]
    assert all(conv.groups == conv.in_channels == 320 for conv in separable)


def test_aspp_is_closed_by_a_full_convolution_over_five_branches():
    fuse = build(aspp_channels=24).decode_head.aspp.fuse.conv
    assert (fuse.in_channels, fuse.out_channels, fuse.kernel_size, fuse.groups) == (
        5 * 24,
        24,
        (3, 3),
        1,
    )


def test_every_batchnorm_of_the_heads_follows_a_convolution_without_bias():
    model = build()
    heads = [*model.decode_head.named_modules(), *model.auxiliary_head.named_modules()]
    biased = [
        name
        for name, module in heads
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None
    ]
    assert biased == ["classifier", "classifier"]
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for _, module in heads)
    assert sum(
        isinstance(module, torch.nn.BatchNorm2d) for _, module in heads
    ) == convolutions - len(biased)


def test_image_pooling_gives_every_position_the_projected_mean_of_the_image():
    pooling = build().decode_head.aspp.branches[4].eval()
    feature = torch.randn(2, 320, 3, 5)
    pooled = pooling(feature)
    mean = feature.sum((2, 3)) / 15
    # a fresh norm's variance and eps
    projected = mean @ pooling.project.conv.weight.flatten(1).T / (1 + 1e-5) ** 0.5
    expected = projected.relu()
    torch.testing.assert_close(pooled, expected[:, :, None, None].expand(2, 16, 3, 5))


def test_the_decoder_reads_the_bilinearly_upsampled_context_beside_the_projected_low_feature():
    head, seen = build().decode_head.eval(), []
    head.aspp = torch.nn.Identity()
    head.refine.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    ramp = torch.arange(4.0).expand(1, 16, 4, 4)  # rises by 1 per column
    low = torch.randn(1, 24, 8, 8)
    head(low, ramp)
    context, projected = seen[0].split([16, 48], dim=1)
    columns = ((torch.arange(8) + 0.5) / 2 - 0.5).clamp(0, 3)  # pixel centres, align_corners=False
    torch.testing.assert_close(context, columns.expand(1, 16, 8, 8))
    assert torch.equal(projected, head.project_low(low))


def test_decoder_channels_default_to_the_width_of_aspp():
    assert build(aspp_channels=24).decode_head.classifier.in_channels == 24
    assert build(aspp_channels=24, decoder_channels=40).decode_head.classifier.in_channels == 40


def test_images_whose_sides_are_no_multiple_of_the_stride_are_segmented():
    with torch.no_grad():
        assert build().eval()(torch.randn(1, 3, 90, 70)).logits.shape == (1, 5, 23, 18)


def test_an_image_gives_the_same_logits_alone_as_in_a_batch():
    # transformers' own test of this compares in float32, where its tolerance is below the rounding
    # of 60 layers.
    model, x = build().double().eval(), images(3, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.cat([model(image[None]).logits for image in x])
        torch.testing.assert_close(model(x).logits, alone, rtol=1e-9, atol=1e-11)


def test_channels_last_input_gives_equal_logits():
    model = build().double().eval()
    x = images(dtype=torch.float64)
    with torch.no_grad():
        expected = model(x).logits
        got = model.to(memory_format=torch.channels_last)(
            x.to(memory_format=torch.channels_last)
        ).logits
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


# Loss


def mean_cross_entropy(logits, labels):
    """-log softmax at the true class, averaged over labelled pixels, in float64."""
    logits = torch.nn.functional.interpolate(
        logits.double(), size=labels.shape[1:], mode="bilinear"
    )
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    per_pixel = -log_p.gather(1, labels.where(labels != IGNORE, 0)[:, None])[:, 0]
    return per_pixel[labels != IGNORE].mean()


def test_evaluation_loss_is_the_mean_cross_entropy_of_labelled_pixels():
    model, labels = build().eval(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits is None
    torch.testing.assert_close(
        output.loss.double(), mean_cross_entropy(output.logits, labels), rtol=1e-5, atol=0
    )


def test_training_loss_adds_the_weighted_auxiliary_cross_entropy():
    model, labels = build(auxiliary_loss_weight=0.3).train(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits.shape == (2, 5, 8, 8)
    auxiliary = mean_cross_entropy(output.auxiliary_logits, labels)
    assert auxiliary > 0.1
    expected = mean_cross_entropy(output.logits, labels) + 0.3 * auxiliary
    torch.testing.assert_close(output.loss.double(), expected, rtol=1e-5, atol=0)


def test_training_without_the_auxiliary_head_has_one_cross_entropy():
    model, labels = build(use_auxiliary_head=False).train(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits is None
    torch.testing.assert_close(
        output.loss.double(), mean_cross_entropy(output.logits, labels), rtol=1e-5, atol=0
    )


def test_labels_of_every_integer_type_give_one_loss():
    model, labels = build().eval(), label_maps()
    losses = {
        model(images(), labels=labels.to(dtype)).loss.item()
        for dtype in (torch.uint8, torch.int32, torch.int64)
    }
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"pixel_values": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)},
            r"normalised images of floats, got torch\.uint8",
        ),
        (
            {"labels": torch.zeros(2, 1, 64, 64, dtype=torch.long)},
            r"shape \(2, height, width\), got torch\.int64 of \(2, 1,",
        ),
        ({"labels": torch.zeros(1, 64, 64, dtype=torch.long)}, r"of \(1, 64, 64\)"),
        ({"labels": torch.zeros(2, 64, 64)}, r"got torch\.float32"),
        (
            {"labels": torch.full((2, 64, 64), 5)},
            rf"0\.\.4 or {IGNORE}, which is left out, got \[5\]",
        ),
        ({"labels": torch.full((2, 64, 64), -1)}, r"got \[-1\]"),
    ],
)
def test_inputs_that_cannot_be_learnt_from_are_told_in_a_sentence(inputs, message):
    """Each failed within a convolution or the cross entropy; on a GPU, foreign ids end the
    process.
    """
    with pytest.raises(ValueError, match=message):
        build().eval()(**{"pixel_values": images(), "labels": label_maps()} | inputs)


def test_a_batch_without_labelled_pixels_gives_zero_loss_and_zero_gradients():
    # F.cross_entropy's own mean is NaN here.
    model = build().train()
    loss = model(images(), labels=torch.full((2, 64, 64), IGNORE)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(
        parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters()
    )


def test_one_training_step_reaches_every_parameter():
    # Otherwise DistributedDataParallel hangs with ddp_find_unused_parameters=False.
    model = build().train()
    model(images(), labels=label_maps()).loss.backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_return_dict_false_gives_the_tuple_without_empty_fields():
    model, x = build().eval(), images()
    with torch.no_grad():
        output = model(x, labels=label_maps(), output_hidden_states=True)
        loss, logits, hidden_states = model(
            x, labels=label_maps(), output_hidden_states=True, return_dict=False
        )
    assert (
        torch.equal(loss, output.loss)
        and torch.equal(logits, output.logits)
        and len(hidden_states) == 4
    )
    assert len(model(x, return_dict=False)) == 1


def test_one_image_in_training_mode_is_refused_with_the_mend():
    model = build().train()
    with pytest.raises(ValueError, match=r"held 1 image.*dataloader_drop_last=True"):
        model(images(1))
    model.eval()
    assert model(images(1)).logits.shape == (1, 5, 16, 16)


def test_one_image_trains_when_the_pooling_norm_is_frozen():
    model = build().train()
    model.decode_head.aspp.branches[4].eval()
    model(images(1), labels=label_maps(1)).loss.backward()


# Second stage


@pytest.mark.parametrize(
    ("encoder", "output_stride", "size"),
    [
        ("mobilenetv2_100", 8, 64),
        ("resnet18", 16, 64),
        ("resnet50", 16, 64),
        ("regnety_002", 8, 64),
        ("convnext_atto", 16, 64),
        ("maxvit_pico_rw_256", 32, 256),  # its windows fit multiples of 256 only
    ],
)
def test_second_stage_maps_the_stride_4_feature_to_the_stride_8_feature(
    encoder, output_stride, size
):
    model = build(encoder, output_stride=output_stride).eval()
    with torch.no_grad():
        low, second, *_ = model(images(1, size), output_hidden_states=True).hidden_states
        assert torch.equal(model.second_stage(low), second)
    assert (size // low.shape[-1], size // second.shape[-1]) == (4, 8)


def test_second_stage_is_the_encoders_own_module():
    mobilenet, resnet = build("mobilenetv2_100"), build("resnet18")
    assert mobilenet.second_stage is mobilenet.encoder.blocks[2]
    assert resnet.second_stage is resnet.encoder["layer2"]


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ("repghostnet_050", "'blocks.1' to its stride-8 feature 'blocks.3': blocks_2 lies between"),
        ("hrnet_w18_small", "not steps of one sequence"),
        # once ended in "no attribute 'second_stage'"
        ("efficientformer_l1", "not steps of one sequence"),
    ],
)
def test_an_encoder_without_a_single_second_stage_is_told_what_is_missing(encoder, reason):
    with pytest.raises(ValueError, match=f"{encoder}.*{reason}"):
        build(encoder, output_stride=32).second_stage  # noqa: B018


# Weights


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


# Configuration and its errors


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


# Hub and pipeline


def test_importing_the_package_again_registers_again_without_failing():
    importlib.reload(ctcl_hf.models)
    assert type(AutoConfig.for_model("deeplabv3plus")) is DeepLabV3PlusConfig


@pytest.fixture
def saved_student(tmp_path):
    model = build(
        id2label={0: "sky", 1: "road", 2: "car"},
        label2id={"sky": 0, "road": 1, "car": 2},
        num_labels=3,
    )
    model.save_pretrained(tmp_path)
    SegformerImageProcessor(
        size={"height": 64, "width": 64}, do_reduce_labels=False
    ).save_pretrained(tmp_path)
    return tmp_path


def test_the_segmentation_pipeline_runs_and_logs_nothing_about_support(saved_student):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    try:
        segments = pipeline("image-segmentation", model=str(saved_student))(
            Image.new("RGB", (50, 40), "blue")
        )
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []
    assert {segment["label"] for segment in segments} <= {"sky", "road", "car"}
    assert sum(np.array(segment["mask"]) // 255 for segment in segments).tolist() == [[1] * 50] * 40


def test_the_two_files_work_as_remote_code_without_this_package(monkeypatch, saved_student):
    for cls, auto_class in (
        (DeepLabV3PlusConfig, "AutoConfig"),
        (DeepLabV3PlusForSemanticSegmentation, "AutoModelForSemanticSegmentation"),
    ):
        # so that the registration ends with this test
        monkeypatch.setattr(cls, "_auto_class", None)
        cls.register_for_auto_class(auto_class)
    model = DeepLabV3PlusForSemanticSegmentation.from_pretrained(saved_student)
    model.save_pretrained(saved_student)
    with torch.no_grad():
        expected = model(torch.ones(1, 3, 64, 64)).logits
    torch.save(expected, saved_student / "expected.pt")
    script = """
import sys, torch
from transformers import pipeline
segmenter = pipeline("image-segmentation", model=".", trust_remote_code=True)
with torch.no_grad():
    logits = segmenter.model(torch.ones(1, 3, 64, 64)).logits
torch.testing.assert_close(logits, torch.load("expected.pt"))
assert "ctcl_hf" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(saved_student / "home"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=saved_student,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "not supported" not in run.stderr
