"""Scores are data: by student and by class, whatever these are called; flat names are made for
Trainer alone.
"""

import json
from dataclasses import replace

from ctcl_hf.metrics.scores import Evaluation, Scores, curve

CNN = Scores(0.5, 0.6, 0.7, 1.5, {"sky": 0.25, "x_mean_iou": 0.75})
VIT = Scores(0.3, 0.4, 0.5, 2.5, {"sky": 0.3})
FLAT = {
    "cnn_mean_iou": 0.5,
    "cnn_mean_accuracy": 0.6,
    "cnn_overall_accuracy": 0.7,
    "cnn_loss": 1.5,
    "cnn_iou_sky": 0.25,
    "cnn_iou_x_mean_iou": 0.75,
    "vit_mean_iou": 0.3,
    "vit_mean_accuracy": 0.4,
    "vit_overall_accuracy": 0.5,
    "vit_loss": 2.5,
    "vit_iou_sky": 0.3,
}


def test_trainer_logs_each_score_under_a_flat_name_and_the_students_means():
    flat = Evaluation(7, {"cnn": CNN, "vit": VIT}).metrics("eval")
    means = {"eval_mean_iou": 0.4, "eval_loss": 2.0}
    assert flat == {f"eval_{name}": value for name, value in FLAT.items()} | means


def test_an_evaluation_comes_back_from_json_equal():
    evaluation = Evaluation(7, {"cnn": CNN, "vit": VIT})
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation
    scored = replace(CNN, others={"mean_dice": 0.25})
    other = Evaluation(7, {"cnn": scored, "vit": scored}, {"mean_dice": "mean Dice"})
    assert Evaluation.from_json(json.loads(json.dumps(other.to_json()))) == other


def test_an_evaluation_of_before_there_were_other_metrics_is_read():
    told = Evaluation(7, {"cnn": CNN}).to_json()
    del told["titles"], told["students"]["cnn"]["others"]
    assert Evaluation.from_json(told) == Evaluation(7, {"cnn": CNN})


def test_flat_names_of_an_older_version_are_read_and_a_class_is_taken_for_no_student():
    """Students were what stood before _mean_iou: a class of such a name made one more."""
    # once, a class that does not occur
    older = FLAT | {"images": 7, "vit_iou_x_mean_iou": float("nan")}
    assert Evaluation.from_json(older) == Evaluation(7, {"cnn": CNN, "vit": VIT})


def test_a_curve_holds_the_evaluations_of_a_student_alone():
    history = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "eval_cnn_mean_iou": 0.1},
        {"step": 4, "eval_cnn_mean_iou": 0.2},
    ]
    assert curve(history, "cnn") == [(2, 0.1), (4, 0.2)]
    assert curve(history, "vit") == []
