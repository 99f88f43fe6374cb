"""What starts jobs, and what stands in a grid's folder about those that it has started."""

import json
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...arguments.launch import Launch
from ...base.files import read_json, write_whole
from ...training.locks import lock_folder
from ..comparison.cell import Cell
from ..comparison.grid import Grid, read_grid
from .job import state_file
from .states import IN_FLIGHT, UNKNOWN, State, Word, state_of

FOLDER = "launch"  # in a grid's folder: the record below, and what engines leave
RECORD_FILE = "launch.json"


class Engine(Protocol):
    """Starts jobs somewhere.

    Attributes:
        orders: it holds a job back until another one is done.
        is_here: its jobs share this machine: they stop when the command that started them does.
        interval: seconds from one look at its jobs to the next.
    """

    orders: bool
    is_here: bool
    interval: float

    def submit(self, cells: Sequence[Cell], after: str | None = None) -> list[str]:
        """Starts, or queues, a job for each; after another one only if it `orders`.

        OSError says why that cannot be done.
        """
        ...

    def look(self, jobs: Collection[str]) -> None:
        """Asks for news of these jobs, which `word_of` tells then."""
        ...

    def word_of(self, job: str) -> Word: ...

    def cancel(self, job: str) -> None:
        """Has a job save what it can, and stop."""
        ...

    def forget(self, cell: Cell) -> None:
        """Drops what it has kept elsewhere of how the last job of a run, which has ended, did."""
        ...


@dataclass
class Record:
    """Which job runs which run of a grid: written down in its folder.

    Args:
        folder: the grid's.
        launch: by what, and how.
        host: where the command ran that started them.
        jobs: names that the engine has given, by the run's folder within the grid's.
    """

    folder: Path
    launch: Launch
    host: str = field(default_factory=socket.gethostname)
    jobs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def path(cls, folder: Path) -> Path:
        return folder / FOLDER / RECORD_FILE

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """What stands in a grid's folder; None if nothing of it was launched."""
        if not cls.path(folder).is_file():
            return None
        facts = read_json(cls.path(folder))
        return cls(folder, Launch(**facts["launch"]), facts["host"], facts["jobs"])

    @classmethod
    @contextmanager
    def being_written(cls, folder: Path, launch: Launch) -> "Iterator[Record]":
        """A record of a grid that this process launches, with the jobs that an earlier launch has
        left. OSError if another process launches it, ValueError if another engine's jobs run.
        """
        with lock_folder(folder / FOLDER):
            before = cls.read(folder)
            record = cls(folder, launch)
            if before is not None:
                if (before.launch.engine, before.place) != (launch.engine, record.place):
                    grid, _ = read_grid(folder)
                    states = before.states(grid, None).values()
                    if any(state.kind in IN_FLIGHT for state in states):
                        raise ValueError(
                            f"--launch {launch.engine}: runs of this grid are jobs of "
                            f"--launch {before.launch.engine}, given on {before.host}. Stop them "
                            "there by --launch_cancel."
                        )
                else:
                    record.jobs = before.jobs
            yield record

    @property
    def place(self) -> str | None:
        """The one machine that knows the jobs by their names; None if they are a cluster's."""
        return self.host if self.launch.engine == "local" else None

    def save(self) -> None:
        facts: dict[str, Any] = {
            "launch": asdict(self.launch),
            "host": self.host,
            "jobs": self.jobs,
        }
        self.path(self.folder).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path(self.folder), json.dumps(facts, indent=2) + "\n")

    def job_of(self, cell: Cell) -> str | None:
        return self.jobs.get(self._key(cell))

    def add(self, cells: Sequence[Cell], jobs: Sequence[str]) -> None:
        self.jobs.update(zip(map(self._key, cells), jobs, strict=True))

    def forget(self, cell: Cell) -> None:
        """Lets a run begin again whose job has ended."""
        self.jobs.pop(self._key(cell), None)
        state_file(cell).unlink(missing_ok=True)

    def states(self, grid: Grid, engine: Engine | None) -> dict[Cell, State]:
        """How all runs are doing; without an engine, which cannot be asked here, as their files
        say.
        """
        if engine is not None:
            # before files are read: a job that has ended by now wrote to them before
            engine.look(self.jobs.values())
        states = {}
        for cell in grid.cells():
            job = self.job_of(cell)
            word = UNKNOWN if engine is None or job is None else engine.word_of(job)
            states[cell] = state_of(cell, job, word)
        return states

    def _key(self, cell: Cell) -> str:
        return cell.folder.relative_to(self.folder).as_posix()


def engine_of(record: Record, program: Sequence[str]) -> Engine:
    """The engine of a record, to be used on this machine.

    ImportError tells what is not installed; OSError, that it is not to be found here.
    """
    folder, launch = record.folder / FOLDER, record.launch
    if launch.engine == "hf_jobs":
        from .hub_engine import HubEngine

        return HubEngine(record.folder, tuple(program), launch.options)
    from .submitit_engines import LocalEngine, SlurmEngine

    if launch.engine == "local":
        if record.host != socket.gethostname():
            raise OSError(f"The runs are processes on {record.host}: give the command there.")
        return LocalEngine(folder, tuple(program), launch.at_once)
    return SlurmEngine(folder, tuple(program), launch.options)
