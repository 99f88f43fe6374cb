"""Configuration of DeepLabV3+ over a timm encoder.

Travels to the Hub beside the weights: imports transformers only.
"""

from transformers import PreTrainedConfig


class DeepLabV3PlusConfig(PreTrainedConfig):
    r"""Architecture of a [`DeepLabV3PlusForSemanticSegmentation`]. The defaults are the paper's
    MobileNetV2 student.

    Args:
        encoder (`str`): Name of a timm model, with or without a pretrained tag (`resnet50`,
            `resnet50.a1_in1k`). A config never asks for pretrained weights: see
            [`DeepLabV3PlusForSemanticSegmentation.from_timm`].
        num_channels (`int`): Channels of the input image.
        output_stride (`int`): Pixels per position of the encoder's last feature, by dilation: 8, 16
            or 32. The paper's MobileNetV2 runs at 8, its ResNet-50 at 16 (supplement, Table 1); an
            encoder that cannot dilate runs at 32.
        aspp_channels (`int`): Width of every ASPP branch. 512 is the width that the supplement's
            Table 2 counts; the closing 3x3 convolution grows with its square (48 GMAC per 512x512
            image at stride 8).
        decoder_channels (`int`, *optional*): Width of the two decoder convolutions; `None` is
            `aspp_channels`.
        low_level_channels (`int`): Channels that the stride-4 feature is projected to before it
            joins the decoder.
        classifier_dropout_prob (`float`): Probability that a channel is dropped before either
            classifier.
        use_auxiliary_head (`bool`): Keep an FCN head on the last but one feature. It works in
            training mode only.
        auxiliary_channels (`int`): Width of that head's convolution.
        auxiliary_loss_weight (`float`): Weight of its cross-entropy in the loss.
        semantic_loss_ignore_index (`int`): Label of the pixels that the loss leaves out.
    """

    model_type = "deeplabv3plus"
    # whatever saves it saves this file along, so that it loads without this package
    _auto_class = "AutoConfig"

    encoder: str = "mobilenetv2_100"
    num_channels: int = 3
    output_stride: int = 8
    aspp_channels: int = 512
    decoder_channels: int | None = None
    low_level_channels: int = 48
    classifier_dropout_prob: float | int = 0.1
    use_auxiliary_head: bool = True
    auxiliary_channels: int = 256
    auxiliary_loss_weight: float | int = 0.4
    semantic_loss_ignore_index: int = 255

    def __post_init__(self, **kwargs):
        # What the base class would fail on with a message about something else.
        labels, count = self.id2label, kwargs.get("num_labels", 2)
        if labels is not None and not (
            isinstance(labels, dict) and all(str(i).isdecimal() for i in labels)
        ):
            raise ValueError(f"id2label must map class ids to names, got {labels!r}.")
        if not _is_whole(count):
            raise ValueError(
                f"num_labels must be a whole number of classes, at least 2, got {count!r}."
            )
        super().__post_init__(**kwargs)
        self.validate_architecture()

    def validate_architecture(self):
        """Raise a ValueError on a field that cannot be built.

        The model asks again, as fields may be set later.
        """
        if not isinstance(self.encoder, str):
            raise ValueError(
                "encoder must be the name of a timm model such as 'resnet50', got "
                f"{self.encoder!r}."
            )
        if not _is_whole(self.output_stride) or self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"output_stride must be 8, 16 or 32, got {self.output_stride!r}. Take 8 for the "
                "finest features, 16 for a quarter of that work, 32 for an encoder that cannot "
                "dilate."
            )
        for name in (
            "num_channels",
            "aspp_channels",
            "decoder_channels",
            "low_level_channels",
            "auxiliary_channels",
        ):
            value = getattr(self, name)
            if name == "decoder_channels" and value is None:
                continue
            if not _is_whole(value) or value < 1:
                raise ValueError(
                    f"{name} must be a whole number of channels, at least 1, got {value!r}."
                )
        if (
            not _is_number(self.classifier_dropout_prob)
            or not 0 <= self.classifier_dropout_prob < 1
        ):
            raise ValueError(
                "classifier_dropout_prob must lie in [0, 1), got "
                f"{self.classifier_dropout_prob!r}. 0 switches it off."
            )
        if not isinstance(self.use_auxiliary_head, bool):
            raise ValueError(
                f"use_auxiliary_head must be true or false, got {self.use_auxiliary_head!r}."
            )
        if not _is_number(
            self.auxiliary_loss_weight
        ) or not 0 <= self.auxiliary_loss_weight < float("inf"):
            raise ValueError(
                "auxiliary_loss_weight must be a number and must not be negative, got "
                f"{self.auxiliary_loss_weight!r}. Set use_auxiliary_head=False to train without "
                "that head."
            )
        if self.num_labels < 2:
            raise ValueError(
                f"num_labels must be at least 2, got {self.num_labels}: over one class the "
                "cross-entropy is always 0. Count the background as a class."
            )
        if sorted(self.id2label) != list(range(self.num_labels)) or not all(
            isinstance(name, str) for name in self.id2label.values()
        ):
            raise ValueError(
                f"id2label must name every class from 0 to {self.num_labels - 1}, got "
                f"{self.id2label!r}."
            )
        if not _is_whole(self.semantic_loss_ignore_index):
            raise ValueError(
                "semantic_loss_ignore_index must be a whole number, got "
                f"{self.semantic_loss_ignore_index!r}."
            )
        if 0 <= self.semantic_loss_ignore_index < self.num_labels:
            raise ValueError(
                f"semantic_loss_ignore_index {self.semantic_loss_ignore_index} is one of the class "
                f"ids 0..{self.num_labels - 1} (num_labels {self.num_labels}), so that class would "
                "never be trained. Set it, and the ignored pixels, to -100."
            )


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, float) or _is_whole(value)


__all__ = ["DeepLabV3PlusConfig"]
