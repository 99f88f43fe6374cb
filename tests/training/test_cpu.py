"""How a training process uses a CPU."""

import platform
import subprocess
import sys

import pytest

from ctcl_hf.training.cpu import LAUNCHED, threads_of_process

# Page faults of two "steps" after the first six, in a fresh process: the test's own must keep its
# settings.
STEPS = """
import resource, sys, torch
from ctcl_hf.training.cpu import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    activations = [torch.zeros(2**24) for _ in range(4)]  # 64 MiB, 16384 pages of 4 KiB, each
for _ in range(6):  # a block that is a little too small may stay behind in the first ones
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step(), step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has these settings"
)
def test_memory_freed_by_one_step_is_there_for_the_next():
    def faults(mode: str) -> int:
        own = subprocess.run(
            [sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True
        )
        return int(own.stdout)

    assert faults("keep") < 0.1 * faults("default")


def test_a_cpu_run_uses_as_many_threads_as_the_environment_says(monkeypatch):
    """OMP_NUM_THREADS=1 was overridden by all cores without a word."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_of_process(None) == 1
    assert threads_of_process(3) == 3
    monkeypatch.setenv(LAUNCHED[0], "no")  # a launcher sets it to 1 by itself
    monkeypatch.setattr("ctcl_hf.training.cpu.environment_of_launcher", list)
    assert threads_of_process(None) == 8
    # `OMP_NUM_THREADS=1 accelerate launch` was overridden as well
    monkeypatch.setattr(
        "ctcl_hf.training.cpu.environment_of_launcher", lambda: [b"OMP_NUM_THREADS=1"]
    )
    assert threads_of_process(None) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_of_process(None) == 2


def test_a_cpu_run_uses_all_cores_shared_among_processes_unless_told(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert threads_of_process(None) == 8
    assert threads_of_process(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert threads_of_process(None) == 1
