"""Arguments that say which data, each documented once.

Imported without torch, so that --help answers at once.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.registry import is_reference, own_code
from ..data import DATASETS
from .problems import raise_problems
from .ranges import checks_of_numbers

if TYPE_CHECKING:
    from ..data import SegmentationData


def words_naming(dataset: str, data_dir: str | None) -> list[str]:
    """The words of a command line that name these data."""
    return ["--dataset", dataset, *(() if data_dir is None else ("--data_dir", data_dir))]


@dataclass
class DatasetArguments:
    """Which data."""

    dataset: str = field(
        default="camvid",
        metadata={
            "help": "Benchmark, or a builder of your own, FILE.py:NAME.",
            "choices": DATASETS,
        },
    )
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder with a local copy; CamVid is downloaded once without one."},
    )
    skip_bad: bool = field(
        default=False,
        metadata={
            "help": "Leave out what cannot be used, and count it: files that cannot be read, masks "
            "of another size or with other ids, and in data of your own images without a mask and "
            "masks without an image."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Data of your own in place of --dataset: a Hub id, a folder that `ctcl-hf "
            "prepare` wrote, or one with train/images/, train/masks/, validation/images/, "
            "validation/masks/. What follows is for such data alone."
        },
    )
    image_column: str | None = field(
        default=None, metadata={"help": "Column of images. Default: found by its name."}
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column of masks. Default: found by its name."}
    )
    train_split: str | None = field(
        default=None, metadata={"help": "Split to train on. Default: train."}
    )
    validation_split: str | None = field(
        default=None,
        metadata={"help": "Split to validate on. Default: validation, val, valid or dev."},
    )
    test_split: str | None = field(
        default=None, metadata={"help": "Split to test on at the end. Default: test."}
    )
    validation_share: float | None = field(
        default=None,
        metadata={
            "help": "Share of the training images to hold out, where there is no split to validate "
            "on."
        },
    )
    class_names: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "NAME",
            "help": "Names of the classes in the order of their ids, or one file with them "
            "(id2label.json, a text with a line for each, or a tool's list). Default: such a file "
            "beside the data, or the palette's.",
        },
    )
    palette: str | None = field(
        default=None,
        metadata={
            "help": 'JSON of class colours, {"road": [128, 64, 128], "ignored": [0, 0, 0]}, or a '
            "tool's list: needed "
            "to read masks of colours. Default: palette.json or such a list beside the data."
        },
    )
    label_map: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "OLD:NEW",
            "help": "Ids in the masks that stand for others, such as 3:0 4:255 (255: not scored); "
            "in masks of colours, ids of the classes that these mean.",
        },
    )
    ignore_index: int | None = field(
        default=None, metadata={"help": "Id in the masks that is not scored, beside 255."}
    )
    reduce_labels: bool = field(
        default=False,
        metadata={"help": "Id 0 in the masks is not scored, and ids 1..K are classes 0..K-1."},
    )

    image_folder: str | None = field(
        default=None,
        metadata={"help": "Name of the folders of images. Default: images, img, JPEGImages, ..."},
    )
    mask_folder: str | None = field(
        default=None,
        metadata={"help": "Name of the folders of masks. Default: masks, labels, annotations, ..."},
    )
    mask_ending: str | None = field(
        default=None,
        metadata={
            "help": "What masks' names have beyond their images', such as _mask. Default: found."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read Parquet where it lies, on the Hub or on a disk, instead of copying it "
            "into the cache."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={
            "help": "Images that --streaming shuffles together, and keeps in memory, encoded."
        },
    )

    def __post_init__(self):
        raise_problems(self._checks())

    def _checks(self) -> list[tuple[bool, str]]:
        checks = [
            (
                self.dataset not in DATASETS,
                f"--dataset {self.dataset}: {DATASETS.refusal(self.dataset)}.",
            ),
            (
                self.validation_share is not None and not 0 < self.validation_share < 1,
                f"--validation_share {self.validation_share}: expected a share between 0 and 1.",
            ),
            *checks_of_numbers(self),
            (
                self.shuffle_buffer != 1000
                and not self.streaming
                and self.dataset_name is not None,
                f"--shuffle_buffer {self.shuffle_buffer} has no effect without --streaming.",
            ),
            (
                self.dataset_name is not None and self.data_dir is not None,
                f"--data_dir {self.data_dir} goes with --dataset; a folder of your own is "
                "--dataset_name FOLDER.",
            ),
            (
                self.dataset_name is not None and is_reference(self.dataset_name),
                f"--dataset_name {self.dataset_name}: a builder of your own is --dataset "
                f"{self.dataset_name}.",
            ),
            (
                self.dataset_name is not None and Path(self.dataset_name).is_file(),
                f"--dataset_name {self.dataset_name} is a file: give the folder that holds the "
                "data, or a Hub id.",
            ),
            (
                self.skip_bad and self.streaming,
                "--skip_bad reads every file, and does not go with --streaming.",
            ),
        ]
        for pair in self.label_map or []:
            old, _, new = pair.partition(":")
            is_pair = old.isdecimal() and new.isdecimal()
            checks.append(
                (not is_pair, f"--label_map {pair}: expected OLD:NEW, two ids such as 3:255.")
            )
        if self.dataset_name is None:
            defaults = {
                option.name: option.default for option in dataclasses.fields(DatasetArguments)
            }
            given = [option for option, value in self._own().items() if value != defaults[option]]
            checks += [
                (True, f"--{option} has no effect without --dataset_name.") for option in given
            ]
        return checks

    def _own(self) -> dict:
        """What `build_own` takes by keyword."""
        names = [option.name for option in dataclasses.fields(DatasetArguments)]
        return {name: getattr(self, name) for name in names[names.index("dataset_name") + 1 :]}

    def load(self, names: Sequence[str] = (), needs_validation: bool = True) -> "SegmentationData":
        """The data, whose classes are called `names` where nothing says it.

        needs_validation: whether there must be images to validate on, as for training.

        ValueError or OSError: what is wrong.
        """
        if self.dataset_name is None:
            return self._own_builder() if is_reference(self.dataset) else self._benchmark()
        from ..data import build_own

        pairs = [pair.split(":") for pair in self.label_map or []]
        own = self._own() | {
            "label_map": {int(old): int(new) for old, new in pairs},
            "names_of_model": names,
        }
        own |= {"skip_unpaired": self.skip_bad, "needs_validation": needs_validation}
        return build_own(self.dataset_name, **own)

    def load_or_tell_all(
        self, names: Sequence[str] = (), needs_validation: bool = True
    ) -> "SegmentationData":
        """As `load`. Where counterparts of images, names of classes or images to validate on are
        missing, the files that are there are read all the same, and ValueError tells of them too.
        """
        from ..data.pairs import Incomplete

        try:
            return self.load(names, needs_validation)
        except Incomplete as lacking:
            if self.streaming:
                raise
            try:
                told = self._told_by_files(names)
            except ValueError as error:  # of data that cannot be read without what is lacking
                told = [str(error)]
            raise ValueError("\n".join([str(lacking), *told])) from lacking

    def _told_by_files(self, names: Sequence[str]) -> list[str]:
        """What is to be said of the files of data that are incomplete."""
        from ..data.masks import UNKNOWN, with_values
        from ..data.pairs import Incomplete

        paired, is_named = dataclasses.replace(self, skip_bad=True), True
        try:
            data = DatasetArguments.load(paired, names, needs_validation=False)
        except Incomplete:  # nothing names the classes
            paired.class_names = [str(i) for i in range(UNKNOWN)]
            data, is_named = DatasetArguments.load(paired, needs_validation=False), False
        told, ids, masks = data.told_by_files()
        if not is_named and ids.counts:
            told.append(with_values("The masks hold the ids {}.", ids.told(masks)))
        absent = [name for i, name in enumerate(data.class_names) if i not in ids.counts]
        if is_named and ids.counts and absent:
            told.append(f"No mask that can be used has a pixel of {', '.join(absent)}.")
        return told

    def _benchmark(self) -> "SegmentationData":
        return DATASETS[self.dataset](self.data_dir)

    def _own_builder(self) -> "SegmentationData":
        """What a builder of the user's own returns. ValueError if it fails, or returns no data."""
        from ..data import SegmentationData

        try:
            with own_code(self.dataset):
                data = DATASETS[self.dataset](self.data_dir)
        except ValueError as error:
            if self.data_dir is not None:
                raise
            raise ValueError(f"{error} It was called without --data_dir.") from error
        problem = None
        if not isinstance(data, SegmentationData):
            problem = f"expected a ctcl_hf.SegmentationData, got {type(data).__name__}."
        elif data.name in DATASETS:
            problem = (
                f"it calls its data {data.name!r}, as a benchmark of ctcl_hf is called. Call it "
                "otherwise: cards, tables and repositories are named after it."
            )
        elif empty := [split for split, rows in data.splits.items() if not len(rows)]:
            problem = f"it returned no images of {' and '.join(empty)}."
        if problem is not None:
            raise ValueError(f"--dataset {self.dataset}: {problem}")
        return data
