"""How the runs of a launched grid are doing, as their files tell on any machine that sees them."""

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...base.files import read_json
from ...base.tables import counted
from ..comparison.cell import Cell
from ..files import CELL_FILE
from .job import last_line, log_text, state_file

SILENT = 120.0  # seconds without a sign of life after which a process has ended
STEP = re.compile(r"^step +(\d+)/(\d+)(.*)$", re.MULTILINE)  # as the run prints them
LEFT = re.compile(r"(\d+(?::\d\d){1,2}) left")

# in the order in which they matter to who looks
KINDS = ("failed", "stopped", "running", "queued", "waiting", "done")
IN_FLIGHT = ("running", "queued")
ENDED = ("failed", "stopped")  # and would begin again with the same command


class State(NamedTuple):
    """What a run does, one of KINDS, and more about it in words."""

    kind: str
    words: str = ""


class Word(NamedTuple):
    """What an engine says of a job: "queued", "running", "ended", or "unknown"."""

    kind: str
    words: str = ""


UNKNOWN = Word("unknown")


def state_of(cell: Cell, job: str | None, word: Word = UNKNOWN) -> State:
    """What a run does.

    Args:
        job: its engine's name for it; None if none was submitted.
        word: what the engine says of the job, which was asked before.
    """
    if (cell.folder / CELL_FILE).is_file():
        return State("done")
    file = state_file(cell)
    facts = read_json(file) if file.is_file() else {}
    is_running = facts.get("state") == "running"
    # though all may be written that the run makes: the job marks it as finished then
    if is_running and (word.kind == "running" or _is_alive(cell, facts)):
        return State("running", progress_of(cell, facts["log_from"]))
    if cell.is_complete:
        return State("done")
    if facts.get("state") in ENDED:
        return State(facts["state"], facts["problem"])
    if is_running and word.kind != "queued":  # by the cluster itself, which has lost a machine
        return State("failed", f"{_place(facts)} has ended without a word, as if it was killed")
    if job is None:
        return State("waiting")
    if word.kind == "ended":
        return State("failed", word.words or f"job {job} has ended before its run began")
    step = cell.step
    return State("queued", f"job {job}" + (f", goes on from step {step}" if step else ""))


def progress_of(cell: Cell, start: int) -> str:
    """`step 12/120, 0.41 steps/s, 4:23 left`: the last that a run printed since its log had `start`
    bytes.
    """
    told = log_text(cell.log_file, start)
    steps = STEP.findall(told)
    if not steps:
        return last_line(cell.log_file, start) or "starting"
    step, last, _ = steps[-1]
    words = [f"step {step}/{last}"]
    paces = [(int(at), left.group(1)) for at, _, rest in steps if (left := LEFT.search(rest))]
    if paces:
        at, left = paces[-1]
        rate = (int(last) - at) / max(_seconds(left), 1)
        words.append(f"{rate:.2f} steps/s" if rate >= 0.1 else f"{1 / rate:.0f} s a step")
        words.append(f"{left} left")
    return ", ".join(words)


def counts_in_words(states: Mapping[Cell, State]) -> str:
    """`1 failed, 2 running, 4 done of 7 runs`."""
    numbers = Counter(state.kind for state in states.values())
    told = ", ".join(f"{numbers[kind]} {kind}" for kind in KINDS if numbers[kind])
    return f"{told} of {counted(len(states), 'run')}"


def _seconds(clock: str) -> int:
    """`1:02:03` -> 3723."""
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def _is_alive(cell: Cell, facts: Mapping[str, Any]) -> bool:
    """Whether the process of a job runs: on this machine the system knows."""
    if facts["host"] == socket.gethostname():
        return process_exists(facts["pid"])
    return time.time() - state_file(cell).stat().st_mtime < SILENT


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _place(facts: Mapping[str, Any]) -> str:
    return f"process {facts['pid']} on {facts['host']}"
