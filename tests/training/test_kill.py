"""kill -9, again and again, in every place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_ten_times_ends_as_the_undisturbed_one(workers):
    command = [
        sys.executable,
        Path(__file__).parents[1] / "soak.py",
        "--steps",
        "60",
        "--kills",
        "10",
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [*command, "--workers", str(workers), "--seed", str(workers)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {place for _, place in found["kills"]} == {"step", "save", "evaluation", "push"}
    assert len(found["kills"]) >= 8  # a kill may come after the last save or evaluation
    assert found["equal weights"]
    assert found["equal logs"]
