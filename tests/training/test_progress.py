"""What a training shows on the console and in trackers."""

import re
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.training import make_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm.auto import tqdm
from transformers import TrainerCallback

from ctcl_hf.arguments.data import DataArguments
from ctcl_hf.arguments.training import CTCLArguments
from ctcl_hf.base.heartbeat import Heartbeat, alive, watched
from ctcl_hf.metrics.scores import Evaluation, Scores
from ctcl_hf.runs.next_steps import next_commands
from ctcl_hf.training.guards.trackers import GuardedTracker, by_split
from ctcl_hf.training.pictures import TAG, GuardedPictures, PicturesForTrackers
from ctcl_hf.training.progress import PairProgress

STATE = SimpleNamespace(global_step=4, max_steps=120, is_world_process_zero=True)
TRAINING = {
    "loss": 3.5,
    "ce_cnn": 1.25,
    "ce_vit": 1.5,
    "hfd_cnn": 0.1,
    "lr_cnn": 0.1,
    "lr_vit": 0.01,
}
SCORES = {
    "eval": Evaluation(
        3,
        {
            "cnn": Scores(0.4123, 0.5, 0.6, 1.0, {"Road": 0.9}),
            "vit": Scores(0.25, 0.5, 0.6, 1.0, {}),
        },
    )
}
EVALUATION = SCORES["eval"].metrics("eval")


def test_each_log_is_one_short_line_without_a_terminal(capsys):
    """Every log was three lines of a hundred characters, every evaluation a table of all
    classes.
    """
    progress = PairProgress(("cnn", "vit"), bars=False, scores=SCORES)
    progress.on_log(None, STATE, None, logs=TRAINING)
    assert not capsys.readouterr().out, "outside of a training"
    begin = SimpleNamespace(global_step=0, max_steps=120, is_world_process_zero=True)
    progress.on_train_begin(None, begin, None)
    progress.on_step_end(None, STATE, SimpleNamespace(should_log=True))
    progress.on_log(None, STATE, None, logs=TRAINING)
    progress.on_log(None, STATE, None, logs=EVALUATION)
    progress.on_log(None, STATE, None, logs={"train_runtime": 3.0, "train_loss": 1.0})
    begun, first, second = capsys.readouterr().out.splitlines()
    assert begun == "step   0/120  training begins"
    assert re.fullmatch(r"step   4/120  loss 3.500  ce cnn 1.250 vit 1.500  \d\d:\d\d left", first)
    assert second == "step   4/120  validation mIoU  cnn 41.23 %  vit 25.00 %"


def test_a_training_that_logs_nothing_for_a_while_says_that_it_goes_on(capsys, monkeypatch):
    """A short run without a terminal was silent until its end, as if it hung."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = PairProgress(("cnn", "vit"), bars=False, scores={})
    state = SimpleNamespace(global_step=0, max_steps=60, is_world_process_zero=True)
    progress.on_train_begin(None, state, None)
    for state.global_step in range(1, 31):
        now += 1
        progress.on_step_end(None, state, SimpleNamespace(should_log=False))
    for _ in range(6):
        now += 1
        progress.on_prediction_step(None, state, None, eval_dataloader=range(8))
    begun, *lines = capsys.readouterr().out.splitlines()
    assert begun == "step  0/60  training begins"
    steps = [
        f"step {step:2}/60  {tqdm.format_interval(60 - step)} left" for step in range(5, 31, 5)
    ]
    assert lines == [*steps, "step 30/60  scoring, batch 5/8"]
    now += 60
    progress.on_step_end(None, state, SimpleNamespace(should_log=True))
    assert not capsys.readouterr().out, "the step's own line comes next"


def test_lines_of_a_long_training_become_rarer(monkeypatch):
    seconds = 3 * 24 * 3600
    clock = iter(range(seconds))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    heart = Heartbeat()
    assert 50 < sum(heart.is_due() for _ in range(seconds - 1)) < 150


def test_what_takes_a_while_says_so_without_a_terminal(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for _ in watched(iter("abcdefghi"), "Checking photos train", 9):
        now += 2
    assert capsys.readouterr().err.splitlines() == [f"Checking photos train: {n}/9" for n in (3, 6)]


def test_work_of_one_piece_says_that_it_goes_on_unless_what_is_in_it_does(monkeypatch, capsys):
    """Nothing came for up to 80 seconds: of imports, of a comparison's start, of a first step."""
    monkeypatch.setattr("ctcl_hf.base.heartbeat.SECONDS", 0.2)
    monkeypatch.setattr("ctcl_hf.base.heartbeat.LOOK", 0.02)
    with alive("starting"):
        time.sleep(0.6)
    assert capsys.readouterr().err.count("starting, ") in (1, 2)
    with alive("the first step") as made:
        made()
        time.sleep(0.5)
    with alive("getting ready"):
        for _ in watched(range(2), "Checking photos train", 2):
            time.sleep(0.3)
    told = capsys.readouterr().err
    assert "Checking photos train: 1/2" in told and "getting ready" not in told
    assert "the first step" not in told
    assert not [thread for thread in threading.enumerate() if "tell" in thread.name]


def test_scores_are_named_by_their_split_for_trackers():
    """What was scored at the end of a run was in train/validation_cnn_mean_iou."""
    logs = {
        "ce_cnn": 1.0,
        "eval_vit_loss": 2.0,
        "validation_cnn_mean_iou": 3.0,
        "test_cnn_iou_Road": 4.0,
        "epoch": 5,
    }
    assert by_split(logs) == {
        "train/ce_cnn": 1.0,
        "validation/vit_loss": 2.0,
        "validation/cnn_mean_iou": 3.0,
        "test/cnn_iou_Road": 4.0,
        "train/epoch": 5,
    }


def test_tensorboard_shows_scores_by_split_and_a_picture_of_each_evaluation(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = make_trainer(
        tmp_path, report_to=["tensorboard"], max_steps=2, eval_strategy="steps", eval_steps=1
    )
    picture = np.full((4, 6, 3), 200, dtype=np.uint8)
    trainer.add_callback(GuardedPictures(trainer.callback_handler, lambda: picture))
    assert "there is already one" not in caplog.text
    trainer.train()
    trainer.evaluate(trainer.eval_dataset, metric_key_prefix="test")
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    scalars = board.Tags()["scalars"]
    assert {"train/ce_cnn", "validation/cnn_mean_iou", "test/vit_mean_iou"} <= set(scalars)
    assert not [tag for tag in scalars if tag.startswith(("eval/", "train/eval", "train/test"))]
    assert [image.step for image in board.Images(TAG)] == [1, 2]


def test_no_picture_is_drawn_that_no_tracker_takes(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.add_callback(
        PicturesForTrackers(trainer.callback_handler, lambda: pytest.fail("drawn"))
    )
    trainer.evaluate()


def test_a_picture_that_cannot_be_drawn_does_not_end_the_training(caplog):
    class Failing(TrainerCallback):
        def on_evaluate(self, *args, **kwargs):
            raise RuntimeError("no font")

    GuardedTracker(Failing()).on_evaluate(None, None, None, metrics={})
    assert "Failing failed (RuntimeError: no font)" in caplog.text


def test_the_next_commands_name_data_only_where_they_are_made_by_code_of_ones_own(tmp_path):
    data = DataArguments(dataset_name="my photos", class_names=["a", "b"])
    said = next_commands(tmp_path, ("cnn", "vit"), data, CTCLArguments("out", use_cpu=True))
    assert f"ctcl-hf evaluate {tmp_path}  " in said
    assert f"--model {tmp_path / 'cnn'}" in said and "ctcl-hf push" in said
    published = CTCLArguments("out", use_cpu=True, push_to_hub=True)
    own = DataArguments()
    own.dataset = "fields.py:Fields"
    said = next_commands(tmp_path, ("cnn", "vit"), own, published)
    assert f"ctcl-hf evaluate {tmp_path} --dataset fields.py:Fields  " in said
    own.data_dir = "their fields"
    said = next_commands(tmp_path, ("cnn", "vit"), own, published)
    named = "--dataset fields.py:Fields --data_dir 'their fields'"
    assert f"ctcl-hf evaluate {tmp_path} {named}  " in said
    assert f"ctcl-hf review {tmp_path} {named}  " in said
    assert "push" not in said
    scored = DataArguments(protocol="sliding", window=[48], flip=True, metrics=["dice"])
    said = next_commands(tmp_path, ("cnn", "vit"), scored, published)
    how = "--protocol sliding --window 48 48 --flip --metrics dice"
    assert f"ctcl-hf evaluate {tmp_path} {how}  " in said  # it scored whole images, without a word


def test_the_next_commands_score_in_the_precision_of_the_run(tmp_path):
    training = CTCLArguments("out", use_cpu=True, bf16=True)
    said = next_commands(tmp_path, ("cnn", "vit"), DataArguments(), training)
    assert f"ctcl-hf evaluate {tmp_path} --bf16  " in said
