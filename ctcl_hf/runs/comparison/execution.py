"""Running a grid's cells: one after the other in this process, or several at a time in processes of
their own.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from ...arguments.recipes import parse_arguments
from ...training.cpu import threads_of_environment
from ...training.locks import lock_folder
from .grid import Cell, Grid
from .paper import VANILLA


def run_here(cell: Cell) -> bool:
    """Runs a cell in this process, and in the others that it was launched with. False if a signal
    stopped it.

    The folder is locked until all of the run is written. What another run wrote there is never
    deleted.

    Raises:
        ValueError, OSError, FloatingPointError: as `ctcl_hf.runs.run`; if another grid has finished
            the cell meanwhile.
    """
    from ..run import complete, prepare  # not before its arguments are known to be good

    start, resumes = time.monotonic(), cell.has_checkpoint
    run = prepare(parse_arguments("", cell.run_arguments()))
    with run.trainer.holding_output_folder():
        if cell.is_complete:
            raise OSError(
                f"Another grid has finished {cell.folder} meanwhile. The same command goes on with "
                "the rest."
            )
        if not complete(run):
            return False
        if run.trainer.is_world_process_zero():
            cell.finish((time.monotonic() - start) / 60, resumes, jobs=1)
    run.trainer.accelerator.free_memory()
    return True


def run_apart(
    grid: Grid,
    cells: Sequence[Cell],
    jobs: int,
    program: Sequence[str],
    on_change: Callable[[Sequence[Cell], Sequence[Cell]], None],
    on_stop: Callable[[Sequence[Cell]], None] = lambda stopping: None,
) -> dict[Cell, str]:
    """Runs cells in processes of their own, `jobs` at a time, and each after the vanilla run of its
    pair and seed.

    What a cell prints is in its `log_file`. Where cells do not say how many threads they take, the
    cores are shared. If this process is interrupted (KeyboardInterrupt, or what a signal handler
    raises), the others save and stop.

    Args:
        cells: those to run, of the grid.
        program: the words of a command line that trains, before the arguments of the run.
        on_change: is given the cells that are running, and those that have ended since it was last
            called.
        on_stop: is given, at once where this process is interrupted, the cells that save and stop.

    Returns:
        why not, by cell, of those that are not finished.
    """
    threads = max((os.cpu_count() or 1) // jobs, 1)
    waiting = list(cells)
    failures = {}
    running: dict[Future, Process] = {}
    ended: list[Cell] = []
    with ThreadPoolExecutor(jobs) as pool:  # which waits for the processes, and does nothing else
        try:
            while waiting or running:
                for cell in tuple(waiting):
                    control = grid.control_of(cell)
                    if cell.row != VANILLA and control in failures:
                        failures[cell] = "its vanilla run is not finished"
                        waiting.remove(cell)
                    elif len(running) < jobs and (cell.row == VANILLA or control.is_finished):
                        process = Process(cell, jobs, threads, program)
                        running[pool.submit(process.popen.wait)] = process
                        waiting.remove(cell)
                on_change([process.cell for process in running.values()], ended)
                ended = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    process = running.pop(future)
                    if problem := process.finish():
                        failures[process.cell] = problem
                    ended.append(process.cell)
            on_change([], ended)
        except BaseException:
            for process in running.values():
                process.popen.terminate()  # it saves and stops
            on_stop([process.cell for process in running.values()])
            raise
    return failures


class Process:
    """A cell that runs in a process of its own."""

    def __init__(self, cell: Cell, jobs: int, threads: int, program: Sequence[str]):
        self.cell = cell
        self.jobs = jobs
        self.told = cell  # what its command says
        if "--cpu_threads" not in cell.arguments and threads_of_environment() is None:
            self.told = replace(cell, arguments=(*cell.arguments, "--cpu_threads", str(threads)))
        self.resumes = cell.has_checkpoint
        self.start = time.monotonic()
        cell.log_file.parent.mkdir(parents=True, exist_ok=True)
        with cell.log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                [*program, *self.told.run_arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the keyboard reaches it through us alone
            )

    def finish(self) -> str | None:
        """Marks the cell as finished, once the process has ended; or returns why it is not."""
        if self.popen.returncode:
            return f"ended with status {self.popen.returncode}: {self.cell.log_file} says why"
        try:
            with lock_folder(self.cell.folder):
                if not (self.cell.folder / "results.json").is_file():
                    return "stopped by a signal: the same command goes on"
                self.told.finish((time.monotonic() - self.start) / 60, self.resumes, self.jobs)
        except OSError as error:
            return str(error)
        return None
