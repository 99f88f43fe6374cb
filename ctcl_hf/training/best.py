"""Which weights of a run are its best, student by student, and when training for better ones is
given up.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

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


class EarlyStopping(TrainerCallback):
    """Ends a training once no student has scored better for some evaluations. A resumed run counts
    as one.

    Args:
        names: of the students.
        patience: evaluations without a better score of either student, at least 1.
        metric, greater_is_better: as of `best_steps`.
    """

    def __init__(
        self,
        names: Sequence[str],
        patience: int,
        metric: str = SCORE,
        greater_is_better: bool = True,
    ):
        self.names, self.patience = names, patience
        self.metric, self.greater_is_better = metric, greater_is_better

    def on_evaluate(self, args, state, control, metrics: dict[str, float] | None = None, **kwargs):
        if f"eval_{self.names[0]}_{self.metric}" not in (metrics or {}):
            return
        steps = [
            log["step"] for log in state.log_history if f"eval_{self.names[0]}_{self.metric}" in log
        ]
        best = best_steps(state.log_history, self.names, self.metric, self.greater_is_better)
        if len([step for step in steps if step > max(best.values())]) < self.patience:
            return
        control.should_training_stop = True
        state.log_history.append({"step": state.global_step, STOPPED_EARLY: self.patience})
        if state.is_world_process_zero:
            told = ", ".join(f"{name} at step {step}" for name, step in best.items())
            print(
                f"Stopped after step {state.global_step}: for {self.patience} evaluations no "
                f"student has reached a better {self.metric} (best: {told})."
            )
