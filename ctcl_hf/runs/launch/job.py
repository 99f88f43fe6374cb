"""A run of a grid, wherever an engine starts it: `ctcl-hf train` as a process of its own.

It writes beside the run's folder how it is doing, for whoever sees the files. A SIGTERM stops it,
SIGUSR2 has submitit queue it again, and either way the run saves a checkpoint first.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...base.files import write_whole
from ...training.guards.launchers import ENDS_WITH_PARENT
from ...training.locks import lock_folder
from ..comparison.cell import Cell

BEAT = 10.0  # seconds from one sign of life to the next
TAIL = 1 << 16  # bytes of a log in which its last line is
STOPPED = "stopped by a signal: the same command goes on"


class RunNotFinished(RuntimeError):
    """Ends a job whose run is not finished, so that its engine knows."""


def state_file(cell: Cell) -> Path:
    """What a job says of itself: beside the run's folder, which is the run's alone."""
    return cell.folder.parent / f"{cell.folder.name}.job.json"


def last_line(log: Path, start: int = 0) -> str:
    """The last line of a log from byte `start` on; "" if there is none."""
    lines = [line.strip() for line in log_text(log, start).splitlines()]
    return next((line for line in reversed(lines) if line), "")


def log_text(log: Path, start: int = 0) -> str:
    """The end of a log, of what stands in it from byte `start` on."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - TAIL))
        return file.read().decode("utf-8", "replace")


@dataclass
class CellJob:
    """What an engine is given to call, in a process of its own.

    Args:
        cell: with the number of threads among its arguments, if the engine says it.
        program: the words of a command line that trains, before the arguments of the run.
        jobs: how many there are beside each other on the machine, this one included.
        environment: variables of the run; None takes one away.
        patience: seconds to wait for the lock on the run's folder, which an earlier process of the
            same run may still hold: one whose job was killed saves, and ends.
        goes_on: whether the engine starts it again by itself where it was stopped.
    """

    cell: Cell
    program: tuple[str, ...]
    jobs: int = 1
    environment: dict[str, str | None] = field(default_factory=dict)
    patience: float = 60.0
    goes_on: bool = False
    _process: subprocess.Popen | None = field(default=None, init=False, repr=False)
    _stopping: bool = field(default=False, init=False, repr=False)

    def __call__(self) -> None:
        """Runs the cell, or goes on with it, and marks it as finished. RunNotFinished says why it
        is not.
        """
        signal.signal(signal.SIGTERM, self._stop)
        try:
            problem = self._run()
        except OSError as error:  # another run holds the folder, or the disk is full
            problem = str(error)
        if problem is None:
            state_file(self.cell).unlink(missing_ok=True)
            return
        if problem == STOPPED and self.goes_on:
            self._say("queued")
        else:
            self._say("stopped" if problem == STOPPED else "failed", problem=problem)
        raise RunNotFinished(problem)

    def checkpoint(self) -> Any:
        """What submitit queues again, once the run has saved. It asks in a handler of SIGUSR2,
        which may come at any point of `__call__`.
        """
        from submitit.helpers import DelayedSubmission

        if self._signal_run():
            # Waits, and leaves it to the interrupted wait to ask how it has ended.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._say("queued")
        return DelayedSubmission(replace(self))

    def _run(self) -> str | None:
        """Why the run is not finished; None if it is."""
        cell, start = self.cell, time.monotonic()
        with lock_folder(cell.folder, self.patience):
            if cell.is_complete:
                return None
        resumes = cell.has_checkpoint
        with cell.log_file.open("ab") as log:
            beginning = log.tell()
            with self._living(beginning):
                self._process = subprocess.Popen(
                    [*self.program, *cell.run_arguments()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    start_new_session=True,  # signals to a group reach it through us alone
                )
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
                code = self._process.wait()
        has_results = (cell.folder / "results.json").is_file()
        if not has_results and (code == 0 or self._stopping):
            return STOPPED
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code:
            return last_line(cell.log_file, beginning) or f"ended with status {code}"
        with lock_folder(cell.folder):
            cell.finish((time.monotonic() - start) / 60, resumes, self.jobs)
        return None

    def _environment(self) -> dict[str, str]:
        variables = {**os.environ, ENDS_WITH_PARENT: str(os.getpid()), **self.environment}
        return {name: value for name, value in variables.items() if value is not None}

    def _stop(self, number, frame) -> None:
        self._stopping = True
        self._signal_run()

    def _signal_run(self) -> bool:
        """Asks the run to save and stop; False if it does not run."""
        if self._process is None or self._process.returncode is not None:
            return False
        os.kill(self._process.pid, signal.SIGTERM)
        return True

    def _say(self, state: str, **facts: Any) -> None:
        # A handler may say something as well, and both write to one staged file.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
        write_whole(state_file(self.cell), json.dumps({"state": state, **facts}) + "\n")
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    @contextmanager
    def _living(self, beginning: int) -> Iterator[None]:
        """Within it the file says that the run goes on, and its time when that was so."""
        place = {"host": socket.gethostname(), "pid": os.getpid()}
        self._say("running", log_from=beginning, **place)
        over = threading.Event()

        def beat() -> None:
            with suppress(FileNotFoundError):  # who deletes it starts another job
                while not over.wait(BEAT):
                    os.utime(state_file(self.cell))

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            over.set()
