"""Metrics as text: what is printed while training, and the table at its end."""

from collections.abc import Mapping, Sequence

from transformers.trainer_callback import ProgressCallback

from ..methods.pair import StudentPair
from ..metrics.scores import Evaluation, Scores
from ..tables import markdown_table


def metrics_table(evaluation: Evaluation, title: str, control: Evaluation | None = None) -> str:
    """A Markdown table of an evaluation: a column per student; mIoU, accuracies and IoU of classes that occur, in %.

    control: of the same students, trained alone; shown beside, with the gain.
    """
    labels = list(dict.fromkeys(label for scores in evaluation.students.values() for label in scores.ious))
    columns = [[f"{title} (%)", "mIoU", "pixel accuracy", "mean accuracy", *labels]]
    for name, scores in evaluation.students.items():
        own = _shares(scores, labels)
        columns.append([name, *map(_percent, own)])
        if control is not None:
            alone = _shares(control.students[name], labels)
            gains = [None if x is None or y is None else x - y for x, y in zip(own, alone, strict=True)]
            columns.append([f"{name} alone", *map(_percent, alone)])
            columns.append(["gain", *(_percent(gain, "+") for gain in gains)])
    return markdown_table(list(zip(*columns, strict=True)))


def _shares(scores: Scores, labels: Sequence[str]) -> list[float | None]:
    return [scores.mean_iou, scores.overall_accuracy, scores.mean_accuracy, *map(scores.ious.get, labels)]


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

    def __init__(self, names: Sequence[str], scores: Mapping[str, Evaluation]):
        """`scores` are the trainer's, by prefix: the evaluation is there before its metrics are logged."""
        super().__init__()
        self.names = names
        self.scores = scores

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is None or not logs:
            return
        if "loss" in logs:
            self.training_bar.write(self.training_line(state.global_step, logs))
        for prefix, evaluation in self.scores.items():
            if f"{prefix}_loss" in logs:
                self.training_bar.write(f"step {state.global_step}\n{metrics_table(evaluation, prefix)}")

    def training_line(self, step: int, logs: dict[str, float]) -> str:
        """`step 40 | cnn ce 1.234 hfd 0.123 ... | vit ...`: every term of each student, unweighted."""
        parts = [f"step {step}"]
        for name in self.names:
            own = {key.removesuffix(f"_{name}"): value for key, value in logs.items() if key.endswith(f"_{name}")}
            rate = own.pop("lr")
            parts.append(f"{name} lr {rate:.1e} " + " ".join(f"{key} {value:.3f}" for key, value in own.items()))
        return "\n  ".join(parts)
