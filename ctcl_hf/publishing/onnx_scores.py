"""How the ONNX files in a student's folder score, and of which weights they were made."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base.files import read_json, write_whole

FOLDER = "onnx"  # in a student's folder
SCORES_FILE = "scores.json"  # in FOLDER
TRANSFORMERS_JS = ("segformer",)  # model types that transformers.js segments with


def read_scores(student: Path) -> dict[str, Any] | None:
    """What was found when the files in a student's folder were made; None if it has none."""
    path = student / FOLDER / SCORES_FILE
    return read_json(path) if path.is_file() else None


def write_scores(staged: Path, facts: Mapping[str, Any]) -> None:
    """Writes what `read_scores` reads beside the files.

    facts: "weights", a hash of the student's; "model_type"; "data", "split", "images" and
    "protocol", what they were scored on; "files", by name ("PyTorch" first), each with its
    "precision", "bytes", "mean_iou" and "overall_accuracy".
    """
    write_whole(staged / SCORES_FILE, json.dumps(facts, indent=2) + "\n")


def drop_stale(student: Path, weights: str) -> None:
    """Deletes the files in a student's folder if they were made of other weights than those that
    are about to be saved there.
    """
    facts = read_scores(student)
    if facts is not None and facts["weights"] != weights:
        shutil.rmtree(student / FOLDER)


def rows_of_card(facts: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """File, precision, MiB, mIoU and pixel accuracy in percent."""
    return [
        (
            name,
            own["precision"],
            f"{own['bytes'] / 2**20:.1f}",
            f"{100 * own['mean_iou']:.2f}",
            f"{100 * own['overall_accuracy']:.2f}",
        )
        for name, own in facts["files"].items()
    ]


def tags_of(facts: Mapping[str, Any]) -> list[str]:
    """Of the runtimes that such a folder is for."""
    return ["onnx", *(["transformers.js"] if facts["model_type"] in TRANSFORMERS_JS else [])]
