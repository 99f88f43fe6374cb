"""What the files in a run's output folder are called, where more than one module reads or writes
them, and whether its pictures are among them.
"""

from pathlib import Path
from typing import Any

from ..base.files import read_json
from ..publishing.card import RECORD_FILE

FIGURE_FILE = "figure.png"  # images, truth, all predictions, and where they disagree
EXTREMES_FILE = "extremes.png"  # the same of the images that are scored best and worst
SAMPLES_FILE = "samples.png"  # augmented images with their masks
GROUPS_FILE = "classes.png"  # when a student's peer was blind to a class
CELL_FILE = "cell.json"  # of a run that is a finished cell of a grid: how it was run
DATA_FILE = "data.json"  # what the check of the data has counted, see `DataSummary`


def check_holds_run(folder: Path) -> None:
    """ValueError unless what is known of a run lies in the folder."""
    if (folder / RECORD_FILE).is_file():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder.")
    if (folder.parent / RECORD_FILE).is_file():
        raise ValueError(f"{folder} lies in the folder of a run: give that, {folder.parent}.")
    raise ValueError(
        f"{folder} holds no {RECORD_FILE}, from which the page of a run is written. Give the "
        "output folder of `ctcl-hf train`, or of `ctcl-hf compare`."
    )


def kept_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a finished run, by step. ValueError if it is not, or has none."""
    if not (folder / "results.json").is_file():
        raise ValueError(f"{folder} holds no finished run: results.json is missing.")
    checkpoints = {int(path.name.split("-")[1]): path for path in folder.glob("checkpoint-*")}
    if not checkpoints and (folder / CELL_FILE).is_file():
        raise ValueError(
            f"{folder} kept no checkpoints, as a grid deletes them. Train this run by itself, with "
            f"the command in its {CELL_FILE}, another --output_dir, --save_strategy epoch and a "
            "large --save_total_limit."
        )
    if not checkpoints:
        raise ValueError(
            f"{folder} kept no checkpoints: train with --save_strategy epoch and a large "
            "--save_total_limit."
        )
    return checkpoints


def read_if_there(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if it is not there, or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def is_drawn(folder: Path) -> bool:
    """Whether a run has made its pictures, of which the record tells last."""
    is_recorded = bool(read_if_there(folder / RECORD_FILE).get("has_figure"))
    return is_recorded and (folder / FIGURE_FILE).is_file()
