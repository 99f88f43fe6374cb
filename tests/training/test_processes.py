"""Processes of one run: they wait for hours for what one does alone, and tell an ended one from a
late one.
"""

import pytest
from helpers.processes import on_two_processes
from helpers.runs import go

TOGETHER = """
import os, time
from datetime import timedelta
import torch
import torch.distributed as dist
from ctcl_hf.training.guards.processes import lost_processes_told, wait_for_all

dist.init_process_group("gloo", timeout=timedelta(seconds=10))
wait_for_all()
own = dist.get_rank()
hasty = dist.new_group(timeout=timedelta(seconds=5))

def told(wait):
    try:
        with lost_processes_told(lambda: f"process {own}", "Go on."):
            wait()
    except OSError as error:
        return f"{type(error).__name__}: {error}"

if own == 0:
    time.sleep(13)  # longer than the processes wait for each other
wait_for_all()
print(f"PROCESS {own} WAITED", flush=True)
if own == 1:
    time.sleep(10)
else:
    print("LATE", told(lambda: dist.all_reduce(torch.zeros(1), group=hasty)), flush=True)
wait_for_all()
if own == 1:
    os._exit(0)
print("ENDED", told(wait_for_all), flush=True)
os._exit(0)
"""


def test_processes_wait_for_one_that_works_alone_and_tell_a_late_one_from_one_that_has_ended(
    tmp_path,
):
    """They gave up after --ddp_timeout, and said that it had ended while it was checking data or
    uploading.
    """
    done = on_two_processes(TOGETHER, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    told = dict(line.split(" ", 1) for line in lines if line.startswith(("LATE", "ENDED")))
    assert done.stdout.count("WAITED") == 2
    assert told["LATE"].startswith(
        "TimeoutError: Another process of this run did not come within --ddp_timeout (process 0"
    )
    assert "has ended" not in told["LATE"]
    assert told["ENDED"].startswith(
        "ConnectionError: Another process of this run has ended (process 0: "
    )
    assert told["ENDED"].endswith("Its own output says why.")


SLOW = """
import sys, time
from pathlib import Path
from ctcl_hf.runs import end, run
from helpers.runs import AGAIN, prepared

def slow(work):
    return lambda *arguments: (time.sleep(20), work(*arguments))[1]

# which the main process does alone
run.check_files, end.draw = slow(run.check_files), slow(end.draw)
started = prepared(Path(sys.argv[1]), *AGAIN, "--ddp_timeout", "15")
made = f"MADE {started.trainer.args.process_index} {started.missing} {run.complete(started)}"
sys.stdout.write(f"\\n{made}\\n")  # at once, or the other process's lines come in between
sys.stdout.flush()
started.trainer.accelerator.end_training()
"""


@pytest.mark.slow
def test_checking_and_drawing_may_take_longer_than_processes_wait_for_each_other(tmp_path):
    assert go(tmp_path / "run")
    (tmp_path / "run" / "figure.png").unlink()
    done = on_two_processes(SLOW, tmp_path, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = set(done.stdout.splitlines())
    assert {f"MADE {process} ['pictures'] True" for process in (0, 1)} <= lines
    assert (tmp_path / "run" / "figure.png").is_file()
