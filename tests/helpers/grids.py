"""Grids of runs that cost nothing: what stands in for a training, and how it is looked at."""

import json
import time
from pathlib import Path

from ctcl_hf.runs.comparison.grid import Grid
from ctcl_hf.runs.comparison.paper import CTCL, DML, VANILLA
from ctcl_hf.runs.launch.job import state_file


def make_grid(
    folder, rows=(VANILLA, DML, CTCL), pairs=("a+b",), seeds=(1, 2), common=("--recipe", "demo")
):
    return Grid(Path(folder), tuple(rows), tuple(pairs), tuple(seeds), tuple(common))


# Stands in for `ctcl-hf train`: "fail" among its arguments fails, "slow" takes a minute unless a
# signal comes or what has started it is gone.
STAND_IN = """
import json, os, shlex, signal, sys, time
from pathlib import Path

arguments = sys.argv[1:]
folder = Path(arguments[arguments.index("--output_dir") + 1])
folder.mkdir(parents=True, exist_ok=True)
print("this cell's own words", folder.name, flush=True)
control = folder.parent / "vanilla" / "cell.json"
if folder.name != "vanilla" and not control.exists():
    sys.exit("its control is not there")
if "fail" in arguments and not (folder.parents[2] / "mended").exists():
    sys.exit("ctcl-hf train: error: the sky has fallen.\\n")
stopped, parent = [], os.getppid()
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
again = folder / "begun"
if "slow" in arguments and not again.exists():
    again.touch()
    for step in range(1, 601):
        print(f"step {step:3}/600  loss 1.000  ce cnn 1.0 vit 1.0  01:00 left", flush=True)
        time.sleep(0.1)
        if stopped or os.getppid() != parent:
            print(f"Stopped after step {step} by a signal.", flush=True)
            sys.exit()
results = {"command": shlex.join(["run_ctcl.py", *arguments])}
(folder / "results.json").write_text(json.dumps(results))
"""


def facts_of(cell):
    """What a job says of itself; {} if it says nothing."""
    file = state_file(cell)
    return json.loads(file.read_text()) if file.is_file() else {}


def wait_until(is_so, seconds=240.0):
    """Until it is so; fails if it does not become so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it has not come to this"
        time.sleep(0.05)
