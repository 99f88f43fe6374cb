"""DeepLabV3+ over timm encoders: its layout, and the features that it hands on."""

import pytest
import torch
from helpers.deeplabv3plus import build, images

from ctcl_hf.models import DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation


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
