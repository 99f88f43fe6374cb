"""Which weights of a run are its best, student by student."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..arguments.problems import did_you_mean
from ..metrics.scores import names_of_scores, of_class

STOPPED_EARLY = "stopped_early"  # in Trainer's log history, at the step that was the last by it
# what students are judged by, unless --metric_for_best_model says another of theirs
SCORE = "mean_iou"


def student_metric(metric: str | None) -> str:
    """What Trainer's name of a metric is called in a student's own scores."""
    return (metric or SCORE).removeprefix("eval_")


def check_metric(
    metric: str | None,
    names: Sequence[str],
    class_names: Sequence[str],
    titles: Mapping[str, str],
    datasets: Sequence[str] = (),
    stops_early: bool = False,
) -> None:
    """ValueError unless evaluations tell the metric by which weights are chosen, and, of a training
    that stops early, of each student.

    Args:
        metric: as --metric_for_best_model says it, or None.
        titles: of the scores of other metrics than mean IoU and the accuracies, by name.
        datasets: names of several evaluation data sets, with which Trainer's names begin.
        stops_early: whether --early_stopping goes by it.
    """
    if metric is None:
        return
    known = names_of_scores(names, class_names, titles)
    shared = [name for name in ("mean_iou", "loss", *titles) if name in known]
    told = student_metric(metric)
    starts = [f"{dataset}_" for dataset in datasets] or [""]
    if not any(told == f"{start}{name}" for start in starts for name in known):
        raise ValueError(
            f"--metric_for_best_model {metric}: no evaluation of this run tells it. Expected one "
            f"of {', '.join(starts[0] + name for name in shared)}, or one student's own, such as "
            f"{starts[0]}{names[0]}_overall_accuracy or "
            f"{starts[0]}{names[0]}_{of_class(class_names[0])}.{did_you_mean(told, known)}"
        )
    if stops_early and told not in shared:
        raise ValueError(
            f"--metric_for_best_model {metric}: --early_stopping goes by what each student scores. "
            f"Expected one of {', '.join(shared)}."
        )


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
