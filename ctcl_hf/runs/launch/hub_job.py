"""`python -m ctcl_hf.runs.launch.hub_job`: a run of a grid as a Job of the Hub, whose disk is gone
when it ends.

The run goes on from what lies in a mounted bucket, and what it writes to its disk is copied there:
whole files alone, since a bucket knows no locks, and renames none of its folders.
"""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...training.checkpoints import checkpoints_of
from ..comparison.cell import Cell
from ..comparison.grid import GRID_FILE, read_grid
from ..files import CELL_FILE
from .job import STOPPED, CellJob, RunNotFinished, state_file

COPYING = 30.0  # seconds from one copy to the next; a new checkpoint is copied at once
SAVING = 180.0  # seconds before the Hub ends a Job at which it stops by itself


class Kept:
    """The files of a run, of which a volume holds copies.

    Args:
        cell: the run, on this disk.
        volume: the folder of the volume in which what lies in `cell.folder.parent` is kept.
    """

    def __init__(self, cell: Cell, volume: Path):
        self.cell = cell
        self.volume = volume
        # by name, size and time of what was copied: those of a volume may be its own
        self.copied: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Brings to this disk what an earlier attempt has kept."""
        for name in (self.cell.folder.name, self.cell.log_file.name):
            copy(self.volume / name, self.cell.folder.parent / name)
        self.copied = self._files()

    def keep(self) -> None:
        """Copies what has changed since the last time, and deletes what is gone."""
        files = self._files()
        # the file by which a run counts as finished comes last
        for name in sorted(files, key=lambda name: (Path(name).name == CELL_FILE, name)):
            if self.copied.get(name) != files[name]:
                copy(self.cell.folder.parent / name, self.volume / name)
        for name in self.copied.keys() - files.keys():
            (self.volume / name).unlink(missing_ok=True)
        self.copied = files

    @contextmanager
    def being_kept(self) -> Iterator[None]:
        """Within it copies are made again and again, and at its end of all that was written."""
        over = threading.Event()

        def work() -> None:
            last, checkpoints = time.monotonic(), checkpoints_of(self.cell.folder)
            while not over.wait(1.0):
                now = checkpoints_of(self.cell.folder)
                if now == checkpoints and time.monotonic() - last < COPYING:
                    continue
                try:
                    self.keep()
                except OSError as error:  # the run goes on, and so do the copies
                    print(f"Not all was copied to the bucket: {error}", file=sys.stderr)
                last, checkpoints = time.monotonic(), now

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.keep()

    def _files(self) -> dict[str, tuple[int, int]]:
        folder = self.cell.folder
        paths = [self.cell.log_file, state_file(self.cell), *folder.rglob("*")]
        found = {}
        for path in paths:
            name = path.relative_to(folder.parent)
            # those that are hidden are of the moment: staged, locks, room that is kept
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                facts = path.stat()
                found[name.as_posix()] = facts.st_size, facts.st_mtime_ns
        return found


def copy(source: Path, target: Path) -> None:
    """A file or a folder, if it is there; what is deleted meanwhile is left out."""
    if source.is_dir():
        for path in source.rglob("*"):
            if path.is_file():
                copy(path, target / path.relative_to(source))
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:
            target.unlink(missing_ok=True)


def main() -> None:
    """Runs, or goes on with, the run that the command line names.

    It exits with 1 where another attempt is to go on, and with 0 where the run is finished or has
    failed: the Hub would start a failed one again, to fail again.
    """
    volume, folder, key = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    minutes, program = float(sys.argv[4]), tuple(sys.argv[5:])
    copy(volume / GRID_FILE, folder / GRID_FILE)
    grid, _ = read_grid(folder)
    cell = next(cell for cell in grid.cells() if cell.folder == folder / key)
    control = grid.control_of(cell).folder
    copy(volume / control.relative_to(folder), control)
    kept = Kept(cell, volume / Path(key).parent)
    kept.fetch()
    seconds = 60 * minutes
    stopping = (os.getpid(), signal.SIGTERM)
    end = threading.Timer(max(seconds - SAVING, seconds / 2), os.kill, stopping)
    end.daemon = True
    end.start()
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    with kept.being_kept():
        problem = ""
        try:
            CellJob(cell, program, goes_on=True)()
        except RunNotFinished as ended:
            problem = str(ended)
            print(problem, file=sys.stderr)
    sys.exit(problem == STOPPED)


if __name__ == "__main__":
    main()
