"""What the losses may ask of any segmentation model.

A new family of students is one subclass of `Student` and one line in `STUDENTS`.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from .losses import as_constant
from .models.segformer import decode

# The paper's "last layer" (supplement, Table 1) as an index into the encoder's taps at nominal strides 4, 8, 16, 32.
# MobileNetV2's is its 96-channel stage, not the 320-channel one that feeds the head; elsewhere it is the deepest tap.
LAST_TAP = {"mobilenetv2": 2}


class StudentOutput(NamedTuple):
    """One student's view of a batch. B images, K classes; s is the student's own stride at that tap."""

    logits: Tensor  # (B, K, H/4, W/4)
    low: Tensor  # first-stage features F_1 (B, C, H/s, W/s)
    second: Tensor  # second-stage features F_2
    last: Tensor  # last-stage features F_l
    auxiliary_logits: Tensor | None  # (B, K, h, w) of a head that only training uses
    second_stage: Callable[[Tensor], Tensor]  # F_1 -> F_2 with every weight and statistic constant


class Student(nn.Module):
    """A `PreTrainedModel` for semantic segmentation with its image processor, seen through `StudentOutput`.

    Images come in as RGB in 0..255, (B, 3, H, W) of any dtype: each student normalises with its own processor's mean
    and standard deviation, so that two students of different habits read the same batch.
    """

    family: ClassVar[str]  # "cnn" or "vit": decides the optimizer

    def __init__(self, model: PreTrainedModel, image_processor: BaseImageProcessor):
        super().__init__()
        self.model = model
        self.image_processor = image_processor
        self.origin: str | None = None  # what training started from: a Hub id, "random weights", "a local folder"
        scale = 1 / image_processor.rescale_factor
        for name, values in (("mean", image_processor.image_mean), ("std", image_processor.image_std)):
            self.register_buffer(name, scale * torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    @property
    def config(self):
        return self.model.config

    @property
    def ignore_index(self) -> int:
        return self.config.semantic_loss_ignore_index

    @property
    def head(self) -> nn.Module | None:
        """The layers that learn at a multiple of the rate of the pretrained rest, if this family has such a habit."""
        return None

    @property
    def auxiliary_weight(self) -> float | None:
        """Weight of the auxiliary head's cross entropy; None for a student without one."""
        return None

    @property
    def second_stage(self) -> nn.Module:
        """The module from the first-stage features to the second-stage ones. ValueError if there is no such module."""
        raise NotImplementedError(f"{type(self).__name__} must name its second stage.")

    def borrowed_second_stage(self, features: Tensor) -> Tensor:
        """The second stage as a constant function of features that are another student's: see `as_constant`."""
        return as_constant(self.second_stage)(features)

    @property
    def low_channels(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must say how many channels its first stage has.")

    @property
    def last_channels(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must say how many channels its last stage has.")

    @property
    def description(self) -> str:
        """Architecture in a few words, for tables and cards."""
        raise NotImplementedError(f"{type(self).__name__} must describe its architecture.")

    @property
    def can_checkpoint(self) -> bool:
        """Whether activations may be recomputed in backward. Not those of BatchNorm: it would count a batch twice."""
        return False

    def normalize(self, pixel_values: Tensor) -> Tensor:
        """RGB in 0..255 -> the model's own input, float32 (float64 for a float64 model)."""
        return (pixel_values.to(self.mean.dtype) - self.mean) / self.std

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        raise NotImplementedError(f"{type(self).__name__} must turn its model's output into a StudentOutput.")

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Logits alone, for evaluation: (B, 3, H, W) RGB in 0..255 -> (B, K, h, w)."""
        return self.model(pixel_values=self.normalize(pixel_values)).logits

    def save_pretrained(self, folder: str) -> None:
        """A plain folder for `from_pretrained` and `pipeline`: config, safetensors, image processor."""
        self.model.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


class SegformerStudent(Student):
    """SegFormer as it stands in transformers, its decode head in a cheaper order; stages are its MiT encoder's."""

    family = "vit"

    @property
    def head(self) -> nn.Module:
        return self.model.decode_head

    @property
    def can_checkpoint(self) -> bool:
        return True  # its encoder's layers only, which have no BatchNorm

    @property
    def second_stage(self) -> nn.Module:
        return self.model.segformer.stages[1]

    @property
    def description(self) -> str:
        depths = "-".join(map(str, self.config.depths))
        return f"SegFormer, MiT {depths} of width {self.config.hidden_sizes[0]}-{self.config.hidden_sizes[-1]}"

    @property
    def low_channels(self) -> int:
        return self.config.hidden_sizes[0]

    @property
    def last_channels(self) -> int:
        return self.config.hidden_sizes[-1]

    def features(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The encoder's four features, (B, C_i, H/s, W/s) at strides 4, 8, 16, 32."""
        return self.model.segformer(self.normalize(pixel_values), output_hidden_states=True).hidden_states

    def logits(self, pixel_values: Tensor) -> Tensor:
        return decode(self.model.decode_head, self.features(pixel_values))

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        features = self.features(pixel_values)
        return StudentOutput(
            logits=decode(self.model.decode_head, features),
            low=features[0],
            second=features[1],
            last=features[-1],
            auxiliary_logits=None,
            second_stage=self.borrowed_second_stage,
        )


class DeepLabV3PlusStudent(Student):
    """This package's DeepLabV3+; stages are its timm encoder's, at the taps that timm's `feature_info` names."""

    family = "cnn"

    def __init__(self, model: PreTrainedModel, image_processor: BaseImageProcessor):
        # Convolutions run up to 1.6 times faster in this layout on CPUs, and on tensor cores; the values are the same.
        super().__init__(model.to(memory_format=torch.channels_last), image_processor)
        self.last_tap = LAST_TAP.get(self.config.encoder.split("_")[0], -1)

    @property
    def description(self) -> str:
        config = self.config
        return f"DeepLabV3+ on {config.encoder}, stride {config.output_stride}, ASPP {config.aspp_channels}"

    @property
    def auxiliary_weight(self) -> float | None:
        return self.config.auxiliary_loss_weight if self.config.use_auxiliary_head else None

    @property
    def second_stage(self) -> nn.Module:
        return self.model.second_stage

    @property
    def low_channels(self) -> int:
        return self.model.encoder.feature_info.channels()[0]

    @property
    def last_channels(self) -> int:
        return self.model.encoder.feature_info.channels()[self.last_tap]

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


# model_type of the configuration -> its family of students
STUDENTS: dict[str, type[Student]] = {"deeplabv3plus": DeepLabV3PlusStudent, "segformer": SegformerStudent}


def as_student(model: PreTrainedModel, image_processor: BaseImageProcessor) -> Student:
    """The model as a student of its family. ValueError names the known families for any other model."""
    if model.config.model_type not in STUDENTS:
        raise ValueError(
            f"No student family is known for model_type {model.config.model_type!r}: expected one of "
            f"{', '.join(STUDENTS)}. A new family is a subclass of ctcl_hf.students.Student and a line in STUDENTS."
        )
    return STUDENTS[model.config.model_type](model, image_processor)
