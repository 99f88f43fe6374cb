"""A signal saves and stops the run, and it goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_data
from helpers.training import (
    At,
    assert_equal_weights,
    comparable,
    general_kdcl,
    make_trainer,
    send,
    weights,
)

from ctcl_hf import CTCL
from ctcl_hf.training.checkpoints import find_checkpoint
from ctcl_hf.training.guards.launchers import ENDS_WITH_PARENT


@pytest.fixture
def hears_ctrl_c():
    """As in the foreground: where tests are run in the background, the shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "objective"),
    [
        (signal.SIGINT, CTCL),
        (signal.SIGTERM, CTCL),
        (signal.SIGUSR1, CTCL),
        (signal.SIGUSR2, CTCL),
        (signal.SIGTERM, general_kdcl),  # which observes held-out images besides
    ],
)
def test_a_signal_saves_and_stops_after_the_step_and_the_run_goes_on_as_if_nothing_had_happened(
    number, objective, undisturbed, tmp_path, hears_ctrl_c
):
    options = {"max_steps": 6, "logging_steps": 4, "eval_strategy": "epoch", "cnn_lr": 0.05}
    expected = undisturbed(objective, **options)
    stopped = make_trainer(
        tmp_path, objective, callbacks=[At("on_step_begin", 1, send(number))], **options
    )
    before = signal.getsignal(number)
    stopped.train()
    assert stopped.state.global_step == 2 and stopped.preemption.stopped
    assert signal.getsignal(number) is before
    checkpoint = find_checkpoint(str(tmp_path), "auto")
    assert checkpoint.endswith("checkpoint-2")
    resumed = make_trainer(tmp_path, objective, **options)
    resumed.train(resume_from_checkpoint=checkpoint)
    assert not resumed.preemption.stopped
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))


@pytest.mark.parametrize("when", ["in the evaluation", "before it", "at the end of an epoch"])
def test_an_evaluation_that_a_signal_cut_short_is_made_up_for(when, undisturbed, tmp_path):
    options = {
        "max_steps": 5,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "cnn_lr": 0.05,
    }
    step, images = 1, None
    if when == "at the end of an epoch":
        options |= {"eval_strategy": "epoch"}
        images = (12, 5)
        step = 2  # the epoch's third and last step comes after it
    expected = undisturbed(images=images, **options)
    options["data"] = images and make_data(*images)
    event = At("on_prediction_step", 2, send(signal.SIGTERM))
    if when != "in the evaluation":
        event = At("on_step_begin", step, send(signal.SIGTERM))
    stopped = make_trainer(tmp_path / "two", callbacks=[event], **options)
    stopped.train()
    assert stopped.state.global_step == step + 1
    assert not any("eval_loss" in log for log in stopped.state.log_history)
    checkpoint = find_checkpoint(str(tmp_path / "two"), "auto")
    again = make_trainer(
        tmp_path / "two",
        callbacks=[At("on_prediction_step", step + 1, send(signal.SIGTERM))],
        **options,
    )
    before = signal.getsignal(signal.SIGTERM)
    # which begins with the evaluation, and is stopped in it once more
    again.train(resume_from_checkpoint=checkpoint)
    assert again.preemption.stopped and again.state.global_step == step + 1
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = make_trainer(tmp_path / "two", **options)
    resumed.train(resume_from_checkpoint=checkpoint)
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))


def test_a_run_whose_job_was_gone_before_it_trained_stops_after_a_step(tmp_path, monkeypatch):
    """It took whom the system had given it for its parent, and went on unwatched to its end."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv(ENDS_WITH_PARENT, str(gone.pid))
    trainer = make_trainer(tmp_path, max_steps=4)
    trainer.train()
    assert trainer.state.global_step == 1
    checkpoint = find_checkpoint(str(tmp_path), "auto")
    assert checkpoint.endswith("checkpoint-1")
    monkeypatch.setenv(ENDS_WITH_PARENT, str(os.getppid()))
    trainer = make_trainer(tmp_path, max_steps=4)
    trainer.train(resume_from_checkpoint=checkpoint)
    assert trainer.state.global_step == 4


def test_an_evaluation_that_a_signal_cut_short_at_the_last_step_is_made_up_for_without_another_step(
    tmp_path,
):
    options = {"data": make_data(12, 5), "max_steps": 4, "eval_strategy": "steps", "eval_steps": 4}
    event = At("on_prediction_step", 4, send(signal.SIGTERM))
    make_trainer(tmp_path, callbacks=[event], **options).train()
    resumed = make_trainer(tmp_path, **options)
    resumed.train(resume_from_checkpoint=find_checkpoint(str(tmp_path), "auto"))
    assert resumed.state.global_step == 4
    assert [log["step"] for log in resumed.state.log_history if "eval_loss" in log] == [4]


def test_a_signal_in_the_evaluation_before_the_first_step_stops_the_run(tmp_path):
    trainer = make_trainer(
        tmp_path,
        callbacks=[At("on_prediction_step", 0, send(signal.SIGTERM))],
        eval_on_start=True,
        eval_strategy="epoch",
    )
    before = signal.getsignal(signal.SIGTERM)
    trainer.train()
    assert trainer.preemption.stopped and trainer.state.global_step == 0
    assert signal.getsignal(signal.SIGTERM) is before


GROUP = """
import os, signal, subprocess, sys, time
from helpers.training import At
from helpers.training import make_trainer

def to_all():  # as torchrun and batch systems send it: to the workers too
    subprocess.run(["setsid", "bash", "-c", f"kill -TERM -- -{os.getpgrp()}"])
    time.sleep(0.5)

callbacks = [At("on_step_begin", 1, to_all)]
trainer = make_trainer(sys.argv[1], callbacks=callbacks, dataloader_num_workers=2, max_steps=50)
trainer.train()
print("stopped after", trainer.state.global_step, trainer.preemption.stopped)
"""


def test_a_signal_to_all_processes_of_a_run_saves_and_stops_with_workers_too(tmp_path):
    (tmp_path / "script.py").write_text(GROUP)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "stopped after 2 True" in done.stdout, done.stderr
    assert find_checkpoint(str(tmp_path / "out"), "auto").endswith("checkpoint-2")
