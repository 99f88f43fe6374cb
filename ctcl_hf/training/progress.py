"""Metrics as text: what is printed while training, and the table at its end."""

from collections.abc import Mapping, Sequence

from transformers.trainer_callback import ProgressCallback

from ..methods.pair import StudentPair
from ..tables import markdown_table


def metrics_table(
    metrics: Mapping[str, float],
    names: Sequence[str],
    prefix: str = "eval",
    control: Mapping[str, float] | None = None,
) -> str:
    """A Markdown table of an evaluation: a column per student; mIoU, accuracies and IoU of classes that occur, in %.

    control: scores of a run that trained the same students alone, without the prefix; shown beside, with the gain.
    """
    rows = [("mIoU", "mean_iou"), ("pixel accuracy", "overall_accuracy"), ("mean accuracy", "mean_accuracy")]
    starts = [f"{prefix}_{name}_iou_" for name in names]
    scored = dict.fromkeys(key.removeprefix(start) for start in starts for key in metrics if key.startswith(start))
    rows += [(name, f"iou_{name}") for name in scored]
    columns = [[f"{prefix} (%)", *(title for title, _ in rows)]]
    for name in names:
        own = [metrics.get(f"{prefix}_{name}_{key}") for _, key in rows]
        columns.append([name, *map(_percent, own)])
        if control is not None:
            alone = [control.get(f"{name}_{key}") for _, key in rows]
            gains = [None if None in pair else pair[0] - pair[1] for pair in zip(own, alone, strict=True)]
            columns.append([f"{name} alone", *map(_percent, alone)])
            columns.append(["gain", *(_percent(gain, "+") for gain in gains)])
    return markdown_table(list(zip(*columns, strict=True)))


def _percent(share: float | None, sign: str = "") -> str:
    """A share in percent; "-" for a class that does not occur."""
    return "-" if share is None else f"{100 * share:{sign}.2f}"


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
        for prefix in {key.removesuffix(f"_{self.names[0]}_mean_iou") for key in logs} - logs.keys():
            self.training_bar.write(f"step {state.global_step}\n{metrics_table(logs, self.names, prefix)}")

    def training_line(self, step: int, logs: dict[str, float]) -> str:
        """`step 40 | cnn ce 1.234 hfd 0.123 ... | vit ...`: every term of each student, unweighted."""
        parts = [f"step {step}"]
        for name in self.names:
            own = {key.removesuffix(f"_{name}"): value for key, value in logs.items() if key.endswith(f"_{name}")}
            rate = own.pop("lr")
            parts.append(f"{name} lr {rate:.1e} " + " ".join(f"{key} {value:.3f}" for key, value in own.items()))
        return "\n  ".join(parts)
