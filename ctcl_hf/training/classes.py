"""Watching single classes over a training: who is blind to which, and which is lost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import TrainerCallback
from transformers.utils import logging

from ..methods.pair import StudentPair
from ..metrics.scores import curve, metric_name, of_class

logger = logging.get_logger(__name__)

GROUPS = "class_groups"  # in Trainer's log history: by learner, see `ClassWatch`
KNOWN = 0.05  # IoU above which a class counts as known
LOST = 0.5  # share of its best IoU below which a known class counts as lost

BLIND = (
    "Blind to a class is a peer whose IoU of it over those batches is less than --blind_ratio of "
    "the learner's (default: half), or less than --blind_floor (default: 5 %)."
)


class LostClass(NamedTuple):
    """A class that a student knew at an evaluation, and no longer at a later one. IoUs in 0..1."""

    student: str
    label: str
    best: float
    best_step: int
    now: float
    step: int

    def __str__(self) -> str:
        return (
            f"{self.student} knew {self.label} ({100 * self.best:.1f} % IoU at step "
            f"{self.best_step}) and has lost it, with less than half of that: "
            f"{100 * self.now:.1f} % at step {self.step}."
        )


def lost_classes(
    history: Iterable[Mapping[str, Any]], names: Sequence[str], labels: Sequence[str]
) -> list[LostClass]:
    """Every loss of a class over the evaluations of a log history: the first of each class, in
    order.

    A class is lost below LOST times the best IoU of an evaluation before, if that was above KNOWN.
    It need not be a fault of the method: classes of few pixels come and go in training alone, too.
    """
    best: dict[tuple[str, str], tuple[float, int]] = {}  # by student and class: IoU, and the step
    lost: dict[tuple[str, str], LostClass] = {}
    for log in history:
        for name in names:
            for label in labels:
                iou, place = log.get(metric_name("eval", name, of_class(label))), (name, label)
                if iou is None:  # no evaluation, or one in which the class does not occur
                    continue
                known, known_step = best.get(place, (0.0, 0))
                if known > KNOWN and iou < LOST * known and place not in lost:
                    lost[place] = LostClass(name, label, known, known_step, iou, log["step"])
                best[place] = max(best.get(place, (0.0, 0)), (iou, log["step"]))
    return list(lost.values())


def kept_steps(weights: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Of the "weights" of a record: by student, the step whose weights were chosen, if any was."""
    return {name: own["step"] for name, own in weights.items() if own["chosen"] is not None}


def still_lost(
    history: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    labels: Sequence[str],
    kept: Mapping[str, int],
) -> list[LostClass]:
    """`lost_classes` that the last evaluation in which they occur has not found again, with its
    IoU.

    kept: see `kept_steps`; what came after such a step is nothing that its weights have lost.
    """
    found = []
    for name in names:
        last = kept.get(name, math.inf)
        seen = [log for log in history if log.get("step", 0) <= last]
        for lost in lost_classes(seen, [name], labels):
            ious = [(iou, step) for step, iou in curve(seen, name, of_class(lost.label))]
            (best, best_step), (now, step) = max(ious), ious[-1]
            if now < LOST * best:
                found.append(lost._replace(best=best, best_step=best_step, now=now, step=step))
    return found


def groups_text(history: Iterable[Mapping[str, Any]]) -> str:
    """A line per student on what groups of classes it was taught last in a log history, by the
    running counts of training batches, and on what blind means if any peer is; "" if on none.
    """
    last = next((log[GROUPS] for log in reversed(list(history)) if GROUPS in log), {})
    lines = []
    for name, told in last.items():
        learner, _, peer = name.partition(" from ")
        merged = [" + ".join(group) for group in told["groups"] if len(group) > 1]
        compared = {label for group in told["groups"] for label in group}
        number = (
            f"{len(told['groups'])} groups of {len(compared)} classes"
            if merged
            else f"{len(compared)} classes"
        )
        blind = ", ".join(told["blind"]) or "no class"
        left_out = [label for label in told["blind"] if label not in compared]
        what_becomes = f"; merged {'; '.join(merged)}" if merged else ""
        what_becomes += f"; left out {', '.join(left_out)}" if left_out else ""
        # in one there is nothing to learn
        number = number if len(told["groups"]) > 1 else "no class"
        # Not what the scores beside it say, which are of other images and of the last weights.
        lines.append(
            f"While training, by a running mean over its batches, {learner} was last taught on "
            f"{number}: {peer or 'its peer'} was blind to {blind}{what_becomes}."
        )
    if any(told["blind"] for told in last.values()):
        lines.append(BLIND)
    return "\n".join(lines)


class ClassWatch(TrainerCallback):
    """Logs what the objective merges, where it groups classes, and warns once of each class that a
    student loses.

    The log history gets an entry whenever the groups have changed since the last one, {"step",
    GROUPS: {student: {"blind": names, "groups": lists of names}}}: the classes that the student's
        peer is blind to, and what is compared. Of more students than two there is an entry for each
        learner and peer, "cnn from vit".
    """

    def __init__(self, pair: StudentPair):
        self.pair = pair

    def on_log(self, args, state, control, logs=None, **kwargs):
        groups = self.pair.objective.class_groups
        if groups is None or not logs or "loss" not in logs:
            return
        labels = self._labels()
        now = {
            name: {
                "blind": [labels[i] for i in groups.blind_classes(lesson)],
                "groups": [[labels[i] for i in members] for members in groups.of_lesson(lesson)],
            }
            for lesson, name in self._lessons()
        }
        before = next((log[GROUPS] for log in reversed(state.log_history) if GROUPS in log), None)
        if now != before:
            state.log_history.append({"step": state.global_step, GROUPS: now})

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        names = self.pair.names
        if not state.is_world_process_zero or metric_name("eval", names[0], "mean_iou") not in (
            metrics or {}
        ):
            return
        for lost in lost_classes(state.log_history, names, self._labels()):
            if lost.step == state.global_step:
                logger.warning(str(lost))

    def _lessons(self) -> list[tuple[int, str]]:
        """What is told of, by its place among the groups: each of two students and what it learns
        from, or of more each learner and peer.
        """
        names = self.pair.names
        if len(names) == 2:
            return list(enumerate(names))
        groups = self.pair.objective.class_groups
        return [
            (lesson, f"{names[learner]} from {names[peer]}")
            for lesson, (learner, peer) in enumerate(
                zip(groups.learners, groups.peers, strict=True)
            )
            if peer < len(names)
        ]

    def _labels(self) -> list[str]:
        return next(iter(self.pair.students.values())).class_names
