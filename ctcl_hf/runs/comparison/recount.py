"""The counts of a finished run that kept none, from its saved students: nothing is trained
again.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from ...arguments.data import DataArguments
from ...base.files import read_json
from ...data import SegmentationData
from ...metrics.scores import Evaluation, evaluations_from_json
from ...scoring.image_counts import COUNTS_FILE, SplitCounts, save_counts
from ...scoring.protocols import Protocol
from ...scoring.scorer import Scorer, saved_students
from ...training.cpu import prepare_cpu
from ...training.guards.processes import wait_for_all
from ...training.locks import lock_folder
from .grid import Grid

TOLERANCE = 0.002  # of mIoU, to what the run reported: another machine rounds otherwise


def make_counts(grid: Grid) -> list[str]:
    """Counts the images of finished cells that kept no counts, on all processes.

    Returns what failed, and why.
    """
    problems = []
    for cell in grid.cells():
        if cell.is_finished and not (cell.folder / COUNTS_FILE).is_file():
            try:
                recount(cell.folder)
            except (OSError, ValueError, TypeError, KeyError) as error:
                # of a run of an older version, too
                problems.append(f"The images of {cell.title} could not be counted: {error}")
    return problems


def recount(folder: Path) -> None:
    """Scores the students of a finished run as it did, and writes what every image adds to
    counts.npz in its folder.

    Every process of a run may call it; they share the images.

    Raises:
        OSError: data or students are not there, or another run writes to the folder.
        ValueError: the students do not score what the run reported: the data, the weights or the
            package are others.
    """
    facts = read_json(folder / "results.json")
    training = facts["training"]
    if training["cpu_threads"]:
        prepare_cpu(training["cpu_threads"])
    accelerator = Accelerator(cpu=training["use_cpu"], mixed_precision=_precision(training))
    wait_for_all()  # the main process reports between two runs
    arguments = DataArguments(**facts["data"])
    data = arguments.load()
    size = tuple(arguments.image_size or data.image_size)
    protocol = arguments.build_protocol(data.protocol, size, tuple(arguments.crop_size))
    if str(protocol) != facts["protocol"]:
        raise ValueError(
            f"{folder} was scored by {facts['protocol']}, which is now called {protocol}."
        )
    with lock_folder(folder) if accelerator.is_main_process else nullcontext():
        splits = {}
        for split, reported in _scored(facts).items():
            students = {
                name: _count(folder / name, split, protocol, data, accelerator, scores.mean_iou)
                for name, scores in reported.students.items()
            }
            splits[split] = SplitCounts(data.samples(split, transform=None).names(), students)
        if accelerator.is_main_process:
            save_counts(folder, data.class_names, splits)


def _count(
    student: Path,
    split: str,
    protocol: Protocol,
    data: SegmentationData,
    accelerator: Accelerator,
    reported: float,
) -> np.ndarray:
    """The counts of a saved student, uint32 (N, K, K).

    ValueError if its mIoU is not what was reported.
    """
    scores, counts = Scorer(saved_students(str(student)), data, accelerator).score(split, protocol)[
        student.name
    ]
    if scores is None or abs(scores.mean_iou - reported) > TOLERANCE:
        scored = "nothing" if scores is None else f"{100 * scores.mean_iou:.2f} %"
        raise ValueError(
            f"{student} scores {scored} on {split}, but its run reported "
            f"{100 * reported:.2f} %. Is {data} what it was scored on?"
        )
    return counts.dense()


def _scored(facts: Mapping[str, Any]) -> dict[str, Evaluation]:
    """The scores that a run reported at its end, by split; "eval" are those of the validation set
    while it trained.
    """
    scored = evaluations_from_json(facts["scores"])
    return {split: evaluation for split, evaluation in scored.items() if split != "eval"}


def _precision(training: Mapping[str, Any]) -> str:
    return "bf16" if training["bf16"] else "fp16" if training["fp16"] else "no"
