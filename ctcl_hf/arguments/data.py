"""Arguments about the data of a training, each documented once.

Imported without torch, so that --help answers at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .dataset import DatasetArguments
from .problems import raise_problems
from .protocol import ProtocolArguments
from .ranges import check_of_sides

if TYPE_CHECKING:
    from ..data import SegmentationData


@dataclass
class DataArguments(ProtocolArguments, DatasetArguments):
    """Which data, how it is augmented, and how it is scored."""

    _argument_group_name = "data: which, how it is scored, how it is augmented"

    image_size: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels to which images are resized (scale 1). Default: the "
            "data set's own.",
        },
    )
    crop_size: list[int] = field(
        default_factory=lambda: [512, 512],
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels of a training crop, multiples of 32 (one number: a "
            "square).",
        },
    )
    scale_range: list[float] = field(
        default_factory=lambda: [0.5, 2.0],
        metadata={
            "metavar": ("LOWEST", "HIGHEST"),
            "help": "Smallest and largest scale of training images.",
        },
    )
    photometric: bool = field(
        default=False, metadata={"help": "Jitter brightness, contrast, saturation and hue."}
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={"help": "Training images to use, spread evenly over all, for a quick try."},
    )
    max_eval_samples: int | None = field(
        default=None,
        metadata={
            "help": "The same of every split that is scored. Its numbers are then no benchmark's."
        },
    )
    check_data: bool = field(
        default=True, metadata={"help": "The reading of every file once before training."}
    )

    def __post_init__(self):
        if len(self.crop_size) == 1:
            self.crop_size = self.crop_size * 2
        raise_problems(
            [
                *self._checks(),
                *self._protocol_checks(),
                (
                    len(self.crop_size) != 2
                    or any(side <= 0 or side % 32 for side in self.crop_size),
                    f"--crop_size {' '.join(map(str, self.crop_size))}: expected HEIGHT WIDTH, "
                    "both multiples of 32 (the deepest stride), so that all students' features "
                    "cover the same pixels.",
                ),
                check_of_sides("image_size", self.image_size),
                (
                    len(self.scale_range) != 2
                    or not 0 < self.scale_range[0] <= self.scale_range[1],
                    f"--scale_range {' '.join(map(str, self.scale_range))}: expected 0 < MIN <= "
                    "MAX.",
                ),
                (
                    self.streaming and {self.max_train_samples, self.max_eval_samples} != {None},
                    "--max_train_samples and --max_eval_samples do not go with --streaming.",
                ),
            ]
        )

    def load(self, names: Sequence[str] = (), needs_validation: bool = True) -> "SegmentationData":
        """The data, of each split as many images as are to be used.

        ValueError or OSError as in `DatasetArguments`.
        """
        data = super().load(names, needs_validation)
        wanted = {
            split: self.max_train_samples if split == "train" else self.max_eval_samples
            for split in data.splits
        }
        data = data.part({split: number for split, number in wanted.items() if number is not None})
        if not self.skip_bad:
            return data
        from ..data.findings import BadFiles, ways_to_say_ids

        try:
            return data.without_bad()
        except BadFiles as error:
            ways = []
            if self.dataset_name is not None:
                ways = ways_to_say_ids(error.problems, len(data.class_names))
            raise ValueError("\n".join([str(error), *ways])) from None
