"""A run comes back from whatever happens to it as if nothing had happened; docs/reliability.md
lists what does.
"""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import make_data
from helpers.training import (
    SIZE,
    At,
    assert_equal_weights,
    comparable,
    general_kdcl,
    make_trainer,
    send,
    training_logs,
    weights,
)
from safetensors.torch import load_file
from transformers import TrainerCallback

from ctcl_hf import (
    CTCL,
    CTCLTrainer,
    EvaluationTransform,
    Objective,
    SegmentationSamples,
    StudentTerms,
    TrainingTransform,
)
from ctcl_hf.data import BadSample
from ctcl_hf.training.checkpoints import (
    MANIFEST_FILE,
    STAGING,
    checkpoints_of,
    complete_checkpoint,
    find_checkpoint,
    problem_of,
)
from ctcl_hf.training.guards.workers import WorkerDeaths

SAVES = {"save_strategy": "steps", "save_steps": 1}


@pytest.fixture(scope="module")
def saved_twice(tmp_path_factory):
    """The folder of a run with two checkpoints, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    make_trainer(folder, max_steps=2, **SAVES).train()
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Trainers that have trained to their end, by their arguments: what others, to which something
    happens, are compared with.
    """
    trained = {}

    def get(objective=CTCL, images=None, **options):
        key = (objective, images, *sorted(options.items()))
        if key not in trained:
            data = images and make_data(*images)
            folder = tmp_path_factory.mktemp("undisturbed")
            trained[key] = make_trainer(folder, objective, data=data, **options)
            trained[key].train()
        return trained[key]

    return get


# ---- checkpoints ----


def damage(checkpoint, how):
    if how == "truncated":
        file = checkpoint / "cnn" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "missing":
        (checkpoint / "optimizer.pt").unlink()
    elif how == "half-written":
        (checkpoint / MANIFEST_FILE).unlink()
    elif how == "manifest truncated":
        (checkpoint / MANIFEST_FILE).write_text("{")
    else:
        for path in checkpoint.rglob("*"):
            if path.is_file():
                path.unlink()


@pytest.mark.parametrize(
    "how", ["truncated", "missing", "half-written", "manifest truncated", "foreign"]
)
def test_a_checkpoint_that_is_not_complete_is_skipped_with_a_warning_and_the_last_good_one_is_used(
    how, saved_twice, tmp_path, caplog
):
    shutil.copytree(saved_twice, tmp_path, dirs_exist_ok=True)
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-1", "checkpoint-2"]
    assert find_checkpoint(str(tmp_path), "auto") == str(tmp_path / "checkpoint-2")
    damage(tmp_path / "checkpoint-2", how)
    caplog.clear()
    assert find_checkpoint(str(tmp_path), "auto") == str(tmp_path / "checkpoint-1")
    assert f"{tmp_path / 'checkpoint-2'} is skipped" in caplog.text
    with pytest.raises(ValueError, match=r"checkpoint-2: .*Give a folder like"):
        find_checkpoint(str(tmp_path), str(tmp_path / "checkpoint-2"))


def test_nothing_under_a_checkpoints_name_is_ever_incomplete(tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            seen.extend(problem_of(path) for path in checkpoints_of(tmp_path))

    trainer = make_trainer(tmp_path, max_steps=3, callbacks=[Watch()], **SAVES)
    save = trainer.save_model

    def watched(*args, **kwargs):  # while a checkpoint is being written, it is not there
        save(*args, **kwargs)
        assert not (tmp_path / f"checkpoint-{trainer.state.global_step}").exists()
        assert (tmp_path / STAGING / f"checkpoint-{trainer.state.global_step}").is_dir()

    trainer.save_model = watched
    trainer.train()
    assert seen == [None] * 6
    assert not list((tmp_path / STAGING).iterdir())


def test_a_kill_while_a_checkpoint_is_replaced_leaves_a_complete_one(tmp_path, monkeypatch):
    def checkpoint(content):
        staged = tmp_path / STAGING / "checkpoint-1"
        staged.mkdir(parents=True)
        (staged / "file").write_text(content)
        complete_checkpoint(staged, tmp_path / "checkpoint-1")

    class Killed(BaseException):
        pass

    def killed(folder, **kwargs):
        for path in folder.glob("*"):
            path.unlink()
            raise Killed

    checkpoint("first")
    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(Killed):
        checkpoint("second")
    assert problem_of(tmp_path / "checkpoint-1") is None
    assert (tmp_path / "checkpoint-1" / "file").read_text() == "second"


def test_a_kill_between_taking_a_checkpoint_away_and_replacing_it_leaves_the_one_that_was_there(
    tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def killed(folder, target):
        if folder.parent.name == STAGING:
            raise Killed
        return rename(folder, target)

    make_trainer(tmp_path, max_steps=1, **SAVES).train()
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        trainer = make_trainer(tmp_path, max_steps=1, **SAVES)
        trainer.train()
    monkeypatch.undo()
    found = find_checkpoint(str(tmp_path), "auto")
    make_trainer(tmp_path, max_steps=2, **SAVES).train(resume_from_checkpoint=found)
    assert find_checkpoint(str(tmp_path), "auto") == str(tmp_path / "checkpoint-2")


def test_what_is_resumed_from_an_early_checkpoint_is_kept_apart_from_what_came_after_it(tmp_path):
    make_trainer(tmp_path / "one", max_steps=4, **SAVES).train()
    early = str(tmp_path / "one" / "checkpoint-1")
    with pytest.raises(
        ValueError, match=r"holds later ones, the last of step 4.*Delete them, or choose another"
    ):
        find_checkpoint(str(tmp_path / "one"), early)
    assert find_checkpoint(str(tmp_path / "two"), early) == early
    make_trainer(tmp_path / "two", max_steps=2, **SAVES).train(resume_from_checkpoint=early)
    with pytest.raises(ValueError, match="already holds a run"):
        find_checkpoint(str(tmp_path / "two"), early)
    # From Python nothing refuses it; what is saved then is kept, and so is what came later.
    make_trainer(tmp_path / "one", max_steps=3, save_total_limit=1, **SAVES).train(
        resume_from_checkpoint=early
    )
    assert [path.name for path in checkpoints_of(tmp_path / "one")] == [
        "checkpoint-3",
        "checkpoint-4",
    ]


def test_weights_alone_are_nothing_to_resume_from(tmp_path):
    make_trainer(tmp_path, max_steps=2, save_only_model=True, **SAVES).train()
    trainer = make_trainer(tmp_path, max_steps=3)
    with pytest.raises(
        ValueError, match=r"holds weights alone \(no optimizer.pt, no scheduler.pt\).*--students"
    ):
        trainer.train(resume_from_checkpoint=find_checkpoint(str(tmp_path), "auto"))


@pytest.mark.parametrize(
    "where", ["save_model", "_save_optimizer_and_scheduler", "_save_rng_state"]
)
def test_a_full_disk_costs_that_checkpoint_and_nothing_else(where, tmp_path, caplog):
    trainer = make_trainer(tmp_path, max_steps=4, **SAVES)
    write = getattr(trainer, where)

    def full(folder, *args, **kwargs):
        if trainer.state.global_step in (2, 3):
            Path(folder, "half").parent.mkdir(parents=True, exist_ok=True)
            Path(folder, "half").write_text("half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(folder, *args, **kwargs)

    setattr(trainer, where, full)
    trainer.train()
    assert trainer.state.global_step == 4
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-1", "checkpoint-4"]
    assert all(problem_of(path) is None for path in checkpoints_of(tmp_path))
    assert (
        "checkpoint of step 2 could not be saved ([Errno 28] No space left on device)"
        in caplog.text
    )


def test_the_best_and_the_last_good_checkpoint_outlive_every_limit(tmp_path):
    options = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "metric_for_best_model": "mean_iou",
        "save_total_limit": 1,
    }
    trainer = make_trainer(tmp_path, max_steps=5, load_best_model_at_end=True, **options, **SAVES)
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.5])
    trainer.evaluate = lambda **kwargs: {"eval_mean_iou": next(scores, 0.4)}
    (tmp_path / "checkpoint-999").mkdir()  # somebody else's: neither counted nor deleted
    trainer.train()
    assert [path.name for path in checkpoints_of(tmp_path)] == [
        "checkpoint-2",
        "checkpoint-5",
        "checkpoint-999",
    ]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")


def test_a_clock_that_jumps_back_does_not_delete_the_newest_checkpoint(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_steps=3, save_total_limit=1, **SAVES)
    now = time.time()
    trainer.add_callback(
        At("on_step_end", 2, lambda: monkeypatch.setattr(time, "time", lambda: now - 1e6))
    )
    trainer.add_callback(
        At("on_save", 2, lambda: os.utime(tmp_path / "checkpoint-2", (now - 1e6, now - 1e6)))
    )
    trainer.train()
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-3"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_with_code_in_it_is_not_run(file, saved_twice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved_twice / "checkpoint-1", tmp_path / "checkpoint-1")
    (tmp_path / "checkpoint-1" / file).write_bytes(pickle.dumps(Evil()))
    (tmp_path / "checkpoint-1" / MANIFEST_FILE).unlink()  # whose hashes would have refused it
    with pytest.raises((pickle.UnpicklingError, RuntimeError, ValueError)):
        make_trainer(tmp_path, max_steps=2).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-1")
        )
    assert not (tmp_path / "owned").exists()


def test_two_runs_do_not_share_an_output_folder(tmp_path):
    def second():
        with pytest.raises(OSError, match=f"Another run is writing to {tmp_path}"):
            make_trainer(tmp_path).train()

    make_trainer(tmp_path, callbacks=[At("on_step_end", 1, second)], max_steps=2).train()
    make_trainer(tmp_path, max_steps=1).train()  # the lock is gone


@pytest.mark.parametrize("what", ["deleted", "not a folder"])
def test_an_output_folder_that_goes_away_does_not_end_the_training(what, tmp_path, caplog):
    folder = tmp_path / "out"

    def spoil():
        shutil.rmtree(folder)
        if what == "not a folder":
            folder.write_text("")

    trainer = make_trainer(folder, max_steps=4, callbacks=[At("on_step_end", 2, spoil)], **SAVES)
    trainer.train()
    assert trainer.state.global_step == 4
    if what == "deleted":  # it is made anew
        assert [path.name for path in checkpoints_of(folder)] == [
            "checkpoint-2",
            "checkpoint-3",
            "checkpoint-4",
        ]
    else:
        assert "checkpoint of step 3 could not be saved" in caplog.text


def test_an_output_folder_that_turns_read_only_costs_its_checkpoints_and_nothing_else(caplog):
    is_root = os.geteuid() == 0  # whom no mode stops
    with tempfile.TemporaryDirectory() as parent:  # tmp_path can be seen by its owner alone
        os.chmod(parent, 0o755)
        folder = Path(parent, "out")

        def close():
            folder.chmod(0o555)
            if is_root:
                os.seteuid(65534)

        def open_again():
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)

        callbacks = [At("on_step_end", 2, close), At("on_step_end", 4, open_again)]
        try:
            make_trainer(folder, max_steps=5, callbacks=callbacks, **SAVES).train()
        finally:
            open_again()
        assert [path.name for path in checkpoints_of(folder)] == [
            f"checkpoint-{i}" for i in (1, 4, 5)
        ]
    for step in (2, 3):
        assert (
            f"checkpoint of step {step} could not be saved ([Errno 13] Permission denied"
            in caplog.text
        )


# ---- resuming ----


@pytest.mark.parametrize("resume", ["checkpoint", "output folder"])
def test_a_training_that_is_resumed_at_its_end_trains_no_step(resume, tmp_path):
    """It trained a step past max_steps, which is no multiple of an epoch's three here; Trainer
    does.
    """
    options = {"data": make_data(12, 3), "max_steps": 4, "logging_steps": 1}
    trained = make_trainer(tmp_path, **options, **SAVES)
    trained.train()
    trained.save_model()
    before = weights(trained)
    again = make_trainer(tmp_path, **options)
    again.training_step = None
    if resume == "checkpoint":
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    else:
        again.load_trained()
    assert again.state.global_step == again.total_steps() == 4
    assert comparable(again) == comparable(trained)
    assert_equal_weights(weights(again), before)
    with pytest.raises(
        ValueError, match=r"checkpoint-4 has 4 steps behind it, and this run is to have 3\."
    ):
        make_trainer(tmp_path, **options | {"max_steps": 3}).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-4")
        )


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


@pytest.mark.parametrize("workers", [0, 2])
def test_logs_too_go_on_from_within_their_interval(workers, tmp_path):
    options = {
        "max_steps": 7,
        "logging_steps": 3,
        "save_strategy": "steps",
        "save_steps": 4,
        "cnn_lr": 0.05,
    }
    options |= {"dataloader_num_workers": workers, "eval_strategy": "steps", "eval_steps": 5}
    undisturbed = make_trainer(tmp_path, **options)
    undisturbed.train()
    resumed = make_trainer(tmp_path / "again", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert comparable(resumed) == comparable(undisturbed)
    assert_equal_weights(weights(resumed), weights(undisturbed))


@pytest.fixture
def hears_ctrl_c():
    """As in the foreground: where tests are run in the background, the shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("objective", [CTCL, general_kdcl])
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


@pytest.mark.parametrize("workers", [0, 1])
def test_an_evaluation_image_that_cannot_be_read_loses_no_step(workers, undisturbed, tmp_path):
    data, flag = make_data(12, 3), tmp_path / "broken"
    options = {"max_steps": 5, "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    expected = undisturbed(images=(12, 3), **options)

    def trainer():
        made = make_trainer(tmp_path / "two", data=data, dataloader_num_workers=workers, **options)
        made.eval_dataset = Failing(
            data.splits["validation"], 3, EvaluationTransform(SIZE), 1, flag
        )
        return made

    flag.touch()
    said = (
        "evaluation data could not be read after step 2: Cannot read sample 1 .*truncated. What "
        "was trained is saved"
    )
    with pytest.raises(OSError, match=said):
        trainer().train()
    with pytest.raises(OSError, match=said):  # the evaluation is owed
        trainer().train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "two"), "auto"))
    flag.unlink()
    resumed = trainer()
    resumed.train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "two"), "auto"))
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))


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


# ---- numerics ----


class Spoiled(Objective):
    """Cross entropy, and a term whose value or gradient of student b is not finite in one of the
    forwards.
    """

    spoiled = 3
    in_value = True

    def __init__(self, a, b):
        super().__init__(a, b)
        self.forwards = 0
        for own in self.weights:
            own["extra"] = 1.0

    def forward(self, a, b, labels):
        self.forwards += self.training
        terms = []
        for i, student in enumerate((a, b)):
            value = student.logits.mean()
            if i == 1 and self.training and self.forwards == self.spoiled:
                zero = (student.logits * 0).sum()
                value = value * float("nan") if self.in_value else value + torch.sqrt(zero)
            terms.append(
                StudentTerms({**self.segmentation_terms(student, labels), "extra": value}, {})
            )
        return terms[0], terms[1]


class SpoiledGradient(Spoiled):
    in_value = False


class Recording(SegmentationSamples):
    """Remembers which images were read."""

    def __getitem__(self, key):
        self.read_so_far = [*getattr(self, "read_so_far", []), key[2]]
        return super().__getitem__(key)


def recording_trainer(folder, objective, **options):
    data = make_data(8, 3)
    trainer = make_trainer(folder, objective, data=data, **options)
    trainer.train_dataset = Recording(
        data.splits["train"],
        len(data.class_names),
        TrainingTransform(SIZE, (64, 64)),
        data.label_map,
    )
    trainer.train_dataset.paths = lambda index: f"street {index}"
    return trainer


@pytest.mark.parametrize(
    ("objective", "said"),
    [(Spoiled, "extra_vit = nan"), (SpoiledGradient, "every loss term is finite")],
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_gradient_that_is_not_finite_stops_the_run_and_tells_all_that_is_known(
    objective, said, accumulation, tmp_path
):
    trainer = recording_trainer(
        tmp_path,
        objective,
        max_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulation,
        **SAVES,
    )
    with pytest.raises(FloatingPointError) as error:
        trainer.train()
    message, step = str(error.value), 3 if accumulation == 1 else 2
    assert f"Step {step}: the gradient of vit is not finite" in message and said in message
    read = trainer.train_dataset.read_so_far
    images = read[2 * accumulation * (step - 1) : 2 * accumulation * step]
    assert f"Images: {', '.join(f'street {i}' for i in images)}." in message
    assert problem_of(tmp_path / f"checkpoint-{step - 1}") is None
    dumped = tmp_path / f"nonfinite-step-{step}"
    assert (dumped / "vit" / "config.json").is_file()
    assert load_file(dumped / "batches.safetensors")[f"pixel_values.{accumulation - 1}"].shape == (
        2,
        3,
        64,
        64,
    )
    assert json.loads((dumped / "report.json").read_text())["error"] in message


def test_a_step_that_is_skipped_leaves_no_trace(tmp_path, caplog):
    states = []

    class States(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            states.append(weights(trainer))

    trainer = recording_trainer(
        tmp_path, Spoiled, max_steps=4, on_nonfinite="skip", callbacks=[States()]
    )
    trainer.train()
    assert_equal_weights(states[2], states[1])  # BatchNorm's statistics too
    assert any(not torch.equal(states[3][name], states[2][name]) for name in states[3])
    assert (
        "Step 3: the gradient of vit is not finite" in caplog.text
        and "The step is skipped." in caplog.text
    )
    assert all(torch.isfinite(value).all() for value in states[3].values())


def test_a_run_that_skips_every_step_ends(tmp_path, monkeypatch):
    class Always(Spoiled):
        @property
        def spoiled(self):
            return self.forwards

    monkeypatch.setattr("ctcl_hf.training.guards.finite.SKIPS_IN_A_ROW", 2)
    with pytest.raises(FloatingPointError, match="2 steps in a row were skipped already"):
        make_trainer(tmp_path, Always, max_steps=9, on_nonfinite="skip").train()


class ScaledTrainer(CTCLTrainer):
    """float16 as on a GPU: autocast, and accelerate's own path through a scaler of losses."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = torch.amp.GradScaler("cpu")
        self.accelerator.native_amp = True
        self.accelerator.state._mixed_precision = "fp16"


@pytest.fixture
def float16_on_cpu(monkeypatch):
    monkeypatch.setattr("helpers.training.CTCLTrainer", ScaledTrainer)
    yield
    AcceleratorState._reset_state()


def test_an_overflow_of_float16_is_skipped_without_a_word_or_a_trace(
    tmp_path, caplog, float16_on_cpu
):
    states, scales = [], []

    class States(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            states.append(weights(trainer))
            scales.append(trainer.accelerator.scaler.get_scale())

    trainer = recording_trainer(tmp_path, Spoiled, max_steps=4, callbacks=[States()])
    trainer.train()
    assert trainer.accelerator.mixed_precision == "fp16" and trainer.state.global_step == 4
    assert_equal_weights(states[2], states[1])  # BatchNorm's statistics too
    assert any(not torch.equal(states[3][name], states[2][name]) for name in states[3])
    assert scales[2] == scales[1] / 2
    assert "not finite" not in caplog.text


def test_a_run_whose_float16_never_stops_overflowing_ends(tmp_path, monkeypatch, float16_on_cpu):
    class FromThird(Spoiled):
        @property
        def spoiled(self):
            return max(self.forwards, 3)

    monkeypatch.setattr("ctcl_hf.training.guards.finite.SKIPS_IN_A_ROW", 2)
    with pytest.raises(FloatingPointError, match="2 steps in a row were skipped already") as error:
        make_trainer(tmp_path, FromThird, max_steps=9, **SAVES).train()
    assert "Step 5: the gradient of vit is not finite; the loss terms extra_vit = nan" in str(
        error.value
    )
    assert "--bf16" in str(error.value)
    assert problem_of(tmp_path / "checkpoint-2") is None


# ---- data ----


class Failing(SegmentationSamples):
    """Cannot read one image, as long as a file is there."""

    def __init__(self, rows, num_classes, transform, broken, flag, kill=False):
        super().__init__(rows, num_classes, transform)
        self.broken, self.flag, self.kill = broken, flag, kill

    def read(self, index):
        if index == self.broken and self.flag.exists():
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise BadSample(f"Cannot read sample {index} (street.png): image file is truncated")
        return super().read(index)


@pytest.mark.parametrize(("workers", "kill"), [(0, False), (1, False), (1, True)])
def test_training_data_that_cannot_be_read_loses_no_step(workers, kill, undisturbed, tmp_path):
    data = make_data(12, 3)
    options = {"max_steps": 5, "cnn_lr": 0.05, "logging_steps": 2}
    expected = undisturbed(images=(12, 3), **options)
    order = [index for _, _, index in expected.train_sampler]  # of the second epoch

    flag = tmp_path / "broken"
    flag.touch()

    def trainer():
        made = make_trainer(tmp_path / "two", data=data, dataloader_num_workers=workers, **options)
        transform = TrainingTransform(SIZE, (64, 64))
        made.train_dataset = Failing(data.splits["train"], 3, transform, order[5], flag, kill)
        made.train_sampler.epoch = 0
        return made

    # The image is in the first epoch too: it breaks once that is over.
    flag.unlink()
    failing = trainer()
    failing.add_callback(At("on_step_end", 2, flag.touch))
    said = (
        "DataLoader worker .*(killed by signal|exited unexpectedly).*"
        if kill
        else "street.png.: image file is truncated"
    )
    with pytest.raises(
        OSError, match=f"could not be read after step [34].*{said}.*What was trained is saved"
    ):
        failing.train()
    flag.unlink()
    checkpoint = find_checkpoint(str(tmp_path / "two"), "auto")
    assert int(checkpoint.rpartition("-")[2]) == failing.state.global_step >= 3
    resumed = trainer()
    resumed.train(resume_from_checkpoint=checkpoint)
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))


def test_logged_losses_are_trainers_own(tmp_path):
    """Our sums, which survive an interruption, replace Trainer's: they must agree where there is
    none.
    """
    options = {"logging_steps": 2, "gradient_accumulation_steps": 2, "data": make_data(16, 3)}
    trainer = make_trainer(tmp_path, max_steps=4, **options)
    theirs = []
    log = trainer.log
    trainer.log = lambda logs, *rest: (theirs.append(logs.get("loss")), log(logs, *rest))[1]
    trainer.train()
    for own, other in zip(training_logs(trainer), theirs, strict=False):
        assert own["loss"] == pytest.approx(other, rel=1e-5)


# ---- trackers ----


def test_a_tracker_whose_server_is_down_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    calls = []

    class StreetTracker(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            calls.append("begin")

        def on_log(self, args, state, control, **kwargs):
            calls.append("log")
            raise ConnectionError("the tracker's server is down")

    StreetTracker.__module__ = "transformers.integrations.street"
    monkeypatch.setattr(
        "transformers.trainer.get_reporting_integration_callbacks",
        lambda report_to: [StreetTracker],
    )
    trainer = make_trainer(tmp_path, max_steps=3)
    trainer.train()
    assert trainer.state.global_step == 3 and calls == ["begin", "log"]
    assert (
        caplog.text.count("StreetTracker failed (ConnectionError: the tracker's server is down)")
        == 1
    )


def test_a_callback_of_ones_own_may_end_the_training(tmp_path):
    def fail():
        raise ConnectionError("mine")

    with pytest.raises(ConnectionError, match="mine"):
        make_trainer(tmp_path, max_steps=3, callbacks=[At("on_step_end", 1, fail)]).train()


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_a_worker_that_died(error):
    """It ended the run in `ConnectionResetError`, and what was trained was not saved."""
    with (
        pytest.raises(RuntimeError, match="DataLoader worker exited unexpectedly"),
        WorkerDeaths().told_here(),
    ):
        raise error
