"""The scripts of examples/ as a user runs them, at a size that takes seconds."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = (
    *(
        "--recipe",
        "demo",
        "--aspp_channels",
        "8",
        "--crop_size",
        "32",
        "--per_device_train_batch_size",
        "2",
    ),
    *("--no_check_data", "--logging_steps", "1", "--report_to", "none", "--cpu_threads", "1"),
    *("--max_eval_samples", "8"),
)
TINY = (*SMALL, "--cnn", "mobilenetv2_035")


def run(script, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """A script to its end, in this process: a fresh one would import torch and all else first,
    which takes longer than what most tests look at. What it prints and how it ends are as there.
    """
    words = [str(EXAMPLES / script), *map(str, arguments)]
    printed, said = io.StringIO(), io.StringIO()
    argv, folder = sys.argv, Path.cwd()
    environment, threads = dict(os.environ), torch.get_num_threads()
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a process that is started
    try:
        sys.argv = words
        os.chdir(cwd or folder)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = _code_of(words[0])
    finally:
        sys.argv = argv
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
        AcceleratorState._reset_state(reset_partial_state=True)
    return subprocess.CompletedProcess(words, code, printed.getvalue(), said.getvalue())


def _code_of(script: str) -> int:
    """The exit code of a script, and on stderr what Python says where it ends otherwise."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def run_apart(script, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """A script in a process of its own, as its user runs it."""
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
