"""Checkpoints are whole or not there, and the last good one outlives what happens to the others."""

import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
from helpers.training import SAVES, At, make_trainer
from transformers import TrainerCallback

from ctcl_hf.training.checkpoints import (
    MANIFEST_FILE,
    STAGING,
    FolderTaken,
    checkpoints_of,
    complete_checkpoint,
    find_checkpoint,
    problem_of,
)


@pytest.fixture(scope="module")
def saved_twice(tmp_path_factory):
    """The folder of a run with two checkpoints, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    make_trainer(folder, max_steps=2, **SAVES).train()
    return folder


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
    with pytest.raises(ValueError, match=r"checkpoint-2: .*Give a folder such as \S+checkpoint-1,"):
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
    assert not (tmp_path / STAGING).exists()


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


def test_a_folder_with_a_results_file_alone_is_no_run_and_is_not_written_over(tmp_path):
    """ "already holds a run. It has no complete checkpoint" was said of a folder of notes."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    for resume in (None, "auto"):
        with pytest.raises(
            FolderTaken, match=r"holds a results\.json, .* such as \S+out-2\."
        ) as told:
            find_checkpoint(str(tmp_path / "out"), resume)
        assert "already" not in str(told.value)


def test_a_run_whose_students_are_gone_is_a_run_still(tmp_path):
    for name in ("results.json", "run.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(FolderTaken, match=r"already holds a run\. It has no complete"):
        find_checkpoint(str(tmp_path), None)


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
