"""Processes that tests start: several of one run, as torchrun starts them, and those that are
watched while they run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def on_two_processes(script: str, folder: Path, *arguments, **environment):
    """A script's code to its end, once it is written to `folder`; it finds what tests share."""
    (folder / "script.py").write_text(script)
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", *TORCHRUN, folder / "script.py", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


class Started:
    """A process that writes all that it says to a file."""

    def __init__(
        self, command: list, output: Path, variables: Mapping[str, str] | None = None, **options
    ):
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ
                | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
                | (variables or {}),
                stdout=file,
                stderr=subprocess.STDOUT,
                **options,
            )

    def said(self, text: str) -> int:
        """How often."""
        return self.output.read_text().count(text)

    def wait_for(self, condition: Callable[[], bool], ends: tuple[int, ...] = ()) -> None:
        """It may have ended with one of these codes."""
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, self.output.read_text()
            assert self.process.poll() in (None, *ends), self.output.read_text()
            time.sleep(0.01)
