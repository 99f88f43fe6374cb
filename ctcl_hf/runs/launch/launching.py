"""Launching a grid: vanilla first, then what needs it, until nothing is left to be done."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from ..comparison.cell import Cell
from ..comparison.grid import Grid
from ..comparison.paper import VANILLA
from .engine import Engine, Record
from .states import ENDED, IN_FLIGHT, State

Show = Callable[[Mapping[Cell, State]], None]


def launch(
    grid: Grid,
    cells: Sequence[Cell],
    record: Record,
    engine: Engine,
    show: Show,
    on_stop: Callable[[Sequence[Cell]], None] = lambda stopping: None,
) -> dict[Cell, str]:
    """Has an engine run cells of a grid, each after the vanilla run of its pair and seed.

    Jobs of an earlier launch that are still queued or running are left to themselves. Where this
    process is interrupted (KeyboardInterrupt, or what a signal handler raises), jobs of this
    machine save and stop; those of a cluster go on.

    Args:
        cells: those to run, of the grid.
        show: is given how all runs of the grid are doing, again and again.
        on_stop: is given, at once where this process is interrupted, the cells that save and stop.

    Returns:
        why not, by cell, of those that are not finished.
    """
    for cell, state in record.states(grid, engine).items():
        if state.kind in ENDED:
            record.forget(cell)
            engine.forget(cell)
    try:
        while True:
            states = record.states(grid, engine)
            show(states)
            submitted = _submit_ready(grid, cells, states, record, engine)
            if not submitted and not any(states[cell].kind in IN_FLIGHT for cell in cells):
                return _problems(grid, cells, states)
            if not submitted:
                time.sleep(engine.interval)
    except BaseException:
        if engine.is_here:
            states = record.states(grid, engine)
            on_stop([cell for cell, state in states.items() if state.kind in IN_FLIGHT])
            stop(grid, record, engine, show)
        raise


def stop(grid: Grid, record: Record, engine: Engine, show: Show) -> None:
    """Stops all jobs of a grid; returns when those of this machine have ended, and with a cluster
    once it was told.
    """
    while True:
        states = record.states(grid, engine)
        show(states)
        jobs = [record.job_of(cell) for cell, state in states.items() if state.kind in IN_FLIGHT]
        for job in filter(None, jobs):
            engine.cancel(job)  # again, for one that began only now
        if not jobs or not engine.is_here:
            return
        time.sleep(engine.interval)


def _submit_ready(
    grid: Grid, cells: Sequence[Cell], states: Mapping[Cell, State], record: Record, engine: Engine
) -> bool:
    """Starts what may start now; whether there was any."""
    waiting = [cell for cell in cells if states[cell].kind == "waiting"]
    batches: dict[str | None, list[Cell]] = defaultdict(list)  # by the job that they come after
    for cell in waiting:
        control = grid.control_of(cell)
        if cell.row == VANILLA or states[control].kind == "done":
            batches[None].append(cell)
        elif engine.orders and states[control].kind in IN_FLIGHT:
            batches[record.job_of(control)].append(cell)
    if record.launch.at_once:
        in_flight = sum(state.kind in IN_FLIGHT for state in states.values())
        batches[None] = batches[None][: max(record.launch.at_once - in_flight, 0)]
    batches = {after: batch for after, batch in batches.items() if batch}
    for after, batch in batches.items():
        record.add(batch, engine.submit(batch, after))
        record.save()
    return bool(batches)


def _problems(grid: Grid, cells: Sequence[Cell], states: Mapping[Cell, State]) -> dict[Cell, str]:
    problems = {cell: states[cell].words for cell in cells if states[cell].kind in ENDED}
    for cell in cells:
        if states[cell].kind == "waiting":
            problems[cell] = "its vanilla run is not finished"
    return problems
