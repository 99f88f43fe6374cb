"""A frozen model of any kind, seen with the students' classes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.precision import widened
from .student import FeaturesUnknown, Student, StudentOutput
from .teacher_classes import Members

# The logit of a class that a teacher lacks: a probability of 0 beside any other logit, and finite,
# since what upsamples it takes differences.
ABSENT = -1e4


class Teacher(nn.Module):
    """A segmentation model that others learn from, as they see it: with their classes, on their
    images.

    Its probability of one of their classes is the sum of those of its own that are it, given that
    it is one that any of theirs is: logits are summed as log sum exp. Where it lacks a class, its
    opinion is one on the others: `known`.

    Args:
        model: what teaches.
        members: of each of the students' classes, its own that are it; () where none is. Default:
            the same classes in the same order.
        size: (height, width) in pixels that images are resized to, the aspect ratio not kept, where
            the model reads no other. Its output lies on a grid of any stride anyway, which losses
            resize to that of the labels.
    """

    def __init__(
        self,
        model: Student,
        members: Members | None = None,
        size: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.model = model
        own = tuple((i,) for i in range(model.config.num_labels))
        self.members = None if members == own else members
        self.size = size

    @property
    def num_labels(self) -> int:
        """The number of the students' classes."""
        return self.model.config.num_labels if self.members is None else len(self.members)

    @property
    def known(self) -> tuple[int, ...] | None:
        """The students' classes that it tells apart; None if it lacks none of them."""
        if self.members is None or all(self.members):
            return None
        return tuple(i for i, own in enumerate(self.members) if own)

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        """What it sees in images (B, 3, H, W), RGB in 0..255: logits (B, K, h, w) of the students'
        classes, `ABSENT` for those that it lacks; and its features, if they are known.
        """
        if self.size is not None and pixel_values.shape[-2:] != torch.Size(self.size):
            pixel_values = F.interpolate(
                pixel_values.to(self.model.mean.dtype),
                size=self.size,
                mode="bilinear",
                antialias=True,
            )
        output: StudentOutput = self.model(pixel_values)
        if self.members is None:
            return output
        logits = widened(output.logits)
        of_classes = [
            logits[:, list(own)].logsumexp(1) if own else torch.full_like(logits[:, 0], ABSENT)
            for own in self.members
        ]
        return output._replace(logits=torch.stack(of_classes, dim=1))

    @property
    def low_channels(self) -> int:
        """As `Student.low_channels`, and so are the next two."""
        return self._feature("low_channels")

    @property
    def last_channels(self) -> int:
        return self._feature("last_channels")

    @property
    def second_stage(self) -> nn.Module:
        return self._feature("second_stage")

    def _feature(self, name: str) -> Any:
        try:
            return getattr(self.model, name)
        except FeaturesUnknown as error:
            raise ValueError(
                f"The features of a {self.model.config.model_type} as a teacher are not known, "
                "and this method reads them. Give it a DeepLabV3+ or a SegFormer to learn from, or "
                "let it learn from logits: --method offline_kd, cwd or ctcl."
            ) from error

    @torch.no_grad()
    def check_size(self, size: tuple[int, int]) -> None:
        """ValueError if it cannot read images of this height and width, not even resized."""
        if self.size is None:
            self.model.check_size(size)


def as_teacher(model: "Student | Teacher") -> Teacher:
    """A model of the students' own classes as a teacher."""
    return model if isinstance(model, Teacher) else Teacher(model)


def own_size(model: Student, size: tuple[int, int]) -> tuple[int, int] | None:
    """(height, width) to which images of `size` are to be resized for a model; None where it reads
    them as they are.

    One that knows a single size may take images of another shape for its own, if only they have as
    many patches (DPT, EoMT): whether it reads others is tried on one that has more. ValueError if
    the model reads neither these images, nor names a size that it reads.
    """
    named = getattr(model.config, "image_size", None)  # of transformers that know one size, or some
    if model.takes_any_size or named is None:
        model.check_size(size)
        return None
    height, width = (named, named) if isinstance(named, int) else named
    if (height, width) == tuple(size):
        return None
    try:
        model.check_size((height + 32, width))
        model.check_size(size)
    except ValueError:
        model.check_size((height, width))
        return height, width
    return None
