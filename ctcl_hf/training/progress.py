"""Metrics as text: what is printed while training, and the table at its end."""

import time
from collections.abc import Mapping, Sequence

from tqdm.auto import tqdm
from transformers.trainer_callback import ProgressCallback, TrainerState

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
    """A short line for each log of a training, beside Trainer's bars on a terminal and alone elsewhere.

    A line has the losses that the students have in common with any other method, or the mIoU. All terms are in the log
    history, in curves and in trackers, and the scores of single classes in the table at the end.

    Args:
        names: of the students.
        bars: whether there is a terminal to draw them on.
    """

    def __init__(self, names: Sequence[str], bars: bool):
        super().__init__()
        self.names = names
        self.bars = bars
        self._began: tuple[float, int] | None = None  # when the training did, and at which step

    def on_train_begin(self, args, state, control, **kwargs):
        self._began = (time.monotonic(), state.global_step)
        if self.bars:
            super().on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args, state, control, **kwargs):
        if self.bars:
            super().on_step_end(args, state, control, **kwargs)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if self.bars:
            super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        self._began = None
        if self.bars:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self._began is None or not logs or not state.is_world_process_zero:
            return
        place = f"step {state.global_step:{len(str(state.max_steps))}}/{state.max_steps}"
        lines = [self.training_line(logs) + self._time_left(state)] if "loss" in logs else []
        for prefix in {key.removesuffix(f"_{self.names[0]}_mean_iou") for key in logs} - logs.keys():
            lines.append(self.evaluation_line(logs, prefix))
        for line in lines:
            if self.training_bar is None:
                print(f"{place}  {line}", flush=True)
            else:
                self.training_bar.write(f"{place}  {line}")

    def training_line(self, logs: Mapping[str, float]) -> str:
        """`loss 3.412  ce cnn 1.234 vit 1.345`: what was summed up, and each student's cross entropy."""
        terms = [f"{name} {logs[f'ce_{name}']:.3f}" for name in self.names if f"ce_{name}" in logs]
        return f"loss {logs['loss']:.3f}" + (f"  ce {' '.join(terms)}" if terms else "")

    def evaluation_line(self, logs: Mapping[str, float], prefix: str) -> str:
        """`validation mIoU  cnn 41.23 %  vit 38.10 %`."""
        scores = "  ".join(f"{name} {_percent(logs[f'{prefix}_{name}_mean_iou'])} %" for name in self.names)
        return f"{prefix.replace('eval', 'validation', 1)} mIoU  {scores}"

    def _time_left(self, state: TrainerState) -> str:
        """Where no bar tells it: by the pace so far, evaluations included."""
        began, first = self._began
        made, left = state.global_step - first, state.max_steps - state.global_step
        if self.bars or not made or not left:
            return ""
        return f"  {tqdm.format_interval((time.monotonic() - began) / made * left)} left"
