"""The data that models are scored on, those that the command line names or those of their run; and
the protocol by which.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments.dataset import DatasetArguments
from ..arguments.protocol import ProtocolArguments
from ..arguments.recipes import data_of, names_of_options

if TYPE_CHECKING:
    from ..data import SegmentationData
    from ..scoring.protocols import Protocol

# pixels of a side of the centre crop and the sliding window, unless told or larger than the image
WINDOW = 512


def data_of_model(model: str, dataset: DatasetArguments, argv: Sequence[str]) -> DatasetArguments:
    """The data that the command line names, or else those that the model's run was trained on.

    ValueError if no run lies beside a model's folder that would say which.
    """
    if names_data(argv):
        return dataset
    record = _record_of_run(Path(model))
    if not record.get("command"):
        if Path(model).is_dir():
            raise ValueError(
                f"{model}: no run lies beside it that would say which data. Give --dataset NAME, "
                "or --dataset_name FOLDER"
            )
        return dataset
    own = data_of(record["command"])
    if "max_eval_samples" in names_of_options(record["command"]):
        print("The run scored a part of the images (--max_eval_samples); here all are scored.")
    return dataclasses.replace(own, skip_bad=own.skip_bad or dataset.skip_bad)


def names_data(argv: Sequence[str]) -> bool:
    """Whether a command line says which data."""
    names = {field.name for field in dataclasses.fields(DatasetArguments)} - {"skip_bad"}
    options = (word.partition("=")[0] for word in argv if word.startswith("--"))
    return any(option[2:].replace("-", "_") in names for option in options)


def _record_of_run(folder: Path) -> dict[str, Any]:
    """What is known of the run in whose folder, or the folder of one of whose students, this is;
    nothing of others.
    """
    from ..base.files import read_json
    from ..publishing.card import RECORD_FILE

    records = (folder / RECORD_FILE, folder.parent / RECORD_FILE)
    found = next((path for path in records if folder.is_dir() and path.is_file()), None)
    return read_json(found) if found else {}


def load_data(
    dataset: DatasetArguments, split: str, class_names: Sequence[str]
) -> "SegmentationData":
    """The data, of which a split is wanted, with the model's classes if they do not name theirs."""
    data = dataset.load_or_tell_all(class_names)
    data = data.without_bad() if dataset.skip_bad else data
    if split not in data.splits:
        near = next((name for name in data.splits if name.startswith(split)), None)
        meant = f" Did you mean {near}?" if near else ""
        raise ValueError(f"--split {split}: {data.name} has {', '.join(data.splits)}.{meant}")
    return data


def protocol_of(
    data: "SegmentationData", arguments: ProtocolArguments, image_size: tuple[int, int]
) -> "Protocol":
    """The protocol that the command line names, or else the data's own, on images of a size."""
    height, width = image_size
    window = (min(WINDOW, height), min(WINDOW, width))
    return arguments.build_protocol(data.protocol, image_size, window)
