"""A grid of runs, method x pair x seed: what it is made of, and what stands in its folder."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arguments.recipes import differences_in, options_in
from ...base.files import read_json, write_whole
from ...methods import METHODS, options_of
from ...training.locks import lock_folder
from .cell import Cell
from .names import folder_name, safe_name
from .paper import VANILLA, Row, students_of

GRID_FILE = "grid.json"  # in a grid's folder: what it is made of
OLD_GRID_FILE = "config.json"  # what it was called once, which made the folder look like a model's
COMMON = "arguments of every run"  # in either


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
