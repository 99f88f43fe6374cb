"""Which weights of a run are its best, student by student."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

STOPPED_EARLY = "stopped_early"  # in Trainer's log history, at the step that was the last by it
# what students are judged by, unless --metric_for_best_model says another of theirs
SCORE = "mean_iou"


def student_metric(metric: str | None) -> str:
    """What Trainer's name of a metric is called in a student's own scores."""
    return (metric or SCORE).removeprefix("eval_")


def best_steps(
    history: Iterable[Mapping[str, Any]],
    names: Sequence[str],
    metric: str,
    greater_is_better: bool = True,
    among: Collection[int] | None = None,
) -> dict[str, int]:
    """By student, the step at which its own score was the best of all evaluations in a log history;
    of equal ones the first.

    Args:
        metric: "mean_iou", "loss", ..., which each student has. Of another there is nothing by
            student.
        among: steps that may be chosen. Default: all.
    """
    sign = 1 if greater_is_better else -1
    best: dict[str, tuple[float, int]] = {}
    for log in history:
        for name in names:
            score = log.get(f"eval_{name}_{metric}")
            if score is None or (among is not None and log["step"] not in among):
                continue
            if name not in best or sign * score > best[name][0]:
                best[name] = (sign * score, log["step"])
    return {name: step for name, (_, step) in best.items()}


def was_stopped_early(history: Iterable[Mapping[str, Any]], step: int) -> bool:
    """Whether early stopping has ended a training at this step."""
    return any(STOPPED_EARLY in log and log["step"] == step for log in history)
