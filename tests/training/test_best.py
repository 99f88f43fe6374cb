"""Best weights of each student, when training stops early, and what is said of it."""

import json
from types import SimpleNamespace

import pytest
import torch
from helpers.training import make_trainer, weights
from transformers import TrainerControl

from ctcl_hf import CTCLArguments
from ctcl_hf.publishing.rows import weights_text
from ctcl_hf.training.best import best_steps
from ctcl_hf.training.checkpoints import checkpoints_of
from ctcl_hf.training.early_stopping import EarlyStopping

EVERY_STEP = {
    "save_strategy": "steps",
    "save_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "load_best_model_at_end": True,
    "save_total_limit": 1,
}


def history(**scores):
    """Evaluations at steps 1, 2, ...: of each student its mIoUs."""
    return [
        {
            "step": step,
            **{f"eval_{name}_mean_iou": value for name, value in zip(scores, own, strict=True)},
        }
        for step, own in enumerate(zip(*scores.values(), strict=True), 1)
    ]


def test_the_best_step_of_each_student_is_its_own_and_of_equal_ones_the_first():
    logs = history(cnn=[0.1, 0.5, 0.5, 0.2], vit=[0.1, 0.2, 0.3, 0.4])
    assert best_steps(logs, ("cnn", "vit"), "mean_iou") == {"cnn": 2, "vit": 4}
    assert best_steps(logs, ("cnn", "vit"), "mean_iou", greater_is_better=False) == {
        "cnn": 1,
        "vit": 1,
    }
    assert best_steps(logs, ("cnn", "vit"), "mean_iou", among={3, 4}) == {"cnn": 3, "vit": 4}
    assert best_steps(logs, ("cnn", "vit"), "cnn_mean_iou") == {}


def scripted(trainer, scores):
    """The trainer, whose evaluations find these mIoUs of cnn and vit, one after the other."""
    found = iter(scores)

    def evaluate(**kwargs):
        cnn, vit = next(found)
        metrics = {
            "eval_cnn_mean_iou": cnn,
            "eval_vit_mean_iou": vit,
            "eval_mean_iou": (cnn + vit) / 2,
        }
        trainer.log(metrics)
        trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return metrics

    trainer.evaluate = evaluate
    return trainer


def test_each_student_ends_with_its_own_best_weights_and_the_record_says_which(tmp_path):
    """Both ended with those of the best mean, and the card spoke of the last step."""
    scores = [(0.9, 0.1), (0.5, 0.6), (0.2, 0.2), (0.1, 0.8), (0.0, 0.0)]
    trainer = scripted(make_trainer(tmp_path, max_steps=5, **EVERY_STEP), scores)
    of_step = {}
    trainer.add_callback(Remember(trainer, of_step))
    trainer.train()
    assert [path.name for path in checkpoints_of(tmp_path)] == [
        f"checkpoint-{step}" for step in (1, 2, 4, 5)
    ]
    now = weights(trainer)
    for name, step in (("cnn", 1), ("vit", 4)):
        for key, value in now.items():
            if key.startswith(f"students.{name}.model."):
                assert torch.equal(value, of_step[step][key]), (name, key)
    told = trainer.record()["weights"]
    assert told["cnn"] == {"step": 1, "chosen": {"by": "mean_iou", "evaluations": 5}}
    assert told["vit"]["step"] == 4
    trainer.save_model()
    card = (tmp_path / "cnn" / "README.md").read_text()
    assert (
        "| weights | of step 1 of 5, chosen by mIoU on validation as the best of 5 evaluations"
        in card
    )


class Remember(EarlyStopping):
    """Keeps the weights after each step."""

    def __init__(self, trainer, of_step):
        super().__init__(("cnn", "vit"), 99)
        self.trainer, self.of_step = trainer, of_step

    def on_step_end(self, args, state, control, **kwargs):
        self.of_step[state.global_step] = weights(self.trainer)


def test_weights_that_nobody_chose_are_those_of_the_last_step(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=2)
    trainer.train()
    told = json.loads(json.dumps(trainer.record()))["weights"]
    assert told["cnn"] == {"step": 2, "chosen": None}
    assert weights_text(told["cnn"], 2) == "of the last step, 2"
    assert weights_text(None, 2) is None


@pytest.mark.parametrize(
    ("cnn", "vit", "stops"),
    [
        ([0.5, 0.4, 0.4], [0.1, 0.1, 0.1], True),
        ([0.5, 0.4, 0.4], [0.1, 0.1, 0.2], False),
        ([0.5, 0.4], [0.5, 0.5], False),
    ],
)
def test_training_stops_once_no_student_has_scored_better_for_so_many_evaluations(
    cnn, vit, stops, capsys
):
    logs = history(cnn=cnn, vit=vit)
    control = TrainerControl()
    state = SimpleNamespace(log_history=logs, global_step=len(cnn), is_world_process_zero=True)
    EarlyStopping(("cnn", "vit"), 2).on_evaluate(None, state, control, metrics=logs[-1])
    assert control.should_training_stop is stops
    said = capsys.readouterr().out
    assert said == (
        "Stopped after step 3: for 2 evaluations no student has reached a better mean_iou (best: "
        "cnn at step 1, vit at step 1).\n"
        if stops
        else ""
    )


def test_a_run_stops_early_as_its_arguments_say(tmp_path):
    options = EVERY_STEP | {"load_best_model_at_end": False}
    trainer = make_trainer(tmp_path, max_steps=6, early_stopping=1, **options)
    scripted(trainer, [(0.1, 0.1), (0.2, 0.1), (0.2, 0.1), (1, 1)]).train()
    assert trainer.state.global_step == 3


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("foo", {}, "foo: no evaluation of this run tells it. Expected one of mean_iou, loss, or"),
        ("men_iou", {}, "Did you mean mean_iou?"),
        ("eval_overall_accuracy", {}, "such as cnn_overall_accuracy or cnn_iou_"),
        ("cnn_mean_iou", {"early_stopping": 2}, "--early_stopping goes by what each student"),
    ],
)
def test_a_metric_that_no_evaluation_tells_is_refused_before_the_first_step(
    tmp_path, metric, options, message
):
    """It was a KeyError at the first evaluation; of one student's score nothing ever stopped."""
    with pytest.raises(ValueError, match=f"^--metric_for_best_model {metric}: ") as told:
        make_trainer(tmp_path, **EVERY_STEP | options, metric_for_best_model=metric)
    assert message in str(told.value)


def test_an_evaluation_without_the_score_of_a_class_is_none_of_the_best(tmp_path):
    """That of a class which neither labels nor predictions hold ended the training."""
    trainer = make_trainer(tmp_path)
    label = trainer.model.students["cnn"].class_names[0]
    trainer = make_trainer(tmp_path, **EVERY_STEP, metric_for_best_model=f"cnn_iou_{label}")
    assert not trainer._determine_best_metric({"eval_mean_iou": 0.5}, None)
    assert trainer._determine_best_metric({f"eval_cnn_iou_{label}": 0.5}, None)


def test_early_stopping_without_evaluations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--early_stopping counts evaluations: say when"):
        CTCLArguments(str(tmp_path), early_stopping=2)
    with pytest.raises(ValueError, match="--early_stopping 0: expected at least 1"):
        CTCLArguments(str(tmp_path), early_stopping=0, eval_strategy="epoch")


def test_the_best_students_are_loaded_at_the_end(tmp_path):
    trainer = make_trainer(
        tmp_path,
        max_steps=4,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        save_total_limit=1,
        cnn_lr=0.5,
    )
    trainer.train()
    evaluations = [log for log in trainer.state.log_history if "eval_mean_iou" in log]
    found = trainer.evaluate()
    for key in ("eval_cnn_mean_iou", "eval_vit_mean_iou"):
        assert found[key] == pytest.approx(max(log[key] for log in evaluations), abs=1e-12)
