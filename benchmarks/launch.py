"""Runs beside each other

Minutes of a grid of four runs on a CPU, one after the other in one process and as two jobs at a
time, each with one thread. Wants an idle machine with two cores, and is not part of `run.py`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import bar, header, row

COMPARE = str(Path(__file__).parents[1] / "examples" / "compare.py")
GRID = ("--recipe", "demo", "--methods", "ctcl", "--seeds", "2")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def minutes(folder: Path, steps: int, *launch: str) -> float:
    """Of the whole command, its start and its report included."""
    limits = ("--max_steps", str(steps), "--eval_strategy", "no", "--save_strategy", "no")
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, COMPARE, *GRID, *limits, *launch, "--output_dir", str(folder)],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return (time.perf_counter() - start) / 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=120, help="Of each run (default: 120).")
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        serial = minutes(Path(folder) / "serial", steps)
        launched = minutes(Path(folder) / "launched", steps, "--launch", "local:2")
    header("four runs", "minutes")
    row("one after the other", f"{serial:.2f}")
    row("`--launch local:2`", f"{launched:.2f}")
    bar(10, "two at a time / one after the other", launched / serial, at_most=0.6)


if __name__ == "__main__":
    main()
