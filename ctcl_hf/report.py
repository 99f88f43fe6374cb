"""Metrics as text: what is printed while training, and the table at its end."""

from collections.abc import Sequence

from transformers.trainer_callback import ProgressCallback

from .pair import StudentPair
from .tables import markdown_table


def metrics_table(metrics: dict[str, float], names: Sequence[str], prefix: str = "eval") -> str:
    """A Markdown table of an evaluation: a column per student; mIoU, accuracies and IoU of classes that occur, in %."""
    rows = [("mIoU", "mean_iou"), ("pixel accuracy", "overall_accuracy"), ("mean accuracy", "mean_accuracy")]
    starts = [f"{prefix}_{name}_iou_" for name in names]
    scored = dict.fromkeys(key.removeprefix(start) for start in starts for key in metrics if key.startswith(start))
    rows += [(name, f"iou_{name}") for name in scored]
    lines = [[f"{prefix} (%)", *names]]
    for title, key in rows:
        values = [metrics.get(f"{prefix}_{name}_{key}") for name in names]
        lines.append([title, *("-" if value is None else f"{100 * value:.2f}" for value in values)])
    return markdown_table(lines)


def parameter_table(pair: StudentPair) -> str:
    """A Markdown table of the students: architecture, and parameters in millions, auxiliary heads included."""
    lines = [["student", "architecture", "parameters (M)"]]
    for name, student in pair.students.items():
        count = sum(parameter.numel() for parameter in student.model.parameters())
        lines.append([name, student.description, f"{count / 1e6:.2f}"])
    return markdown_table(lines)


class PairProgress(ProgressCallback):
    """Trainer's progress bar, with the pair's losses and scores in readable lines instead of one long dictionary."""

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.names = names

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is None or not logs:
            return
        if "loss" in logs:
            self.training_bar.write(self.training_line(state.global_step, logs))
        elif "eval_mean_iou" in logs:
            self.training_bar.write(f"step {state.global_step}\n{metrics_table(logs, self.names)}")

    def training_line(self, step: int, logs: dict[str, float]) -> str:
        """`step 40 | cnn ce 1.234 hfd 0.123 ... | vit ...`: every term of each student, unweighted."""
        parts = [f"step {step}"]
        for name in self.names:
            own = {key.removesuffix(f"_{name}"): value for key, value in logs.items() if key.endswith(f"_{name}")}
            rate = own.pop("lr")
            parts.append(f"{name} lr {rate:.1e} " + " ".join(f"{key} {value:.3f}" for key, value in own.items()))
        return "\n  ".join(parts)
