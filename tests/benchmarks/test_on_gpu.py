"""The benchmarks for GPUs run on a CPU, at sizes that say nothing, so that a GPU's time goes into
measuring."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--device", "cpu", "--size", "40x40", "--images", "2", "--repeats", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        (
            "gpu_equality",
            ["--device", "cpu", "--size", "64x64"],
            "float64: 0, at most 1e-06: holds",
        ),
        (
            "gpu_steps",
            [*SMALL, "--classes", "5", "--precisions", "bfloat16", "--profile", "3"],
            "Bar 2: CTCL step / vanilla step, 5 classes, bfloat16",
        ),
        ("gpu_strips", [*SMALL, "--strips", "10"], "| 150 | grouped | phases, 2^10 |"),
    ],
)
def test_a_benchmark_for_gpus_runs(script, arguments, expected):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
