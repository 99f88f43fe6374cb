"""A resumed run ends as the undisturbed one, and goes on with what it was begun with."""

import json
import re
import shutil

import pytest
from conftest import CLASSES, make_cnn, make_data
from helpers.training import (
    SAVES,
    assert_equal_weights,
    comparable,
    make_trainer,
    weights,
)

from ctcl_hf import CTCL, StudentPair, Vanilla
from ctcl_hf.publishing.rows import values_of_card
from ctcl_hf.training.resumption import check_checkpoint


def test_a_checkpoint_of_other_classes_is_told_by_those_that_differ(tmp_path, cnn, vit):
    """Every class of both was printed."""
    for count, told in (
        (2, "its list of classes is of 2, this run's is of 3. Resume with"),
        (3, "its class is 1: 'other', this run's is 1: 'right'. Resume with"),
    ):
        saved = make_cnn(count)
        if count == 3:
            saved.config.id2label = dict(enumerate((CLASSES[0], "other", CLASSES[2])))
        saved.save_pretrained(str(tmp_path / "cnn"))
        with pytest.raises(ValueError, match=re.escape(told)):
            check_checkpoint(tmp_path, StudentPair({"cnn": cnn, "vit": vit}, Vanilla(cnn, vit)))


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


@pytest.mark.parametrize(
    ("accumulation", "workers", "saved_at"), [(1, 0, 3), (1, 0, 4), (1, 2, 4), (2, 0, 1)]
)  # of 3 batches an epoch: at its end and within it
def test_a_resumed_run_ends_as_the_undisturbed_one_its_logs_too(
    accumulation, workers, saved_at, undisturbed, tmp_path
):
    options = {
        "max_steps": 7,
        "logging_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 5,
        "cnn_lr": 0.05,
        "gradient_accumulation_steps": accumulation,
    }
    whole = undisturbed(**options, **SAVES)
    resumed = make_trainer(tmp_path, dataloader_num_workers=workers, **options)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-{saved_at}")
    assert comparable(resumed) == comparable(whole)
    assert_equal_weights(weights(resumed), weights(whole))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's last checkpoint, which nothing here changes."""
    folder = tmp_path_factory.mktemp("saved")
    make_trainer(folder, save_strategy="steps", save_steps=2, max_steps=2).train()
    return folder / "checkpoint-2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: _rename(folder / "cnn", folder / "swap"),
            "student folder 'cnn' is missing",
        ),
        (lambda folder: _swap(folder / "cnn", folder / "vit"), "its model_type is 'segformer'"),
        (
            lambda folder: (folder / "objective.safetensors").unlink(),
            "holds nothing, and CTCL needs class_groups.*projec",
        ),
        (
            lambda folder: _edit(folder / "cnn", "output_stride", 8),
            "its output_stride is 8, this run's is 16",
        ),
    ],
)
def test_a_checkpoint_of_other_students_is_refused(saved, tmp_path, change, message):
    shutil.copytree(saved, tmp_path / "checkpoint-2")
    change(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path / "again").train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-2")
        )


def _edit(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))


def _rename(old, new):
    old.rename(new)


def _swap(first, second):
    first.rename(first.parent / "third")
    second.rename(first)
    (first.parent / "third").rename(second)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cnn_lr": 1.0}, r"--cnn_lr: 0\.0025 before, 1\.0 now"),
        ({"seed": 4}, r"--seed: 3 before, 4 now"),
        (
            {"per_device_train_batch_size": 2},
            r"--per_device_train_batch_size: 4 before, 2 now",
        ),
        (
            {"objective": lambda a, b: CTCL(a, b, alpha=0.5)},
            r"--alpha: 1\.0 before, 0\.5 now",
        ),
    ],
)
def test_a_run_does_not_go_on_with_other_arguments_than_it_was_begun_with(
    saved, tmp_path, other, message
):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, max_steps=2, **other).train(resume_from_checkpoint=str(saved))


def test_a_run_that_goes_on_with_another_length_follows_it_at_once_and_says_so(tmp_path, caplog):
    """At the end of the shorter run rates are 0, with which its next step was made; and its card
    told of one length.
    """
    rates = {}
    saves = {"save_strategy": "steps", "save_steps": 2}
    for length, checkpoint in ((2, None), (4, str(tmp_path / "run" / "checkpoint-2"))):
        trainer = make_trainer(tmp_path / "run", max_steps=length, **saves)
        with caplog.at_level("WARNING"):
            trainer.train(resume_from_checkpoint=checkpoint)
        rates |= {
            log["step"]: (log["lr_cnn"], log["lr_vit"])
            for log in trainer.state.log_history
            if "lr_cnn" in log
        }
        assert ("is of a run of 2 steps, and this one is to have 4" in caplog.text) is (length == 4)
    trainer.save_model()
    undisturbed = make_trainer(tmp_path / "whole", max_steps=4)
    undisturbed.train()
    expected = {
        log["step"]: (log["lr_cnn"], log["lr_vit"])
        for log in undisturbed.state.log_history
        if "lr_cnn" in log
    }
    assert {step: rates[step] for step in (3, 4)} == {step: expected[step] for step in (3, 4)}
    assert min(rates[3]) > 0
    record = trainer.record()
    assert record["earlier_lengths"] == [[2, 2]]
    told = dict(values_of_card(record, "cnn")["training"])["learning rate"]
    assert told.endswith("; over 2 steps until step 2, and then over 4")
    again = make_trainer(tmp_path / "run", max_steps=4, **saves)
    again.load_trained()
    assert again.record()["earlier_lengths"] == [[2, 2]]
    assert undisturbed.record()["earlier_lengths"] == []


def test_a_checkpoint_with_projections_is_refused_by_a_method_without(saved, tmp_path):
    with pytest.raises(
        ValueError, match=r"it holds class_groups.*projections.*Vanilla needs nothing"
    ):
        make_trainer(tmp_path, Vanilla).train(resume_from_checkpoint=str(saved))
