"""The end of a run: a finished one is left as it is, what is missing is made and nothing else, and
nothing is lost.
"""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.runs import AGAIN, Killed, files, go, killed, prepared, results

from ctcl_hf import CTCLTrainer, SegmentationSamples, TrainingTransform
from ctcl_hf.runs.run import complete
from ctcl_hf.training.checkpoints import checkpoints_of, trained_steps


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("end") / "run"
    assert go(folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def no_step(monkeypatch):
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)


def assert_ended_alike(folder, other):
    """The same students and scores, and all of the files but those of the moment."""
    for name in ("cnn/model.safetensors", "vit/model.safetensors", "objective.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert results(folder)["scores"] == results(other)["scores"]
    lasting, theirs = (
        {path.name for path in at.iterdir() if path.name[0] != "."} for at in (folder, other)
    )
    assert lasting == theirs
    for name in ("cnn", "vit"):
        assert {path.name for path in (folder / name).iterdir()} == {
            path.name for path in (other / name).iterdir()
        }


def test_images_that_the_training_evaluated_are_not_read_again_at_its_end(tmp_path, monkeypatch):
    read, got = [], SegmentationSamples.__getitem__

    def counted(samples, key):
        if not isinstance(samples.transform, TrainingTransform):
            read.append((len(samples), key[2] if isinstance(key, tuple) else key))
        return got(samples, key)

    monkeypatch.setattr(SegmentationSamples, "__getitem__", counted)
    assert go(tmp_path / "run", "--eval_strategy", "steps", "--eval_steps", "1")
    assert read and len(read) == len(set(read))


# ---- a finished run ----


@pytest.mark.parametrize("checkpoints", [True, False])
def test_the_same_command_leaves_a_finished_run_as_it_is(folder, checkpoints, no_step, capsys):
    """It trained one step past --max_steps, as Trainer does where that is no multiple of an epoch,
    and wrote over the released students; without checkpoints it was refused."""
    for checkpoint in [] if checkpoints else checkpoints_of(folder):
        shutil.rmtree(checkpoint)
    before = files(folder)
    assert go(folder, *AGAIN)
    assert files(folder) == before
    assert (
        f"{folder} holds this run, finished after 2 steps: it is left as it is."
        in capsys.readouterr().out
    )


def test_a_run_that_stopped_early_with_its_best_weights_is_finished_too(
    tmp_path, monkeypatch, capsys
):
    """It was trained on from its last checkpoint, and its best weights were called those of the
    last step.
    """
    folder = tmp_path / "run"
    best = (
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "1",
        "--early_stopping",
        "1",
        "--load_best_model_at_end",
    )
    lasting = (
        *best,
        "--metric_for_best_model",
        "loss",
        "--greater_is_better",
        "True",
        "--max_steps",
        "6",
    )
    assert go(folder, *lasting)  # the loss falls: the first is the best
    steps = trained_steps(folder)
    assert steps is not None and steps < 6
    weights = results(folder)["weights"]
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    before = files(folder)
    assert go(folder, *lasting, *AGAIN)
    assert files(folder) == before
    assert f"finished after {steps} steps: it is left as it is." in capsys.readouterr().out
    (folder / "results.json").unlink()
    assert go(folder, *lasting, *AGAIN)
    assert results(folder)["weights"] == weights and weights["cnn"]["chosen"]["by"] == "loss"


@pytest.mark.parametrize(
    ("missing", "made"),
    [
        (
            "results.json",
            {"results.json", "results.md", "counts.npz", "trainer_state.json", "run.json"},
        ),
        (
            "figure.png",
            {"figure.png", "extremes.png", "curves.png", "classes.png", "report.html", "run.json"},
        ),
    ],
)
def test_of_a_run_whose_end_is_not_complete_what_is_missing_is_made_and_nothing_else(
    folder, finished, missing, made, no_step, capsys
):
    before = files(folder)
    (folder / missing).unlink()
    assert go(folder, *AGAIN)
    after = files(folder)
    touched = {name for name, found in after.items() if found != before[name]}
    assert touched - made <= {
        f"{name}/{file}" for name in ("cnn", "vit") for file in ("README.md", "figure.png")
    }
    assert missing in touched
    assert_ended_alike(folder, finished)
    logs = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    assert sum("validation_mean_iou" in log for log in logs) == 1, "scores of two tries"
    assert "is trained to its end already. What is missing is made: " in capsys.readouterr().out
    card = (folder / "cnn" / "README.md").read_text()
    assert "| **cnn**, validation |" in card and "figure.png" in card


def test_a_finished_run_is_not_taken_for_one_of_other_arguments_or_of_another_length(folder):
    before = files(folder)
    with pytest.raises(
        ValueError, match=r"was written with other arguments \(--seed: 42 before, 3 now"
    ):
        prepared(folder, *AGAIN, "--seed", "3")
    with pytest.raises(
        ValueError, match=r"checkpoint-2 has 2 steps behind it, and this run is to have 1. Train at"
    ):
        prepared(folder, *AGAIN, "--max_steps", "1")
    for checkpoint in checkpoints_of(folder):
        shutil.rmtree(checkpoint)
        before = {
            name: found for name, found in before.items() if not name.startswith(checkpoint.name)
        }
    with pytest.raises(
        ValueError, match="has come to its end, after 2 steps, and kept no checkpoint: it cannot be"
    ):
        prepared(folder, *AGAIN, "--max_steps", "3")
    with pytest.raises(
        ValueError,
        match=r"already holds a run, finished after 2 steps. .*, such as \S+-2\.",
    ):
        prepared(folder)
    assert files(folder) == before


def test_a_run_that_another_one_has_finished_since_it_was_prepared_is_not_trained_over(folder):
    state = folder / "trainer_state.json"
    content = state.read_bytes()
    state.unlink()
    run = prepared(folder, *AGAIN)
    state.write_bytes(content)
    before = files(folder)
    with pytest.raises(
        OSError,
        match=r"Another run has written to .* meanwhile. The same command goes on from there",
    ):
        complete(run)
    assert files(folder) == before


# ---- killed at its end ----


# Before its students are saved, a run without checkpoints has nothing to be finished from.
@pytest.mark.parametrize(
    ("place", "strategy"),
    [
        ("finish", "steps"),
        ("score", "steps"),
        ("score", "no"),
        ("draw", "steps"),
        ("draw", "no"),
        ("write_run_page", "no"),  # all pictures are there, and the page was never written
    ],
)
def test_a_run_that_is_killed_at_its_end_is_finished_without_training(
    place, strategy, finished, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    saving = ("--save_strategy", "no") if strategy == "no" else ()
    with monkeypatch.context() as context:
        context.setattr(f"ctcl_hf.runs.{'run' if place == 'finish' else 'end'}.{place}", killed)
        with pytest.raises(Killed):
            go(folder, *saving)
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *saving, *AGAIN)
    if strategy == "no":
        for checkpoint in checkpoints_of(finished):
            shutil.copytree(checkpoint, folder / checkpoint.name)
    assert_ended_alike(folder, finished)


def test_a_kill_while_the_students_are_moved_into_place_loses_none(folder, finished, monkeypatch):
    """Of a run that was finished and then made longer: the students of both ends lie there."""
    moved = []

    def replace(source, target):
        # which is written, not moved
        if "students" in Path(source).parts and not Path(source).name.startswith("."):
            if len(moved) == 3:
                raise Killed
            moved.append(source)
        move(source, target)

    move = os.replace
    with monkeypatch.context() as context:
        context.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            go(folder, *AGAIN, "--max_steps", "3")
    assert trained_steps(folder) is None  # and are not taken for those of one
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *AGAIN, "--max_steps", "3")
    for name in ("cnn", "vit"):
        own, checkpoint = (
            at / name / "model.safetensors" for at in (folder, folder / "checkpoint-3")
        )
        assert (
            own.read_bytes()
            == checkpoint.read_bytes()
            != (finished / name / "model.safetensors").read_bytes()
        )
    assert results(folder)["steps"] == 3


# ---- what cannot be made ----


def test_a_full_disk_at_the_last_save_keeps_what_is_needed_to_finish(folder, monkeypatch):
    """Half of the new students lay over the old ones."""
    before = files(folder)
    write = CTCLTrainer._write_students

    def full(self, to):
        if to.name != "students":
            return write(self, to)
        (to / "cnn").mkdir(parents=True)
        (to / "cnn" / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(CTCLTrainer, "_write_students", full)
        with pytest.raises(
            OSError, match=r"could not be saved to .*No space left.*goes on from checkpoint-3\."
        ):
            go(folder, *AGAIN, "--max_steps", "3")
    after = files(folder)
    of_the_start = {"run.json", "samples.png"}
    assert {name: after[name] for name in before if name not in of_the_start} == {
        name: found for name, found in before.items() if name not in of_the_start
    }
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *AGAIN, "--max_steps", "3")
    assert trained_steps(folder) == results(folder)["steps"] == 3


@pytest.mark.parametrize(
    ("part", "lost", "retried"),
    [
        ("pictures.comparison_figure", "figure.png", True),
        ("end.history_figure", "curves.png", False),
        ("end.parameter_table", "results.md", False),
    ],
)
def test_a_picture_or_a_table_that_cannot_be_made_costs_itself_and_a_warning(
    folder, part, lost, retried, no_step, monkeypatch, caplog
):
    """The run ended with a traceback, before its card and its push."""
    for name in ("results.json", "results.md", "figure.png", "curves.png"):
        (folder / name).unlink()

    def broken(*args, **kwargs):
        raise RuntimeError("Image size of 100000x20 pixels is too large")

    with monkeypatch.context() as context:
        context.setattr(f"ctcl_hf.runs.{part}", broken)
        assert go(folder, *AGAIN)
    assert (
        f"{folder / lost} could not be made (RuntimeError: Image size of 100000x20 pixels is too"
        in caplog.text
    )
    there = {
        name: (folder / name).is_file()
        for name in ("results.json", "results.md", "figure.png", "curves.png")
    }
    assert there == dict.fromkeys(there, True) | {lost: False}
    assert go(folder, *AGAIN)
    assert (folder / lost).is_file() == retried


def test_a_card_that_cannot_be_made_costs_itself_and_a_warning(
    folder, finished, no_step, monkeypatch, caplog
):
    """A template, or metadata that the Hub's client refuses, ended the training at its next
    save.
    """
    (folder / "results.json").unlink()
    card = folder / "cnn" / "README.md"
    before = card.read_bytes()

    def broken(*args):
        raise ValueError("invalid metadata")

    monkeypatch.setattr("ctcl_hf.publishing.card.render", broken)
    assert go(folder, *AGAIN)
    assert (
        f"The card in {folder / 'cnn'} could not be made (ValueError: invalid metadata)"
        in caplog.text
    )
    assert card.read_bytes() == before
    assert_ended_alike(folder, finished)


# ---- secrets ----


def test_no_file_of_a_run_holds_a_password(finished):
    found = [path for path in finished.rglob("*") if path.is_file()]
    assert len(found) > 30
    assert not [path for path in found if b"passphrase" in path.read_bytes()]
    command = results(finished)["command"]
    assert "--run_name https://hub.example/street" in command
    assert json.loads((finished / "run.json").read_text())["command"] == command
