"""Running a cell of a grid in this process."""

import time

from ...arguments.recipes import parse_arguments
from .cell import Cell


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
