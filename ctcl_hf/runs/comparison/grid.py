"""A grid of runs, method x pair x seed: what it is made of, and running what of it is not finished yet."""

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...training.checkpoints import checkpoints_of, problem_of
from .paper import VANILLA, Row, students_of

CELL_FILE = "cell.json"  # in the folder of a finished cell: how it was run
GRID_FILE = "config.json"  # in a grid's folder: what it is made of


@dataclass(frozen=True)
class Cell:
    """One run."""

    row: Row
    pair: str
    seed: int
    folder: Path
    arguments: tuple[str, ...]  # of `ctcl-hf train`, but for --output_dir and --resume_from_checkpoint

    @property
    def title(self) -> str:
        return f"{self.row.title}, {self.pair}, seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        return (self.folder / CELL_FILE).is_file()

    @property
    def has_checkpoint(self) -> bool:
        return any(problem_of(path) is None for path in checkpoints_of(self.folder))

    def read(self, file: str) -> Any:
        """A JSON file of the cell: results.json, trainer_state.json, cell.json."""
        return json.loads((self.folder / file).read_text())

    def command(self) -> str:
        """The command line that runs this cell alone."""
        options = [*self.arguments, "--output_dir", str(self.folder)]
        return f"ctcl-hf train {shlex.join(options)}"


@dataclass(frozen=True)
class Grid:
    """Rows x pairs x seeds, in the order in which they run: vanilla first, which teaches and is the control.

    Args:
        folder: where all goes; a cell is in PAIR/seed-SEED/ROW.
        rows: the methods, of distinct titles, the first of them vanilla.
        common: arguments of every run, such as --recipe and --data_dir.
    """

    folder: Path
    rows: tuple[Row, ...]
    pairs: tuple[str, ...]
    seeds: tuple[int, ...]
    common: tuple[str, ...]

    def __post_init__(self):
        for pair in self.pairs:
            students_of(pair)  # says what is wrong with it
        names = [folder_name(row) for row in self.rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"Methods must differ: {', '.join(repeated)} occurs more than once.")
        if self.rows[0] != VANILLA:
            raise ValueError("The first row of a grid is vanilla: it is the control, and trains the teachers.")

    def cells(self) -> Iterator[Cell]:
        for pair in self.pairs:
            for seed in self.seeds:
                for row in self.rows:
                    yield self.cell(row, pair, seed)

    def cell(self, row: Row, pair: str, seed: int) -> Cell:
        folders = {row: self.folder / pair / f"seed-{seed}" / folder_name(row) for row in (row, VANILLA)}
        own = shlex.split(row.arguments)
        if "offline_kd" in own and "--teachers" not in own:
            own += ["--teachers", str(folders[VANILLA])]
        if row != VANILLA:
            own += ["--control", str(folders[VANILLA])]
        arguments = (*self.common, "--students", *students_of(pair), "--seed", str(seed), *own)
        return Cell(row, pair, seed, folders[row], arguments)

    def save(self, **facts: Any) -> None:
        """Writes down what the grid is made of. ValueError if the folder holds one of other runs."""
        path = self.folder / GRID_FILE
        config = {
            "methods": {row.title: row.arguments for row in self.rows},
            "pairs": self.pairs,
            "seeds": self.seeds,
            "arguments of every run": self.common,
            **facts,
        }
        if path.is_file() and any(self.folder.glob("*/seed-*")):
            before = json.loads(path.read_text())["arguments of every run"]
            if before != list(self.common):
                raise ValueError(
                    f"{self.folder} holds a grid of other runs: {shlex.join(before) or 'no arguments'}, here "
                    f"{shlex.join(self.common) or 'none'}. Give those, or another --output_dir."
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=2) + "\n")


def folder_name(row: Row) -> str:
    """`--method ctcl --kl_direction reverse` -> `ctcl-kl_direction-reverse`."""
    return re.sub(r"[^\w.]+", "-", row.arguments.replace("--method", "").replace("--", "")).strip("-")


def run_cell(cell: Cell, run: Callable[[Sequence[str]], None], is_main_process: bool) -> None:
    """Runs a cell, from its last checkpoint if it has one. `run` is given the arguments of `ctcl-hf train`."""
    resumes = cell.has_checkpoint
    if is_main_process and not resumes and cell.folder.is_dir():
        shutil.rmtree(cell.folder)  # it ended before its first checkpoint: there is nothing to go on from
    start = time.monotonic()
    run([*cell.arguments, "--output_dir", str(cell.folder), *(("--resume_from_checkpoint", "auto") if resumes else ())])
    if is_main_process:
        facts = {"command": cell.command(), "minutes": (time.monotonic() - start) / 60, "resumed": resumes}
        (cell.folder / CELL_FILE).write_text(json.dumps(facts, indent=2) + "\n")
        for checkpoint in cell.folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)  # the students are saved; those of a large grid would fill the disk
