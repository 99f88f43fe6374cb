"""DeepLabV3+ over any timm encoder as a student."""

from typing import cast

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers.image_processing_utils import BaseImageProcessor

from ..models.modeling_deeplabv3plus import DeepLabV3PlusForSemanticSegmentation, pad_to_multiple
from .student import Student, StudentOutput, has_attention

# The paper's "last layer" (supplement, Table 1) as an index into the encoder's taps at nominal
# strides 4, 8, 16, 32. MobileNetV2's is its 96-channel stage, not the 320-channel one that feeds
# the head; elsewhere it is the deepest tap.
LAST_TAP = {"mobilenetv2": 2}


def taps_of(encoder: nn.Module) -> FeatureInfo:
    """What timm tells of the features that an encoder returns: names, channels, strides."""
    return cast(FeatureInfo, encoder.feature_info)


def encoder_family(encoder: nn.Module) -> str:
    """ "cnn" without attention; "vit" if every stage attends and none has BatchNorm, as
    convolutions have; or "hybrid".

    encoder: as `create_encoder` builds it. A stage that is no module of its own tells nothing.
    """
    if not has_attention(encoder):
        return "cnn"
    if any(isinstance(module, _BatchNorm) for module in encoder.modules()):
        return "hybrid"
    modules = dict(encoder.named_modules())
    names = {
        name for tap in taps_of(encoder).module_name() for name in (tap, tap.replace(".", "_"))
    }
    return (
        "vit" if all(has_attention(modules[name]) for name in names & modules.keys()) else "hybrid"
    )


class DeepLabV3PlusStudent(Student):
    """This package's DeepLabV3+; stages are its timm encoder's, at the taps that timm's
    `feature_info` names.
    """

    model: DeepLabV3PlusForSemanticSegmentation

    def __init__(
        self, model: DeepLabV3PlusForSemanticSegmentation, image_processor: BaseImageProcessor
    ):
        # Convolutions run up to 1.6 times faster in this layout on CPUs, and on tensor cores; the
        # values are the same.
        super().__init__(nn.Module.to(model, memory_format=torch.channels_last), image_processor)
        self.last_tap = LAST_TAP.get(self.config.encoder.split("_")[0], -1)
        self.takes_any_size = self.family == "cnn"

    @property
    def family(self) -> str:
        return encoder_family(self.model.encoder)

    @property
    def head(self) -> nn.Module | None:
        if self.family == "cnn":
            return None
        heads = (self.model.decode_head, self.model.auxiliary_head)
        return nn.ModuleList(head for head in heads if head is not None)

    @property
    def description(self) -> str:
        config = self.config
        return (
            f"DeepLabV3+ on {config.encoder}, stride {config.output_stride}, ASPP "
            f"{config.aspp_channels}"
        )

    @property
    def auxiliary_weight(self) -> float | None:
        return self.config.auxiliary_loss_weight if self.config.use_auxiliary_head else None

    @property
    def second_stage(self) -> nn.Module:
        return self.model.second_stage

    @property
    def low_channels(self) -> int:
        return taps_of(self.model.encoder).channels()[0]

    @property
    def last_channels(self) -> int:
        return taps_of(self.model.encoder).channels()[self.last_tap]

    def borrowed_second_stage(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        # Windows of attention must fit, as in the model's own pass.
        features = pad_to_multiple(features, max(self.model.size_multiple // 4, 1))
        return super().borrowed_second_stage(features)[..., : -(-height // 2), : -(-width // 2)]

    def normalize(self, pixel_values: Tensor) -> Tensor:
        return super().normalize(pixel_values).contiguous(memory_format=torch.channels_last)

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        output = self.model(pixel_values=self.normalize(pixel_values), output_hidden_states=True)
        return StudentOutput(
            logits=output.logits,
            low=output.hidden_states[0],
            second=output.hidden_states[1],
            last=output.hidden_states[self.last_tap],
            auxiliary_logits=output.auxiliary_logits,
            second_stage=self.borrowed_second_stage,
        )
