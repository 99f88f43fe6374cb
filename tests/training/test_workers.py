"""Dataloader workers change nothing, end with their process, and lose no step when they die."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.training import At, assert_equal_weights, make_trainer, weights

from ctcl_hf.training.checkpoints import find_checkpoint
from ctcl_hf.training.guards.workers import WorkerDeaths


def test_dataloader_workers_change_nothing(tmp_path):
    results = []
    for workers in (0, 2):
        trainer = make_trainer(tmp_path / str(workers), dataloader_num_workers=workers, max_steps=5)
        trainer.train()
        results.append(weights(trainer))
    assert_equal_weights(*results)


LEFT_OPEN = """
import torch
from ctcl_hf.training.guards.workers import shield_workers

loader = shield_workers(torch.utils.data.DataLoader(range(100), num_workers=2))
batches = iter(loader)
print(next(batches))
"""


def test_workers_end_with_their_process_even_if_nobody_has_ended_them():
    """They ignored SIGTERM from their own process too, which waited for them for ever."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "tensor([0])" in done.stdout, done.stderr


def test_a_worker_that_is_killed_while_a_step_is_computed_loses_no_step(tmp_path):
    def kill_a_worker():
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        time.sleep(0.5)

    options = {
        "max_steps": 50,
        "dataloader_num_workers": 1,
        "callbacks": [At("on_step_begin", 1, kill_a_worker)],
    }
    trainer = make_trainer(tmp_path, **options)
    with pytest.raises(
        OSError,
        match=r"could not be read after step .*DataLoader worker.*What was trained is saved",
    ):
        trainer.train()
    assert find_checkpoint(str(tmp_path), "auto").endswith(
        f"checkpoint-{trainer.state.global_step}"
    )


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_a_worker_that_died(error):
    """It ended the run in `ConnectionResetError`, and what was trained was not saved."""
    with (
        pytest.raises(RuntimeError, match="DataLoader worker exited unexpectedly"),
        WorkerDeaths().told_here(),
    ):
        raise error
