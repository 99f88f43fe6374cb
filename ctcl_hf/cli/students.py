"""What a command is given as students, and what is said where a folder holds none."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.heartbeat import alive
from .ending import hide_bars_without_terminal

if TYPE_CHECKING:
    from ..students import Student


def refuse_without_students(name: str) -> None:
    """ValueError says what to give in place of a file, or of a folder without students, such as
    that of a comparison, of a run that goes on, or of several runs; a student's folder, that of a
    run with students, and what is not there pass.
    """
    folder = Path(name)
    if folder.is_file():
        raise ValueError(f"{name} is a file: give the folder of a student.")
    if not folder.is_dir() or (folder / "config.json").is_file() or students_of_run(folder):
        return
    # Imported where a folder is not what was meant: it takes a second.
    from ..publishing.card import RECORD_FILE
    from ..runs.comparison.grid import GRID_FILE
    from ..training.checkpoints import checkpoints_of

    if (folder / GRID_FILE).is_file():
        found = [
            student for run in sorted(folder.glob("*/seed-*/*")) for student in students_of_run(run)
        ]
        raise ValueError(
            f"{name} is the folder of a comparison: "
            + (
                f"give a student of one of its runs, such as {found[0]}."
                if found
                else "none of its runs is finished yet. The same `ctcl-hf compare` goes on."
            )
        )
    checkpoints = [path for path in checkpoints_of(folder) if students_of_run(path)]
    if checkpoints or (folder / RECORD_FILE).is_file():
        until_then = "There is no checkpoint either."
        if checkpoints:
            until_then = f"Until then there are those of a checkpoint: give {checkpoints[-1]}."
        raise ValueError(
            f"{name} holds no students yet: they are there once the run is trained to its end "
            f"(--resume_from_checkpoint auto goes on). {until_then}"
        )
    if runs := sorted(path.parent for path in folder.glob(f"*/{RECORD_FILE}")):
        raise ValueError(
            f"{name} holds runs, and is none: give one, such as {runs[0]}, or one of its students."
        )
    what = "holds no config.json" if any(folder.iterdir()) else "is an empty folder"
    raise ValueError(
        f"{name} {what}: give the folder of a student, such as runs/camvid-paper-ctcl/cnn, or that "
        "of its run."
    )


def named_students(names: Sequence[str]) -> "dict[str, Student]":
    """The student of one name, those of a run of one name, or one each of several names; by their
    own names.

    ValueError or OSError: there are none, or one is given twice.
    """
    paths = [Path(name).resolve() for name in names]
    if twice := [name for name, path in zip(names, paths, strict=True) if paths.count(path) > 1]:
        raise ValueError(f"{twice[0]} is given twice: give each model once")
    with alive("starting"):  # it takes seconds, on a busy machine a minute
        from ..scoring.scorer import saved_students

        hide_bars_without_terminal()
        found = [saved_students(name) for name in names]
    if len(names) > 1 and max(map(len, found)) > 1:
        raise ValueError(f"{' '.join(names)}: expected a student each, and no run")
    students = {own: student for of in found for own, student in of.items()}
    if len(students) < len(names):  # several are called cnn
        students = dict(zip(names, (of for own in found for of in own.values()), strict=True))
    return students


def students_of_run(run: Path) -> list[Path]:
    """The students' folders in that of a run or of a checkpoint, in the order of their names."""
    return sorted(path.parent for path in run.glob("*/config.json"))
