"""When training for better weights is given up."""

from collections.abc import Sequence

from transformers import TrainerCallback

from .best import SCORE, STOPPED_EARLY, best_steps


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
