"""A grid of runs, method x pair x seed: what it is made of, and running what of it is not finished
yet.
"""

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arguments.recipes import arguments_of, differences_in, options_in
from ...base.files import read_json, reason_of_file, write_whole
from ...methods import METHODS, options_of
from ...metrics.scores import Evaluation, evaluations_from_json
from ...publishing.card import RECORD_FILE
from ...training.checkpoints import checkpoints_of, problem_of, step_of, trained_steps
from ...training.locks import lock_folder
from ..files import is_drawn
from .paper import VANILLA, Row, students_of

CELL_FILE = "cell.json"  # in the folder of a finished cell: how it was run
GRID_FILE = "grid.json"  # in a grid's folder: what it is made of
OLD_GRID_FILE = "config.json"  # what it was called once, which made the folder look like a model's
COMMON = "arguments of every run"  # in either
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
LONGEST_NAME = 120  # characters of a file or folder


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


@dataclass(frozen=True)
class Grid:
    """Rows x pairs x seeds, in the order in which they run: vanilla first, which teaches and is the
    control.

    Args:
        folder: where all goes, and nothing outside it; a cell is in PAIR/seed-SEED/ROW.
        rows: the methods, of distinct titles, the first of them vanilla.
        common: arguments of every run, such as --recipe and --data_dir.
        left_out: folders of cells that a report takes as not finished, since they are damaged.
    """

    folder: Path
    rows: tuple[Row, ...]
    pairs: tuple[str, ...]
    seeds: tuple[int, ...]
    common: tuple[str, ...]
    left_out: frozenset[Path] = frozenset()

    def __post_init__(self):
        for pair in self.pairs:
            students_of(pair)  # says what is wrong with it
        names = [folder_name(row) for row in self.rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"Methods must differ: {', '.join(repeated)} occurs more than once.")
        if self.rows[0] != VANILLA:
            raise ValueError(
                "The first row of a grid is vanilla: it is the control, and trains the teachers."
            )

    def cells(self) -> Iterator[Cell]:
        for pair in self.pairs:
            for seed in self.seeds:
                for row in self.rows:
                    yield self.cell(row, pair, seed)

    def cell(self, row: Row, pair: str, seed: int) -> Cell:
        of_seed = self.folder / safe_name(pair) / f"seed-{seed}"
        folders = {row: of_seed / folder_name(row) for row in (row, VANILLA)}
        own = shlex.split(row.arguments)
        needs_teachers = row.method in METHODS and options_of(row.method).TEACHERS == "needed"
        if needs_teachers and "--teachers" not in own:
            own += ["--teachers", str(folders[VANILLA])]
        if row != VANILLA:
            own += ["--control", str(folders[VANILLA])]
        arguments = (*self.common, "--students", *students_of(pair), "--seed", str(seed), *own)
        return Cell(row, pair, seed, folders[row], arguments, folders[row] in self.left_out)

    def control_of(self, cell: Cell) -> Cell:
        """The vanilla run of the same pair and seed."""
        return self.cell(VANILLA, cell.pair, cell.seed)

    def save(self, **facts: Any) -> None:
        """Writes down what the grid is made of.

        ValueError if the folder holds one of other runs.
        """
        config = {
            "methods": {row.title: row.arguments for row in self.rows},
            "pairs": self.pairs,
            "seeds": self.seeds,
            COMMON: self.common,
            **facts,
        }
        with lock_folder(self.folder, timeout=10):
            self.check()
            write_whole(self.folder / GRID_FILE, json.dumps(config, indent=2) + "\n")
            if _common_in(self.folder / OLD_GRID_FILE) is not None:
                (self.folder / OLD_GRID_FILE).unlink()

    def check(self) -> None:
        """ValueError if the folder holds a grid of other runs."""
        before = self._recorded()
        others = differences_in(before or (), options_in(self.common))
        if before is not None and others and any(self.folder.glob("**/seed-*")):
            raise ValueError(
                f"{self.folder} holds a grid of other runs. It differs by "
                f"{', '.join(others)}. Give the same, or another --output_dir."
            )

    def _recorded(self) -> list[tuple[str, ...]] | None:
        """The common arguments of the grid in the folder; None if it holds none."""
        recorded = _common_in(self.folder / GRID_FILE)
        return _common_in(self.folder / OLD_GRID_FILE) if recorded is None else recorded


def named(cells: Sequence[Cell]) -> str:
    """`CTCL (resnet18+mit-b0, seeds 42 43); ...`"""
    seeds_of: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        seeds_of.setdefault((cell.row.title, cell.pair), []).append(str(cell.seed))
    return "; ".join(
        f"{title} ({pair}, seed{'s' if len(seeds) > 1 else ''} {' '.join(seeds)})"
        for (title, pair), seeds in seeds_of.items()
    )


def read_grid(folder: Path) -> tuple[Grid, dict[str, Any]]:
    """The grid that `Grid.save` wrote down in a folder, and all that stands there: "table",
    "block_length", ...
    """
    # Grids did not always say both.
    facts = {"table": None, "block_length": 10} | read_json(folder / GRID_FILE)
    rows = tuple(Row(title, arguments) for title, arguments in facts["methods"].items())
    return Grid(
        folder, rows, tuple(facts["pairs"]), tuple(facts["seeds"]), tuple(facts[COMMON])
    ), facts


def _common_in(path: Path) -> list[tuple[str, ...]] | None:
    """The common arguments in a grid's file, without the token that old ones may hold; None if it
    is no grid's.
    """
    if not path.is_file():
        return None
    try:
        common = read_json(path).get(COMMON)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}). Move it away, or give another --output_dir."
        ) from None
    return (
        None
        if common is None
        else [option for option in options_in(common) if option[0] != "--hub_token"]
    )


def folder_name(row: Row) -> str:
    """`--method ctcl --kl_direction reverse` -> `ctcl-kl_direction-reverse`."""
    name = re.sub(r"[^\w.]+", "-", row.arguments.replace("--method", "").replace("--", "")).strip(
        "-"
    )
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{_digest(row.arguments)}"


def safe_name(text: str) -> str:
    """A name for a file or folder that is no path: `a/b+c` -> `a-b+c-` and a hash, by which it
    differs from `a-b+c`.
    """
    name = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.")
    return (
        name
        if name == text and len(name) <= LONGEST_NAME
        else f"{name[:LONGEST_NAME]}-{_digest(text)}"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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
