"""Metrics as text: what is printed while training, and the table at its end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tqdm.auto import tqdm
from transformers.trainer_callback import ProgressCallback, TrainerCallback, TrainerState

from ..base.heartbeat import Heartbeat
from ..base.tables import markdown_table
from ..methods.pair import StudentPair
from ..metrics.scores import Evaluation, Scores


def metrics_table(evaluation: Evaluation, title: str, control: Evaluation | None = None) -> str:
    """A Markdown table of an evaluation: a column per student; in % mIoU, accuracies, other
    metrics, and IoU of classes that occur.

    control: of the same students, trained alone; shown beside, with the gain.
    """
    labels = list(
        dict.fromkeys(label for scores in evaluation.students.values() for label in scores.ious)
    )
    others = evaluation.titles
    first = ["mIoU", "pixel accuracy", "mean accuracy", *others.values()]
    columns = [[f"{title} (%)", *first, *labels]]
    for name, scores in evaluation.students.items():
        own = _shares(scores, others, labels)
        columns.append([name, *map(_percent, own)])
        if control is not None:
            alone = _shares(control.students[name], others, labels)
            gains = [
                None if x is None or y is None else x - y for x, y in zip(own, alone, strict=True)
            ]
            columns.append([f"{name} alone", *map(_percent, alone)])
            columns.append(["gain", *(_percent(gain, "+") for gain in gains)])
    return markdown_table(list(zip(*columns, strict=True)))


def _shares(scores: Scores, others: Iterable[str], labels: Sequence[str]) -> list[float | None]:
    return [
        scores.mean_iou,
        scores.overall_accuracy,
        scores.mean_accuracy,
        *map(scores.others.get, others),
        *map(scores.ious.get, labels),
    ]


def _percent(share: float | None, sign: str = "") -> str:
    """A share in percent; "-" for a class that does not occur."""
    return "-" if share is None else f"{100 * share:{sign}.2f}"


def parameter_table(pair: StudentPair) -> str:
    """A Markdown table of the students: architecture, and parameters in millions, auxiliary heads
    included.
    """
    lines = [["student", "architecture", "parameters (M)"]]
    for name, student in pair.students.items():
        count = sum(parameter.numel() for parameter in student.model.parameters())
        lines.append([name, student.description, f"{count / 1e6:.2f}"])
    return markdown_table(lines)


def _place(state: TrainerState) -> str:
    """`step   4/120`."""
    return f"step {state.global_step:{len(str(state.max_steps))}}/{state.max_steps}"


class FirstStep(TrainerCallback):
    """Says that the first step of a training is made: from there on lines tell of the steps.

    Args:
        made: called then.
    """

    def __init__(self, made: Callable[[], None]):
        self.made = made

    def on_step_end(self, args, state, control, **kwargs):
        self.made()


class PairProgress(ProgressCallback):
    """A short line for each log of a training, beside Trainer's bars on a terminal and alone
    elsewhere.

    A line has the losses that the students have in common with any other method, or the mIoU. All
    terms are in the log history, in curves and in trackers, and the scores of single classes in the
    table at the end. Without a terminal a line says that it goes on where there was none for a
    while.

    Args:
        names: of the students.
        bars: whether there is a terminal to draw them on.
        scores: the trainer's, by prefix; an evaluation is there before its metrics are logged.
    """

    def __init__(self, names: Sequence[str], bars: bool, scores: Mapping[str, Evaluation]):
        super().__init__()
        self.names = names
        self.bars = bars
        self.scores = scores
        self._began: tuple[float, int] | None = None  # when the training did, and at which step
        self._heart = Heartbeat()
        self._scored = 0  # batches of the present evaluation

    def on_train_begin(self, args, state, control, **kwargs):
        self._began = (time.monotonic(), state.global_step)
        if self.bars:
            super().on_train_begin(args, state, control, **kwargs)
        elif state.is_world_process_zero:
            print(
                f"{_place(state)}  training {'goes on' if state.global_step else 'begins'}",
                flush=True,
            )
            self._heart = Heartbeat()

    def on_step_end(self, args, state, control, **kwargs):
        if self.bars:
            super().on_step_end(args, state, control, **kwargs)
        elif state.is_world_process_zero and not control.should_log and self._heart.is_due():
            print(f"{_place(state)}{self._time_left(state)}", flush=True)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if self.bars:
            super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)
            return
        self._scored += 1
        if state.is_world_process_zero and self._heart.is_due():
            print(
                f"{_place(state)}  scoring, batch {self._scored}/{len(eval_dataloader)}", flush=True
            )

    def on_evaluate(self, args, state, control, **kwargs):
        self._scored = 0
        super().on_evaluate(args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        self._began = None
        if self.bars:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self._began is None or not logs or not state.is_world_process_zero:
            return
        lines = [self.training_line(logs) + self._time_left(state)] if "loss" in logs else []
        for prefix, evaluation in self.scores.items():
            if f"{prefix}_loss" in logs:
                lines.append(self.evaluation_line(prefix, evaluation))
        for line in lines:
            if self.training_bar is None:
                print(f"{_place(state)}  {line}", flush=True)
            else:
                self.training_bar.write(f"{_place(state)}  {line}")
        self._heart.told()

    def training_line(self, logs: Mapping[str, float]) -> str:
        """`loss 3.412  ce cnn 1.234 vit 1.345`: what was summed up, and each student's cross
        entropy.
        """
        terms = [f"{name} {logs[f'ce_{name}']:.3f}" for name in self.names if f"ce_{name}" in logs]
        return f"loss {logs['loss']:.3f}" + (f"  ce {' '.join(terms)}" if terms else "")

    def evaluation_line(self, prefix: str, evaluation: Evaluation) -> str:
        """`validation mIoU  cnn 41.23 %  vit 38.10 %`."""
        scores = "  ".join(
            f"{name} {_percent(own.mean_iou)} %" for name, own in evaluation.students.items()
        )
        return f"{prefix.replace('eval', 'validation', 1)} mIoU  {scores}"

    def _time_left(self, state: TrainerState) -> str:
        """Where no bar tells it: by the pace so far, evaluations included."""
        began, first = self._began
        made, left = state.global_step - first, state.max_steps - state.global_step
        if self.bars or not made or not left:
            return ""
        return f"  {tqdm.format_interval((time.monotonic() - began) / made * left)} left"
