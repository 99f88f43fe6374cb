"""What the losses may ask of any segmentation model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..base.files import TEMPERATURE as TEMPERATURE
from ..base.files import share_as
from ..losses import as_constant


class FeaturesUnknown(ValueError):
    """A method reads features of a student that has logits alone.

    Args:
        lacking: a clause that says so.
    """

    def __init__(self, lacking: str):
        super().__init__(
            f"{lacking}: HFD, region BSD, ifvd, feature_kd and heteroakd read features. Methods "
            "that read logits alone work, such as --method dml, or ctcl with --no_hfd "
            "--no_region_bsd. To have all of them, name its stages in its family, a subclass of "
            "ctcl_hf.Student: docs/design.md."
        )


class StudentOutput(NamedTuple):
    """One student's view of a batch. B images, K classes; s is the student's own stride at that
    tap, C the channels there.

    A student whose stages are not known has logits alone, which is enough for methods that read no
    features (vanilla, dml, kdcl, cwd, ctcl --no_hfd --no_region_bsd).
    """

    logits: Tensor  # (B, K, H/s, W/s)
    low: Tensor | None = None  # first-stage features F_1 (B, C, H/s, W/s), C = `low_channels`
    second: Tensor | None = None  # F_2, what `second_stage` makes of them
    last: Tensor | None = None  # last-stage features F_l, C = `last_channels`
    auxiliary_logits: Tensor | None = None  # (B, K, h, w) of a head that only training uses
    # F_1 -> F_2 with every weight and statistic constant: a student's `borrowed_second_stage`
    second_stage: Callable[[Tensor], Tensor] | None = None


class Features(NamedTuple):
    """The part of a `StudentOutput` that a student has whose stages are known."""

    low: Tensor
    second: Tensor
    last: Tensor
    second_stage: Callable[[Tensor], Tensor]


def features_of(output: StudentOutput) -> Features:
    """What losses on features read. FeaturesUnknown of a student whose stages are not known."""
    if (
        output.low is None
        or output.second is None
        or output.last is None
        or output.second_stage is None
    ):
        raise FeaturesUnknown("A student's output lacks low, second, last or second_stage")
    return Features(output.low, output.second, output.last, output.second_stage)


class Student(nn.Module):
    """A `PreTrainedModel` for semantic segmentation with its image processor, seen through
    `StudentOutput`.

    Images come in as RGB in 0..255, (B, 3, H, W) of any dtype: each student normalises with its own
    processor's mean and standard deviation, so that two students of different habits read the same
    batch.
    """

    model: PreTrainedModel
    mean: Tensor  # (1, 3, 1, 1), in 0..255
    std: Tensor
    takes_any_size: bool = True  # whether images of every height and width are known to fit

    def __init__(self, model: PreTrainedModel, image_processor: BaseImageProcessor):
        super().__init__()
        self.model = model
        self.image_processor = image_processor
        # what training started from: a Hub id, "random weights", "a local folder"
        self.origin: str | None = None
        processing = image_processor.to_dict()
        self.reads_bgr = processing.get("do_flip_channel_order", False)
        mean, std = (0.0,) * 3, (1.0,) * 3
        if processing.get("do_normalize"):
            mean, std = processing["image_mean"], processing["image_std"]
        scale = 1 / image_processor.rescale_factor if processing.get("do_rescale", True) else 1.0
        for name, values in (("mean", mean), ("std", std)):
            in_255 = torch.tensor(values).view(1, -1, 1, 1) * scale
            self.register_buffer(name, in_255, persistent=False)

    @classmethod
    def new(
        cls, class_names: Sequence[str], image_size: tuple[int, int], from_scratch: bool
    ) -> "Student":
        """A student for these classes: what `--cnn FILE.py:NAME` makes of a family of one's own.

        Args:
            class_names: of classes 0..K-1, which are to be its configuration's `id2label` and
                `label2id`.
            image_size: (height, width) in pixels that its image processor is to resize images to.
            from_scratch: whether it is to have random weights, and download nothing.
        """
        raise NotImplementedError(
            f"{cls.__name__} is made of a saved model: see ctcl_hf.load_student."
        )

    @property
    def family(self) -> str:
        """ "cnn", "vit", or "hybrid" for convolutions with attention between them: decides the
        optimizer.
        """
        raise NotImplementedError(f"{type(self).__name__} must name its family.")

    @property
    def config(self):
        return self.model.config

    @property
    def class_names(self) -> list[str]:
        """The classes that it tells apart, in the order of its logits."""
        return [self.config.id2label[i] for i in range(self.config.num_labels)]

    @property
    def ignore_index(self) -> int:
        return self.config.semantic_loss_ignore_index

    @property
    def head(self) -> nn.Module | None:
        """The layers that learn at a multiple of the rate of the pretrained rest, if this family
        has such a habit.
        """
        return None

    @property
    def auxiliary_weight(self) -> float | None:
        """Weight of the auxiliary head's cross entropy; None for a student without one."""
        return None

    @property
    def second_stage(self) -> nn.Module:
        """The module from the first-stage features F_1 to the second-stage ones F_2, a part of
        `model`: HFD sends the peer's projected features through it.

        FeaturesUnknown if there is no such module.
        """
        raise self._lacks("second_stage")

    def _lacks(self, name: str) -> FeaturesUnknown:
        return FeaturesUnknown(f"{type(self).__name__} names no {name}")

    def borrowed_second_stage(self, features: Tensor) -> Tensor:
        """The second stage as a constant function of features that are another student's: see
        `as_constant`.
        """
        return as_constant(self.second_stage)(features)

    @property
    def low_channels(self) -> int:
        """Channels of the first-stage features, `StudentOutput.low`. FeaturesUnknown if there are
        none.
        """
        raise self._lacks("low_channels")

    @property
    def last_channels(self) -> int:
        """Channels of the last-stage features, `StudentOutput.last`. FeaturesUnknown if there are
        none.
        """
        raise self._lacks("last_channels")

    @property
    def description(self) -> str:
        """Architecture in a few words, for tables and cards."""
        raise NotImplementedError(f"{type(self).__name__} must describe its architecture.")

    @property
    def can_checkpoint(self) -> bool:
        """Whether activations may be recomputed in backward.

        Not those of BatchNorm: it would count a batch twice.
        """
        return False

    def normalize(self, pixel_values: Tensor) -> Tensor:
        """RGB in 0..255 -> the model's own input, float32 (float64 for a float64 model)."""
        if self.reads_bgr:
            pixel_values = pixel_values.flip(1)
        return (pixel_values.to(self.mean.dtype) - self.mean) / self.std

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        """What the losses read of images (B, 3, H, W), RGB in 0..255: `normalize` makes the model's
        own input of them.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must turn its model's output into a StudentOutput."
        )

    @property
    def temperature(self) -> float:
        """What its logits are divided by to be calibrated; 1 where it was not calibrated."""
        return getattr(self.config, TEMPERATURE, 1.0)

    @temperature.setter
    def temperature(self, value: float) -> None:
        setattr(self.config, TEMPERATURE, value)

    def raw_logits(self, pixel_values: Tensor) -> Tensor:
        """The model's own logits alone: (B, 3, H, W) RGB in 0..255 -> (B, K, h, w)."""
        return self.model(pixel_values=self.normalize(pixel_values)).logits

    def calibrated(self, logits: Tensor) -> Tensor:
        """The model's own logits over its temperature, so that their softmax is probabilities that
        are as often right as they say (`ctcl-hf evaluate --calibrate_on`).
        """
        return logits if self.temperature == 1 else logits / self.temperature

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Calibrated logits alone, for evaluation and prediction: `calibrated` of `raw_logits`."""
        return self.calibrated(self.raw_logits(pixel_values))

    @torch.no_grad()
    def check_size(self, size: tuple[int, int]) -> None:
        """ValueError if images of this height and width in pixels are not for this student."""
        if self.takes_any_size:
            return
        training = self.training
        try:
            self.eval()(torch.zeros(1, 3, *size, device=self.mean.device))
        except (RuntimeError, ValueError, AssertionError) as error:
            # of a model that knows one size, or some
            raise ValueError(
                f"{self.description} cannot read images of {size[0]}x{size[1]} pixels ({error}). "
                "Choose another --crop_size and --image_size, or another student."
            ) from error
        finally:
            self.train(training)

    def synchronize_batchnorm(self) -> None:
        """BatchNorm over the batches of all processes from now on, which torch offers on
        accelerators alone.

        timm's converter, not torch's: that one would lose the activations that timm keeps in its
        norm layers.
        """
        # converted before
        if not any(isinstance(module, nn.SyncBatchNorm) for module in self.model.modules()):
            self.model = convert_sync_batchnorm(self.model)

    def save_pretrained(self, folder: str) -> None:
        """A plain folder for `from_pretrained` and `pipeline`: config, safetensors, image
        processor.
        """
        self.model.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        for weights in Path(folder).glob("*.safetensors"):
            share_as(weights, Path(folder, "config.json"))


def has_attention(module: nn.Module) -> bool:
    """Whether any of its parts attends from position to position."""
    return any(map(_attends, module.modules()))


def _attends(part: nn.Module) -> bool:
    """By its class's name, by a number of heads, or by its one layer for queries, keys and values.

    Gates of CNNs, which weigh channels (squeeze-and-excitation, SelectiveKernelAttn, SplitAttn),
    have none of these.
    """
    heads = (getattr(part, "num_heads", None), getattr(part, "heads", None))
    return (
        "Attention" in type(part).__name__
        or any(isinstance(number, int) for number in heads)
        or isinstance(getattr(part, "qkv", None), nn.Module)
    )
