"""What `ctcl-hf compare --launch` says: of the runs of a grid that an engine runs."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..arguments.launch import Launch
from ..base.tables import counted
from ..runs.comparison.cell import Cell
from ..runs.comparison.grid import GRID_FILE, Grid, read_grid
from ..runs.launch.engine import Record, engine_of
from ..runs.launch.launching import launch as launch_cells
from ..runs.launch.launching import stop
from ..runs.launch.page import Page
from ..runs.launch.states import State
from .ending import fail, told

# What runs a cell in a process of its own.
TRAIN = (sys.executable, "-m", "ctcl_hf.cli.train")

INTERRUPTED_HERE = "They have stopped. The same command goes on."
INTERRUPTED = (
    "The jobs go on. The same command follows them and starts what is left, --launch_status shows "
    "them, --launch_cancel stops them."
)


def run_launched(
    grid: Grid, cells: Sequence[Cell], launch: Launch, report: Callable[[], object]
) -> None:
    """Has an engine run cells, shows how they are doing, and reports whenever one is finished.

    Exits with what went wrong, once all that could be run has been.
    """
    page, done = Page(), set[Cell]()

    def show(states: Mapping[Cell, State]) -> None:
        page.show(states)
        finished = {cell for cell, state in states.items() if state.kind == "done"}
        if finished - done:
            done.update(finished)
            report()

    def on_stop(stopping: Sequence[Cell]) -> None:
        page.leave()
        runs = counted(len(stopping), "run")
        print(f"\nStopping {runs}, which save a checkpoint first.", file=sys.stderr, flush=True)

    # which stops those of this machine first
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    errors = (ValueError, OSError, ImportError)
    with told(*errors), Record.being_written(grid.folder, launch) as record:
        engine = engine_of(record, TRAIN)
        done.update(cell for cell in grid.cells() if cell.is_complete)
        try:
            problems = launch_cells(grid, cells, record, engine, show, on_stop)
        except KeyboardInterrupt:
            print(INTERRUPTED_HERE if engine.is_here else INTERRUPTED, file=sys.stderr)
            raise
    if problems:
        fail(f"{len(problems)} of {len(cells)} runs are not finished.\n{told_problems(problems)}")


def told_problems(problems: Mapping[Cell, str]) -> str:
    """A line for each run that is not finished: why, and where its log is."""
    return "\n".join(
        f"{cell.title}: {problem}" + (f" ({cell.log_file})" if cell.log_file.is_file() else "")
        for cell, problem in problems.items()
    )


@told(ValueError, OSError)
def prepared(launch: Launch | None, folder: Path, words: Sequence[str]) -> Launch | None:
    """The launch, once nothing is known to stand in its way.

    Args:
        words: what the runs of the grid are given.
    """
    if launch is None or launch.engine != "hf_jobs":
        return launch
    from ..runs.launch.hub_engine import prepared as prepared_for_hub

    return prepared_for_hub(launch, folder, words)


@told(ValueError, OSError)
def fetch(folder: Path) -> None:
    """Brings what the jobs of a grid have written to its folder, where that lies elsewhere."""
    record = Record.read(folder)
    if record is not None and record.launch.engine == "hf_jobs":
        engine_of(record, TRAIN).look(())


@told(ValueError, OSError, ImportError)
def follow(folder: Path, cancels: bool) -> None:
    """Shows how the runs in a grid's folder are doing, once they were told to stop if they are
    to.
    """
    record = Record.read(folder) if (folder / GRID_FILE).is_file() else None
    if record is None:
        raise ValueError(f"{folder} holds no grid with --launch. Give the --output_dir of one.")
    grid, _ = read_grid(folder)
    try:
        engine = engine_of(record, TRAIN)
    except (OSError, ImportError):  # of another machine, whose files tell enough
        if cancels:
            raise
        engine = None
    page = Page()
    if cancels:
        stop(grid, record, engine, page.show)
    else:
        page.show(record.states(grid, engine))
