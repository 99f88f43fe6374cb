"""One run of a grid: where it lies, whether it is finished, and what it holds."""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arguments.recipes import arguments_of, options_in
from ...base.files import read_json, reason_of_file, write_whole
from ...metrics.scores import Evaluation, evaluations_from_json
from ...publishing.card import RECORD_FILE
from ...training.checkpoints import checkpoints_of, problem_of, step_of, trained_steps
from ...training.locks import lock_folder
from ..files import CELL_FILE, is_drawn
from .names import folder_name
from .paper import VANILLA, Row

# What says where a run lies and how it is run, and not what it is.
CIRCUMSTANCES = {
    "--output_dir",
    "--resume_from_checkpoint",
    "--control",
    "--cpu_threads",
    "--hub_token",
    "--cache_teacher",
}
# what to do about a cell's damaged file, where the run need not be made again
WAYS_ON = {
    "results.json": "Delete it: the grid's command scores the run's students again.",
    CELL_FILE: "Delete it: how many minutes the run took is lost alone.",
}


@dataclass(frozen=True)
class Cell:
    """One run."""

    row: Row
    pair: str
    seed: int
    folder: Path
    # of `ctcl-hf train`, but for --output_dir and --resume_from_checkpoint
    arguments: tuple[str, ...]
    is_left_out: bool = False  # of a report, which takes it as not finished: it is damaged

    @property
    def title(self) -> str:
        return f"{self.row.title}, {self.pair}, seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether a grid has run it to its end, or `ctcl-hf train` has by itself, and its scores
        are there: without them the same command scores its students again.
        """
        if self.is_left_out:
            return False
        if all((self.folder / file).is_file() for file in (CELL_FILE, "results.json")):
            return True
        command = self._command_of_results()
        return command is not None and _identity(arguments_of(command)) == _identity(self.arguments)

    @property
    def is_complete(self) -> bool:
        """Whether it is finished, and no more is to be made of it: a run that was killed once its
        scores were written may lack pictures. Runs of versions without a record are taken as they
        are.
        """
        if (self.folder / CELL_FILE).is_file() or not (self.folder / RECORD_FILE).is_file():
            return self.is_finished
        return self.is_finished and is_drawn(self.folder)

    @property
    def log_file(self) -> Path:
        """What a run in a process of its own prints: beside its folder, which is the run's
        alone.
        """
        return self.folder.parent / f"{self.folder.name}.log"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from: a checkpoint, or what a training left at its
        end.
        """
        return self.step is not None

    @property
    def step(self) -> int | None:
        """The step from which it would go on; None where it would begin."""
        checkpoints = [path for path in checkpoints_of(self.folder) if problem_of(path) is None]
        return trained_steps(self.folder) or (step_of(checkpoints[-1]) if checkpoints else None)

    def read(self, file: str) -> Any:
        """A JSON file of the cell: results.json, trainer_state.json, cell.json.

        ValueError, if it is damaged, says what to do.
        """
        try:
            return read_json(self.folder / file)
        except ValueError as error:
            way_on = WAYS_ON.get(file, f"Move {self.folder} away, to run it again.")
            raise ValueError(f"{error} {way_on}") from error

    def damage(self) -> str | None:
        """What a report cannot read of a finished cell, and what to do; None if it can, or if the
        cell is not finished.
        """
        try:
            if self.is_finished:
                self.facts()
                self.student_names()
                self.read("trainer_state.json")["log_history"]
        except OSError as error:
            return (
                f"{error.filename}: {reason_of_file(error)}. Move {self.folder} away, to run it "
                "again."
            )
        except ValueError as error:
            return str(error)
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            return (
                f"{self.folder} holds a file that no run writes ({type(error).__name__}: {error}). "
                "Move it away, to run it again."
            )
        return None

    def evaluations(self) -> dict[str, Evaluation]:
        """What a finished cell's students scored, by split; "eval" is the validation set while it
        trained.
        """
        return evaluations_from_json(self.read("results.json")["scores"])

    def student_names(self) -> tuple[str, ...]:
        """The names of the students in a finished cell's results, in order."""
        return tuple(next(iter(self.evaluations().values())).students)

    def student_titles(self) -> tuple[str, ...]:
        """What tables call the students of a finished cell: `cnn (mobilenetv2)`, as the pair
        says.
        """
        return tuple(
            f"{name} ({of})"
            for name, of in zip(self.student_names(), self.pair.split("+"), strict=True)
        )

    def command(self) -> str:
        """The command line that runs this cell alone."""
        options = [*self.arguments, "--output_dir", str(self.folder)]
        return f"ctcl-hf train {shlex.join(options)}"

    def run_arguments(self) -> list[str]:
        """The arguments of `ctcl-hf train` that run this cell, or go on with it from its last
        checkpoint.
        """
        resume = ("--resume_from_checkpoint", "auto") if self.has_checkpoint else ()
        return [*self.arguments, "--output_dir", str(self.folder), *resume]

    def finish(self, minutes: float, resumed: bool, jobs: int) -> None:
        """Marks the run as the finished one of this cell, and deletes its checkpoints: the students
        are saved.

        Whoever calls this holds the folder's lock.
        """
        facts = {"command": self.command(), "minutes": minutes, "resumed": resumed, "jobs": jobs}
        write_whole(self.folder / CELL_FILE, json.dumps(facts, indent=2) + "\n")
        self._delete_checkpoints()

    def tidy(self) -> None:
        """Deletes the checkpoints of a cell that was marked as finished by a grid which was killed
        then.

        OSError if another run holds the folder's lock.
        """
        if (self.folder / CELL_FILE).is_file() and checkpoints_of(self.folder):
            with lock_folder(self.folder):
                self._delete_checkpoints()

    def _delete_checkpoints(self) -> None:
        for checkpoint in checkpoints_of(self.folder):
            shutil.rmtree(checkpoint)  # those of a large grid would fill the disk

    def check(self) -> None:
        """ValueError if the folder holds the results of another run, which no grid has marked as
        this cell's.
        """
        command = None if (self.folder / CELL_FILE).is_file() else self._command_of_results()
        if command is not None and _identity(arguments_of(command)) != _identity(self.arguments):
            raise ValueError(
                f"{self.folder} holds a finished run of other arguments ({command}) than this "
                f"grid's ({shlex.join(self.arguments)}). Move it away, or give another "
                "--output_dir."
            )

    def facts(self) -> dict[str, Any]:
        """How the cell was run: its "command", "minutes", whether it was "resumed", and "jobs"
        beside each other.

        Of a run that no grid has marked, the minutes are those of its training, as far as it was
        not interrupted.
        """
        if (self.folder / CELL_FILE).is_file():
            return {"jobs": 1} | self.read(CELL_FILE)
        history = self.read("trainer_state.json")["log_history"]
        runtimes = [log["train_runtime"] for log in history if "train_runtime" in log]
        return {
            "command": self.command(),
            "minutes": sum(runtimes[-1:]) / 60,
            "resumed": True,
            "jobs": 1,
        }

    def _command_of_results(self) -> str | None:
        """The command line that the results in the folder are of; None if there are none."""
        return (
            self.read("results.json")["command"]
            if (self.folder / "results.json").is_file()
            else None
        )


def named(cells: Sequence[Cell]) -> str:
    """`CTCL (resnet18+mit-b0, seeds 42 43); ...`"""
    seeds_of: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        seeds_of.setdefault((cell.row.title, cell.pair), []).append(str(cell.seed))
    return "; ".join(
        f"{title} ({pair}, seed{'s' if len(seeds) > 1 else ''} {' '.join(seeds)})"
        for (title, pair), seeds in seeds_of.items()
    )


def _identity(arguments: Sequence[str]) -> list[tuple[str, ...]]:
    """What says which run it is, in an order of its own.

    Teachers of the grid's own are its vanilla run of this pair and seed, wherever the grid lies.
    """
    return sorted(
        option
        for option in options_in(arguments)
        if option[0] not in CIRCUMSTANCES
        and not (option[0] == "--teachers" and Path(option[-1]).name == folder_name(VANILLA))
    )
