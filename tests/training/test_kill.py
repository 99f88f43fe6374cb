"""kill -9, again and again, in every place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def soak(*arguments: object) -> dict:
    """What tests/soak.py has found, in a process of its own: it forks, which no thread survives."""
    tests = Path(__file__).parents[1]
    paths = f"{tests}{os.pathsep}{tests.parent}"
    done = subprocess.run(
        [sys.executable, tests / "soak.py", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_ten_times_ends_as_the_undisturbed_one(workers, tmp_path):
    options = ("--steps", 60, "--kills", 10, "--workers", workers, "--seed", workers)
    found = soak("--parts", "training", *options, "--folder", tmp_path)["training"]
    assert {place for _, place in found["kills"]} == {"step", "save", "evaluation", "push"}
    assert len(found["kills"]) >= 8  # a kill may come after the last save or evaluation
    assert found["equal weights"]
    assert found["equal logs"]
    assert soak("--parts", "training", *options, "--folder", tmp_path)["training"] == found


@pytest.mark.slow
@pytest.mark.parametrize("command", ["grid", "prepare", "export"])
def test_a_command_that_is_killed_at_any_moment_ends_as_the_undisturbed_one(command, tmp_path):
    """Where its files are whole at every moment, and results stay, soak.py looks itself."""
    found = soak("--parts", command, "--command_kills", 3, "--folder", tmp_path)[command]
    assert found["kills"] == 3 and found["differences"] == []
