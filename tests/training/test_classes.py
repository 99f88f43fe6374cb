"""Watching classes: what is grouped is logged when it changes, and a lost class is told once, by
name.
"""

import pytest
from transformers import TrainerControl, TrainerState

from ctcl_hf.figures import blind_classes_figure
from ctcl_hf.training.classes import BLIND, GROUPS, ClassWatch, groups_text, kept_steps, still_lost

NAMES = ("cnn", "vit")
LABELS = ("Sky", "Fence", "Wall")
WHILE = "While training, by a running mean over its batches, "


def evaluation(step, fence, sky=0.9):
    """Scores in which the CNN's fence is given, and all else stands still."""
    log = {
        "step": step,
        "eval_cnn_mean_iou": (fence + sky) / 2,
        "eval_cnn_iou_Fence": fence,
        "eval_cnn_iou_Sky": sky,
    }
    return log | {"eval_vit_mean_iou": 0.5, "eval_vit_iou_Fence": 0.1, "eval_vit_iou_Sky": sky}


@pytest.mark.parametrize(
    ("fences", "lost"),
    [
        ([0.0, 0.2, 0.09], True),
        ([0.0, 0.2, 0.11], False),
        ([0.0, 0.04, 0.0], False),  # never known
        ([0.2, 0.0, 0.3], False),  # lost, and learnt again
        ([0.3], False),
        ([], False),
    ],
)
def test_a_class_is_lost_below_half_of_the_best_that_it_was_known_at(fences, lost):
    history = [evaluation(10 * i, fence) for i, fence in enumerate(fences)]
    found = still_lost([{"step": 0, "loss": 1.0}, *history], NAMES, LABELS, {})
    assert [(one.student, one.label) for one in found] == ([("cnn", "Fence")] if lost else [])


def test_a_class_that_does_not_occur_any_more_is_not_lost():
    absent = {key: value for key, value in evaluation(10, 0.0).items() if "Fence" not in key}
    assert not still_lost([evaluation(0, 0.4), absent], NAMES, LABELS, {})


def test_what_came_after_the_step_whose_weights_were_kept_is_not_lost():
    """A report said of weights of step 1, beside their score, that they had lost a class later."""
    weights = {
        "cnn": {"step": 1, "chosen": {"by": "mean_iou", "evaluations": 3}},
        "vit": {"step": 2, "chosen": None},
    }
    assert kept_steps(weights) == {"cnn": 1}
    history = [evaluation(0, 0.4), evaluation(1, 0.4), evaluation(2, 0.01)]
    assert not still_lost(history, NAMES, LABELS, kept_steps(weights))
    assert len(still_lost(history, NAMES, LABELS, {})) == 1


def watched(pair, history):
    state = TrainerState(log_history=history, global_step=history[-1]["step"] if history else 0)
    state.is_world_process_zero = True
    return ClassWatch(pair), state


class Pair:
    """What a watch reads of a pair."""

    names = NAMES

    def __init__(self, groups=None):
        self.students = {name: type("Student", (), {"class_names": LABELS}) for name in NAMES}
        self.objective = type("Objective", (), {"class_groups": groups})


def test_a_lost_class_is_told_once_by_name(caplog):
    history, told = [], []
    for step, fence in enumerate([0.2, 0.05, 0.04, 0.2, 0.03]):
        history.append(evaluation(step, fence))
        watch, state = watched(Pair(), history)
        caplog.clear()
        with caplog.at_level("WARNING"):
            watch.on_evaluate(None, state, TrainerControl(), metrics=history[-1])
        told.append([record.getMessage() for record in caplog.records])
    assert [len(lines) for lines in told] == [0, 1, 0, 0, 0]
    assert told[1] == [
        "cnn knew Fence (20.0 % IoU at step 0) and has lost it, with less than half of that: 5.0 % "
        "at step 1."
    ]


class Groups:
    """What a watch reads of `ClassGroups`."""

    def __init__(self):
        self.blind = [1]

    def blind_classes(self, learner):
        return self.blind if learner == 0 else []

    def of_lesson(self, learner):
        return ((0,), (1, 2)) if self.blind_classes(learner) else ((0,), (1,), (2,))


def test_classes_that_are_left_out_of_the_comparison_are_told_and_drawn():
    """ "is blind to" stood beside a table in which that student had 89 % of the class."""
    told = {
        "cnn": {"blind": ["Fence"], "groups": [["Sky"], ["Wall"]]},
        "vit": {"blind": [], "groups": [["Sky"]]},
    }
    history = [{"step": 10, GROUPS: told}]
    first, second, what_blind_is = groups_text(history).splitlines()
    assert what_blind_is == BLIND
    assert first == (
        f"{WHILE}cnn was last taught on 2 classes: its peer was blind to Fence; left out Fence."
    )
    assert second == f"{WHILE}vit was last taught on no class: its peer was blind to no class."
    figure = blind_classes_figure([(10, told)], 40, ("Sky", "Fence", "Wall"))
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["not taught"]
    (legend,) = figure.legends  # until step 10 a white band looked as if no peer was blind
    assert [text.get_text() for text in legend.texts] == ["not known yet"]


def test_groups_are_logged_when_they_change_and_told_in_a_line_per_student():
    groups = Groups()
    watch, state = watched(Pair(groups), [])
    for step, blind in ((10, [1]), (20, [1]), (30, [])):
        groups.blind, state.global_step = blind, step
        watch.on_log(None, state, TrainerControl(), logs={"loss": 1.0})
        watch.on_log(None, state, TrainerControl(), logs={"eval_cnn_mean_iou": 1.0})
        if step == 20:
            first, second, what_blind_is = groups_text(state.log_history).splitlines()
            assert what_blind_is == BLIND
    assert [log["step"] for log in state.log_history] == [10, 30]
    assert first == (
        f"{WHILE}cnn was last taught on 2 groups of 3 classes: its peer was blind to Fence; merged "
        "Fence + Wall."
    )
    assert second == f"{WHILE}vit was last taught on 3 classes: its peer was blind to no class."
    assert BLIND not in groups_text(state.log_history), "no peer is any more"
    assert groups_text([{"step": 1, "loss": 2.0}]) == ""
    changes = [(log["step"], log[GROUPS]) for log in state.log_history]
    figure = blind_classes_figure(changes, 40, LABELS)
    (bars,) = [c for c in figure.axes[0].collections if len(c.get_paths())]
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == []
    assert bars.get_paths()[0].get_extents().x0 == 10 and bars.get_paths()[0].get_extents().x1 == 30


def test_a_watch_of_a_method_without_groups_logs_nothing():
    watch, state = watched(Pair(), [])
    watch.on_log(None, state, TrainerControl(), logs={"loss": 1.0})
    assert not state.log_history
