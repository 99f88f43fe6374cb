"""Run methods, pairs and seeds side by side, and tabulate them as the paper does. Run again, it
goes on.

ctcl-hf compare --table 3 --recipe cpu --seeds 3
ctcl-hf compare --methods dml "ctcl --no_hfd" "mine.py:MyLoss --flag 3" --recipe demo
ctcl-hf compare --methods dml ctcl --pair resnet18+mit-b0 --dataset_name photos
ctcl-hf compare --table 3 --launch slurm --launch_time 240
ctcl-hf compare --launch_status --output_dir runs/table-3
ctcl-hf compare --paper_table 3

Every argument of `ctcl-hf train` is taken as well, and goes to every run.
"""

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from ..arguments.launch import Launch, launch_of
from ..base.files import check_place
from ..base.heartbeat import alive
from ..runs.comparison.cell import Cell, named
from ..runs.comparison.execution import run_here
from ..runs.comparison.grid import GRID_FILE, Grid, read_grid
from ..runs.comparison.paper import TABLES, Table
from .ending import fail, told
from .grid_arguments import folder_of, grid_of, parse, seeds_of
from .launched import fetch, follow, prepared, run_launched


@told()
def main() -> None:
    """Runs what is missing of the grid that the command line says, and reports on all of it."""
    options, common = parse(__doc__)
    folder = folder_of(options)
    if options.paper_table:
        from ..runs.comparison import budget

        table, seeds = TABLES[options.paper_table], seeds_of(options)
        print(budget.requirements(table, folder, tuple(common), seeds, options.sustained_tflops))
        return
    if options.launch_status or options.launch_cancel:
        follow(folder, cancels=options.launch_cancel)
        return
    launch = prepared(
        launch_of(options), folder, [*common, *options.methods, *(options.pair or ())]
    )
    if options.report_only:
        fetch(folder)
    try:
        with alive("starting"):
            check_place("--output_dir", folder)
            grid = make_ready(grid_of(options, common), options)
    except (ValueError, OSError) as error:
        fail(error)
    from ..runs.comparison.recount import make_counts
    from ..runs.comparison.report import write_tables

    table = TABLES.get(options.table)

    def write_report() -> str | None:
        try:
            return write_tables(grid, table, options.block_length) if _is_main_process() else None
        except ValueError as error:  # runs that cannot be compared
            fail(error)

    if not options.report_only:
        try:
            run(grid, launch, write_report)
        except KeyboardInterrupt:
            if _is_main_process():
                print("The same command goes on.")
            raise
    for problem in make_counts(grid):
        print(f"{problem} Its rows have no interval over images.", file=sys.stderr)
    if _is_main_process():
        print(f"\n{write_report()}")
        for path in draw(grid, table, options.block_length):
            print(path)


def make_ready(grid: Grid, options: argparse.Namespace) -> Grid:
    """Looks at what lies in a grid's folder, and notes there what the grid is made of.

    Returns the grid, of which a report leaves out what is damaged. ValueError or OSError says why
    it cannot go on.
    """
    from transformers.utils import logging

    from ..publishing.card import RECORD_FILE
    from ..runs.comparison.own_code import changed_code
    from ..training.record import versions

    logging.disable_progress_bar()  # of files read and written, which would break the grid's
    damages = {cell.folder: damage for cell in grid.cells() if (damage := cell.damage())}
    if damages and not options.report_only:
        raise ValueError("\n".join(damages.values()))
    if _is_main_process():
        for damage in damages.values():
            print(f"{damage} Left out.", file=sys.stderr)
    grid = replace(grid, left_out=frozenset(damages))
    cells = list(grid.cells())
    if options.report_only and not any(cell.is_finished for cell in cells):
        if (grid.folder / RECORD_FILE).is_file():
            raise ValueError(
                f"--report_only: {grid.folder} is the folder of a run: ctcl-hf report {grid.folder}"
            )
        there = _other_grid(grid.folder) if grid.folder.is_dir() else " There is no such folder."
        raise ValueError(
            f"--report_only: nothing of this grid is finished in {grid.folder}.{there}"
        )
    if changed := changed_code(cells):
        if not options.report_only:
            raise ValueError(
                f"{changed}\nMove these folders away to run them again, or give another "
                "--output_dir."
            )
        print(f"{changed}\nThe tables hold what they scored then.", file=sys.stderr)
    for cell in () if options.report_only else cells:
        cell.check()
        if _is_main_process():
            cell.tidy()
    if not _is_main_process():
        return grid
    if options.report_only and (grid.folder / GRID_FILE).is_file():
        grid.check()
        if others := _others_finished(grid):
            print(
                f"Not in these tables, and finished in {grid.folder}: {others}. --report_only "
                "without --methods, --table and --pair reports on all.",
                file=sys.stderr,
            )
        return grid
    others = _others_finished(grid) if (grid.folder / GRID_FILE).is_file() else ""
    grid.save(table=options.table, block_length=options.block_length, versions=versions())
    if others:
        print(
            f"Finished in {grid.folder}, and not among these rows: {others}. They stay, and are in "
            "none of the tables; name them in --methods to have them there.",
            file=sys.stderr,
        )
    return grid


def _others_finished(grid: Grid) -> str:
    """The finished runs of the grid that a folder's file tells of which are not of this one."""
    there, _ = read_grid(grid.folder)
    own = {cell.folder for cell in grid.cells()}
    others = [cell for cell in there.cells() if cell.folder not in own]
    return named([cell for cell in others if cell.damage() is None and cell.is_finished])


def run(grid: Grid, launch: Launch | None, report: Callable[[], object]) -> None:
    """Runs what is missing, here or by an engine, and reports after each run."""
    cells = list(grid.cells())
    if _is_main_process():
        print(f"grid: {progress_of(cells)}", flush=True)
    pending = [cell for cell in cells if not cell.is_complete]
    if launch is not None and pending:
        run_launched(grid, pending, launch, report)
        pending = []
    is_hidden = None if _is_main_process() else True  # None: without a terminal
    with tqdm(
        total=len(cells),
        initial=len(cells) - len(pending),
        unit="run",
        desc="grid",
        disable=is_hidden,
    ) as progress:

        def after_run() -> None:
            report()
            if _is_main_process() and progress.disable:  # without a terminal
                done = sum(cell.is_finished for cell in cells)
                print(f"grid: {done} of {len(cells)} runs are finished", flush=True)

        run_in_turn(pending, progress, after_run)


def progress_of(cells: Sequence[Cell]) -> str:
    """How far a grid has come, in a line."""
    begun = [
        f"{cell.title} goes on from step {cell.step}"
        for cell in cells
        if not cell.is_finished and cell.has_checkpoint
    ]
    done = f"{sum(cell.is_finished for cell in cells)} of {len(cells)} runs are finished"
    return "; ".join([done, *begun])


def _is_main_process() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


def run_in_turn(cells: Sequence[Cell], progress: tqdm, report) -> None:
    """Runs cells in this process, one after the other."""
    for cell in cells:
        if not cell.is_complete:  # by another grid, meanwhile
            progress.set_description(cell.title)
            if progress.disable and _is_main_process():  # without a terminal
                print(f"grid: {cell.title}", flush=True)
            try:
                is_finished = run_here(cell)
            except (ValueError, OSError, FloatingPointError, ImportError) as error:
                fail(error)
            if not is_finished:
                raise KeyboardInterrupt
            gc.collect()
        progress.update()
        report()


def draw(grid: Grid, table: Table | None, block_length: int) -> list[Path]:
    """Writes the figures and the page of what is finished; what cannot be drawn costs itself
    alone.
    """
    from ..figures import costing
    from ..runs.comparison import pictures
    from ..runs.page.grid import write_grid_page

    drawn: list[Path] = []
    with costing("The gains of single classes"):
        drawn += pictures.write_class_gains(grid, block_length)
    with costing("The curves"):
        drawn += pictures.write_curves(grid)
    with costing("The picture of predictions"):
        drawn += pictures.write_predictions(grid)
    with costing("The page of the comparison"):
        drawn.append(write_grid_page(grid, table, block_length))
    return drawn


def _other_grid(folder: Path) -> str:
    """Which grid a folder holds, and how it is asked for; "" if none."""
    if not (folder / GRID_FILE).is_file():
        return ""
    there, _ = read_grid(folder)
    words = ["--methods", *(row.arguments.removeprefix("--method ") for row in there.rows[1:])]
    words += ["--pair", *there.pairs, "--seed", str(there.seeds[0])]
    words += ["--seeds", str(len(there.seeds)), *there.common]
    return f" It holds another, whose arguments are: {shlex.join(words)}"


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.compare`
    sys.argv[0] = "ctcl-hf compare"
    main()
