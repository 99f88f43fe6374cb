"""DeepLabV3+ (Chen et al., 2018) over any timm encoder, as a transformers model.

The layout is mmsegmentation's, the one design whose parameter count agrees with Table 2 of CTCL's
supplement: a depthwise-separable ASPP closed by a full 3x3 convolution, a 48-channel projection of
the stride-4 feature, two separable decoder convolutions, and an auxiliary FCN head that works in
training mode only.

This file travels to the Hub beside the weights: it imports torch, timm, transformers and its own
configuration only.
"""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureListNet
from timm.models.maxxvit import (
    ParallelPartitionAttention,
    PartitionAttention2d,
    PartitionAttentionCl,
)
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
from transformers.utils import ModelOutput

from .configuration_deeplabv3plus import DeepLabV3PlusConfig

# Without this entry pipeline("image-segmentation") works but logs that the model is not supported.
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.setdefault(
    "deeplabv3plus", "DeepLabV3PlusForSemanticSegmentation"
)

# Dilations of ASPP's three 3x3 branches by output stride: the same reach in pixels at each (Chen et
# al., 2018).
ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


@dataclass
class DeepLabV3PlusOutput(ModelOutput):
    """What one forward pass returns; B images of H x W pixels, K classes.

    Args:
        loss: scalar, in nats per labelled pixel. With labels only.
        logits: (B, K, H/4, W/4).
        auxiliary_logits: (B, K, h, w) at the stride of the last but one feature. In training mode
            only.
        hidden_states: the encoder's four features, (B, C_i, H/s_i, W/s_i), s_i = 4, 8, 16, 32 but
            never more than the output stride. With `output_hidden_states` only.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    auxiliary_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class DeepLabV3PlusConvLayer(nn.Module):
    """Convolution of odd kernel that keeps the size, BatchNorm, ReLU.

    (B, C_in, h, w) -> (B, C_out, h, w).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class DeepLabV3PlusSeparableConvLayer(nn.Sequential):
    """Depthwise 3x3 then pointwise 1x1, each with its BatchNorm and ReLU.

    (B, C_in, h, w) -> (B, C_out, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1):
        super().__init__()
        self.depthwise = DeepLabV3PlusConvLayer(
            in_channels, in_channels, 3, dilation=dilation, groups=in_channels
        )
        self.pointwise = DeepLabV3PlusConvLayer(in_channels, out_channels)


class DeepLabV3PlusImagePooling(nn.Module):
    """The mean over the image, projected and given to every position.

    (B, C_in, h, w) -> (B, C_out, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.project = DeepLabV3PlusConvLayer(in_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.project.norm
        # One value per channel has no variance. A SyncBatchNorm (not a BatchNorm2d) sees the other
        # processes' images. The size is asked last, and not by len(): an exported graph would hold
        # for the traced batch alone.
        if norm.training and isinstance(norm, nn.BatchNorm2d) and x.shape[0] == 1:
            raise ValueError(
                "A training batch held 1 image, and the BatchNorm after DeepLabV3+'s image pooling "
                "needs 2. Give each process 2 or more images per batch (dataloader_drop_last=True "
                "for a short last one), or use eval mode."
            )
        pooled = self.project(x.mean((2, 3), keepdim=True))  # (B, C_out, 1, 1)
        return pooled.expand(-1, -1, *x.shape[2:])


class DeepLabV3PlusASPP(nn.Module):
    """Atrous spatial pyramid pooling: five views of one feature, fused.

    (B, C_in, h, w) -> (B, C, h, w).
    """

    def __init__(self, in_channels: int, channels: int, rates: tuple[int, int, int]):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                DeepLabV3PlusConvLayer(in_channels, channels),
                *(
                    DeepLabV3PlusSeparableConvLayer(in_channels, channels, dilation=rate)
                    for rate in rates
                ),
                DeepLabV3PlusImagePooling(in_channels, channels),
            ]
        )
        # A full convolution, not a separable one: with 512 channels it alone holds 11.8 M of the
        # parameters.
        self.fuse = DeepLabV3PlusConvLayer(len(self.branches) * channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fuse(torch.cat([branch(x) for branch in self.branches], dim=1))


class DeepLabV3PlusDecodeHead(nn.Module):
    """ASPP on the last feature, refined with the stride-4 feature. -> logits (B, K, H/4, W/4)."""

    def __init__(self, config: DeepLabV3PlusConfig, low_channels: int, last_channels: int):
        super().__init__()
        channels = config.decoder_channels or config.aspp_channels
        self.aspp = DeepLabV3PlusASPP(
            last_channels, config.aspp_channels, ATROUS_RATES[config.output_stride]
        )
        self.project_low = DeepLabV3PlusConvLayer(low_channels, config.low_level_channels)
        self.refine = nn.Sequential(
            DeepLabV3PlusSeparableConvLayer(
                config.aspp_channels + config.low_level_channels, channels
            ),
            DeepLabV3PlusSeparableConvLayer(channels, channels),
        )
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(channels, config.num_labels, 1)

    def forward(self, low: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        context = F.interpolate(
            self.aspp(last), size=low.shape[2:], mode="bilinear", align_corners=False
        )
        x = self.refine(torch.cat([context, self.project_low(low)], dim=1))
        return self.classifier(self.dropout(x))


class DeepLabV3PlusAuxiliaryHead(nn.Module):
    """One 3x3 convolution and a classifier (FCN), to train the last but one stage directly.

    -> (B, K, h, w).
    """

    def __init__(self, config: DeepLabV3PlusConfig, in_channels: int):
        super().__init__()
        self.conv = DeepLabV3PlusConvLayer(in_channels, config.auxiliary_channels, 3)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = nn.Conv2d(config.auxiliary_channels, config.num_labels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.conv(x)))


def create_encoder(
    config: DeepLabV3PlusConfig,
    pretrained: bool = False,
    weights: dict[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Build the timm encoder, which returns its features at the nominal strides 4, 8, 16, 32, kept
    to output_stride.

    With `pretrained` its weights are ImageNet's: `weights`, those of the whole classification
    network under timm's names, or if there are none timm's own, which are downloaded.
    """
    if not timm.is_model(config.encoder):
        nearest = difflib.get_close_matches(config.encoder, timm.list_models(), n=3)
        hint = (
            f"The nearest names are {', '.join(nearest)}."
            if nearest
            else "timm.list_models() lists the names."
        )
        raise ValueError(
            f"encoder must be the name of a timm model, got {config.encoder!r}. {hint}"
        )
    # Encoders that cannot dilate do not know the argument, and 32 is every encoder's own stride.
    stride = {} if config.output_stride == 32 else {"output_stride": config.output_stride}
    build = {
        "features_only": True,
        "out_indices": (-4, -3, -2, -1),
        "in_chans": config.num_channels,
        **stride,
    }
    if pretrained:
        overlay = {} if weights is None else {"pretrained_cfg_overlay": {"state_dict": weights}}
        return timm.create_model(config.encoder, pretrained=True, **overlay, **build)
    try:
        encoder = timm.create_model(config.encoder, pretrained=False, **build)
    except (TypeError, IndexError, AssertionError, RuntimeError) as error:
        # timm has no one way to decline
        raise ValueError(
            f"timm cannot build {config.encoder!r} with four features at output stride "
            f"{config.output_stride} ({error!r}). If the encoder cannot dilate, set "
            "output_stride=32."
        ) from error
    strides = encoder.feature_info.reduction()
    expected = [min(stride, config.output_stride) for stride in (4, 8, 16, 32)]
    if strides != expected:
        raise ValueError(
            f"DeepLabV3+ at output stride {config.output_stride} needs features at strides "
            f"{expected}, but {config.encoder!r} gives {strides}. Choose a hierarchical encoder "
            "such as resnet50 or mobilenetv2_100."
        )
    # EfficientNet's extractor, always NCHW, has no such field
    if getattr(encoder, "output_fmt", "NCHW") != "NCHW":
        raise ValueError(
            f"{config.encoder!r} returns its features channels-last ({encoder.output_fmt}), which "
            "DeepLabV3+ does not read. Choose an encoder with NCHW features such as resnet50 or "
            "convnext_tiny."
        )
    return encoder


def window_multiple(encoder: nn.Module) -> int:
    """What both sides of an image must be multiples of for the encoder's attention windows to fit;
    1 without any.
    """
    kinds = (ParallelPartitionAttention, PartitionAttention2d, PartitionAttentionCl)
    windows = {
        side
        for module in encoder.modules()
        if isinstance(module, kinds)
        for side in module.partition_size
    }
    return 32 * math.lcm(*windows) if windows else 1


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros at the bottom and at the right, to sides that are multiples: (B, C, H, W) -> (B, C, H',
    W').
    """
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


class DeepLabV3PlusPreTrainedModel(PreTrainedModel):
    """Weight initialisation and loading of DeepLabV3+."""

    config: DeepLabV3PlusConfig
    base_model_prefix = "deeplabv3plus"
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def _init_weights(self, module: nn.Module):
        """Draw the heads as mmsegmentation does.

        torch's functions: transformers guards the weights already loaded.
        """
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Conv2d):  # in the heads only the two classifiers have a bias
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif hasattr(module, "init_non_persistent_buffers"):
            # timm's own: index tables that no checkpoint holds
            module.init_non_persistent_buffers()
        else:
            super()._init_weights(module)


class DeepLabV3PlusForSemanticSegmentation(DeepLabV3PlusPreTrainedModel):
    """DeepLabV3+ with a timm encoder; logits leave at stride 4.

    From scratch: `DeepLabV3PlusForSemanticSegmentation(config)`. With ImageNet's encoder:
    `from_timm`. A whole trained
    network: `from_pretrained`.
    """

    # whatever saves it saves its code along, as its configuration's
    _auto_class = "AutoModelForSemanticSegmentation"

    def __init__(self, config: DeepLabV3PlusConfig):
        super().__init__(config)
        config.validate_architecture()
        self.encoder = create_encoder(config)
        self.size_multiple = window_multiple(self.encoder)
        low_channels, _, auxiliary_channels, last_channels = self.encoder.feature_info.channels()
        self.decode_head = DeepLabV3PlusDecodeHead(config, low_channels, last_channels)
        self.auxiliary_head = None
        if config.use_auxiliary_head:
            self.auxiliary_head = DeepLabV3PlusAuxiliaryHead(config, auxiliary_channels)
        # Each adds or concatenates features inside, so device_map must not cut through one.
        self._no_split_modules = [type(m).__name__ for m in self.children()]
        # post_init() would redraw the encoder, which timm has drawn already; a meta tensor is drawn
        # by nobody yet.
        if not any(parameter.is_meta for parameter in self.encoder.parameters()):
            for module in self.encoder.modules():
                module._is_hf_initialized = True
        self.post_init()

    def initialize_weights(self):
        """Draw what no checkpoint gave: in the encoder as timm draws it, in the heads by
        `_init_weights`.
        """
        missing = {
            name: tensor
            for prefix, module in self.encoder.named_modules()
            if not getattr(module, "_is_hf_initialized", False)
            for name, tensor in [
                *module.named_parameters(prefix, False),
                *module.named_buffers(prefix, False),
            ]
            if not getattr(tensor, "_is_hf_initialized", False) and not tensor.is_meta
        }
        if missing.keys() & self.encoder.state_dict().keys():
            for name, drawn in create_encoder(self.config).state_dict().items():
                if name in missing:
                    missing[name].data.copy_(drawn)
                    missing[name]._is_hf_initialized = True
        super().initialize_weights()

    @classmethod
    def from_timm(
        cls,
        encoder: str,
        pretrained: bool = True,
        weights: dict[str, torch.Tensor] | None = None,
        **config_kwargs: Any,
    ) -> "DeepLabV3PlusForSemanticSegmentation":
        """Build a network whose encoder holds timm's ImageNet weights (downloaded once); the heads
        are drawn.

        Args:
            encoder: name of a timm model, optionally with the tag of its weights
                (`resnet50.a1_in1k`).
            pretrained: False draws the encoder too, and needs no network.
            weights: of the classification network, under timm's names, in place of those that would
                be downloaded.
            config_kwargs: further fields of [`DeepLabV3PlusConfig`], such as `num_labels` or
                `output_stride`.
        """
        known = {field.name for field in fields(DeepLabV3PlusConfig)} | {"num_labels"}
        if unknown := sorted(config_kwargs.keys() - known):
            nearest = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"DeepLabV3PlusConfig has no field {unknown[0]!r}.{hint}")
        model = cls(DeepLabV3PlusConfig(encoder=encoder, **config_kwargs))
        if not pretrained:
            return model
        if weights is None and not timm.is_model_pretrained(encoder):
            raise ValueError(
                f"timm has no pretrained weights for {encoder!r}. Pass pretrained=False to train "
                "from scratch, or take one of the names in timm.list_pretrained()."
            )
        try:
            encoder_state = create_encoder(
                model.config, pretrained=True, weights=weights
            ).state_dict()
        except OSError as error:
            raise OSError(
                f"The ImageNet weights of {encoder!r} could not be downloaded ({error}). Two ways "
                "on: a local folder, written where there is a network by "
                "from_timm(...).save_pretrained(folder) and read here by from_pretrained(folder); "
                "or from scratch, by from_timm(..., pretrained=False)."
            ) from error
        model.encoder.load_state_dict(encoder_state)
        return model

    @property
    def second_stage(self) -> nn.Module:
        """The encoder's module from the stride-4 feature (B, C_1, h, w) to the stride-8 feature (B,
        C_2, h/2, w/2).

        It is the live module, weights and BatchNorm statistics included, found by the names in
        timm's feature_info.
        """
        low, second = taps = self.encoder.feature_info.module_name()[:2]
        parent = low.rpartition(".")[0]
        # it lifts "stages.1" out of "stages" and calls it "stages_1"
        if isinstance(self.encoder, FeatureListNet):
            low, second, parent = low.replace(".", "_"), second.replace(".", "_"), ""
        # Not get_submodule: its AttributeError would end in nn.Module.__getattr__ as "no attribute
        # 'second_stage'".
        chain = dict(self.encoder.named_modules()).get(parent)
        reason = "they are not steps of one sequence"
        # only these two feed each child with the one before it
        if isinstance(chain, FeatureListNet | nn.Sequential):
            steps = {
                f"{parent}.{name}".lstrip("."): module for name, module in chain.named_children()
            }
            names = list(steps)
            if second in steps:
                between = names[names.index(low) + 1 : names.index(second)]
                if not between:
                    return steps[second]
                reason = f"{', '.join(between)} lies between"
        raise ValueError(
            f"{self.config.encoder!r} has no single module from its stride-4 feature {taps[0]!r} "
            f"to its stride-8 feature {taps[1]!r}: {reason}. Choose an encoder whose stages "
            "downsample themselves, such as resnet50."
        )

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DeepLabV3PlusOutput | tuple[torch.Tensor, ...]:
        """Segment normalised images (B, C, H, W); with labels (B, H', W') of class ids, also return
        the loss.

        The loss is the mean cross-entropy over labelled pixels of the logits, upsampled to the
        labels; in training mode plus `auxiliary_loss_weight` times the auxiliary head's. A batch
        without one labelled pixel gives 0, not NaN.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if return_dict is None:
            return_dict = self.config.return_dict
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be normalised images of floats, got {pixel_values.dtype}. The "
                "image processor makes them."
            )
        features = self._encode(pixel_values)
        logits = self.decode_head(features[0], features[-1])
        auxiliary_logits = None
        if self.training and self.auxiliary_head is not None:
            auxiliary_logits = self.auxiliary_head(features[-2])
        loss = None
        if labels is not None:
            loss = self._cross_entropy(logits, labels)
            if auxiliary_logits is not None:
                loss = loss + self.config.auxiliary_loss_weight * self._cross_entropy(
                    auxiliary_logits, labels
                )
        hidden_states = tuple(features) if output_hidden_states else None
        output = DeepLabV3PlusOutput(loss, logits, auxiliary_logits, hidden_states)
        return output if return_dict else output.to_tuple()

    def _encode(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's features, of the image alone where it had to be padded for the windows of
        attention.
        """
        features = self.encoder(pad_to_multiple(pixel_values, self.size_multiple))
        if self.size_multiple == 1:
            return features
        height, width = pixel_values.shape[-2:]
        strides = self.encoder.feature_info.reduction()
        return [
            x[..., : -(-height // s), : -(-width // s)]
            for x, s in zip(features, strides, strict=True)
        ]

    def _checked_labels(self, labels: torch.Tensor, batch: int) -> torch.Tensor:
        """The labels as int64.

        A ValueError says what the cross-entropy would fail on, on a GPU without a reason.
        """
        if labels.is_floating_point() or labels.ndim != 3 or len(labels) != batch:
            raise ValueError(
                f"labels must be class ids of shape ({batch}, height, width), got {labels.dtype} "
                f"of {tuple(labels.shape)}."
            )
        labels = labels.long()
        if not torch.compiler.is_compiling():
            classes, ignore = self.config.num_labels, self.config.semantic_loss_ignore_index
            foreign = labels[((labels < 0) | (labels >= classes)) & (labels != ignore)]
            if len(foreign):
                raise ValueError(
                    f"labels must be class ids 0..{classes - 1} or {ignore}, which is left out, "
                    f"got {foreign.unique().tolist()[:8]}."
                )
        return labels

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over labelled pixels, in nats, at the labels' size.

        Half precision is summed in float32.
        """
        labels = self._checked_labels(labels, len(logits))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        ignore = self.config.semantic_loss_ignore_index
        total = F.cross_entropy(logits, labels, ignore_index=ignore, reduction="sum")
        return total / (labels != ignore).sum().clamp_min(1)


__all__ = [
    "DeepLabV3PlusForSemanticSegmentation",
    "DeepLabV3PlusOutput",
    "DeepLabV3PlusPreTrainedModel",
]
