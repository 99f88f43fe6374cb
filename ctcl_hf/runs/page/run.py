"""The page of a run, from the files in its output folder and from nothing else."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...base.files import read_json
from ...figures.curves import is_share, keys_of
from ...metrics.scores import (
    Evaluation,
    Scores,
    curve,
    evaluations_from_json,
    metric_name,
    of_class,
)
from ...publishing.card import RECORD_FILE
from ...publishing.rows import values_of_card, weights_text
from ...scoring.image_counts import COUNTS_FILE, SplitCounts, load_counts
from ...training.checkpoints import STATE_FILE, checkpoints_of
from ...training.classes import groups_text, kept_steps, still_lost
from ..comparison.statistics import best_and_worst, image_scores
from ..files import (
    DATA_FILE,
    EXTREMES_FILE,
    FIGURE_FILE,
    GROUPS_FILE,
    SAMPLES_FILE,
    check_holds_run,
)
from .charts import Chart, line_chart
from .glosses import glosses_of
from .render import percent, picture, write_page

SHARES = {
    "mIoU": "mean_iou",
    "pixel accuracy": "overall_accuracy",
    "mean accuracy": "mean_accuracy",
}
# classes whose confusions are shown as a matrix; of more, the most frequent ones alone
LARGEST_MATRIX = 40
CONFUSIONS = 8  # that are named
EXTREME = 5  # best and worst images that are listed


class Cell(NamedTuple):
    """A student's score of a class or of all, with the control's; shares, None where the class does
    not occur.
    """

    own: float | None
    control: float | None = None

    @property
    def gain(self) -> float | None:
        return None if self.own is None or self.control is None else self.own - self.control


class SplitTable(NamedTuple):
    """Scores of a split.

    rows: title, note below it, a cell for each student; losses, of students.
    """

    title: str
    images: int
    rows: Sequence[tuple[str, str, Sequence[Cell]]]
    losses: Sequence[float]


class Confusions(NamedTuple):
    """What a student took classes for.

    matrix: (K, K) shares of each class's pixels, None if there are too many.
    """

    split: str
    student: str
    matrix: list[list[float]] | None
    # class, what it is taken for, share of the class, share of all
    worst: Sequence[tuple[str, str, float, float]]


class Extremes(NamedTuple):
    """The best and the worst images of a split, by the mean over students: name, and mIoU of each
    in percent.
    """

    split: str
    best: Sequence[tuple[str, Sequence[float]]]
    worst: Sequence[tuple[str, Sequence[float]]]


def write_run_page(
    folder: Path, live: bool = False, state: Mapping[str, Any] | None = None
) -> Path:
    """Writes report.html into the folder of a run that has begun, from what lies there; returns the
    file.

    Args:
        live: let the browser load it again now and then, while the run goes on.
        state: "log_history" and "max_steps" as Trainer knows them now. Default: as a file in the
            folder holds them.

    Raises:
        ValueError: the folder holds no run, or one of an older version, which recorded less.
    """
    check_holds_run(folder)
    record = read_json(folder / RECORD_FILE)
    names = list(record["students"])
    state = state or _state(folder)
    history = state["log_history"]
    last_step = max([log["step"] for log in history if "step" in log], default=0)
    scores, is_final = _scores(record, history, names)
    control = evaluations_from_json(record["control"])
    data = read_json(folder / DATA_FILE) if (folder / DATA_FILE).is_file() else None
    class_names, counts = load_counts(folder) if (folder / COUNTS_FILE).is_file() else ((), {})
    return write_page(
        folder,
        "run.html",
        live=live,
        title=f"{record['method']['name']} on "
        f"{(record['dataset_title'] or 'data without a name').replace('`', '')}",
        record=record,
        names=names,
        step=last_step,
        steps=state["max_steps"],
        is_final=is_final,
        tables=[
            _table(split, of, control.get(split), record["data"]["classes"], data)
            for split, of in scores.items()
        ],
        curves=_curves(history, record, control.get("validation"), last_step),
        evaluations=_evaluations(history, names),
        confusions=[
            _confusions(
                split, name, counts[split].students[name].sum(0, dtype=np.int64), class_names
            )
            for split in counts
            for name in counts[split].students
        ],
        classes=class_names,
        extremes=[_extremes(split, of) for split, of in counts.items()],
        grouped=groups_text(history).splitlines(),
        lost=[
            str(lost)
            for lost in still_lost(
                history,
                names,
                record["data"]["classes"],
                kept_steps(record.get("weights", {})),
            )
        ],
        data=data,
        settings={name: values_of_card(record, name)["training"] for name in names},
        has_control=bool(control),
        glosses=glosses_of(record),
        weights={
            name: weights_text(record.get("weights", {}).get(name), record["steps"])
            for name in names
        },
        pictures={
            name: picture(folder / file)
            for name, file in {
                "samples": SAMPLES_FILE,
                "figure": FIGURE_FILE,
                "extremes": EXTREMES_FILE,
                "classes": GROUPS_FILE,
            }.items()
        },
    )


def _state(folder: Path) -> dict[str, Any]:
    """Trainer's state as far as it was saved: at the run's end, or in its last checkpoint."""
    files = [
        place / STATE_FILE
        for place in (folder, *checkpoints_of(folder))
        if (place / STATE_FILE).is_file()
    ]
    states = [read_json(file) for file in files]
    return max(
        states, key=lambda state: state["global_step"], default={"log_history": [], "max_steps": 0}
    )


def _scores(
    record: Mapping[str, Any], history: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[dict[str, Evaluation], bool]:
    """By split, and whether they are of the run's end.

    While it trains, those of the last evaluation are all.
    """
    found = evaluations_from_json(record["scores"])
    if final := {split: of for split, of in found.items() if split.split("_")[0] != "eval"}:
        return final, True
    last = next(
        (log for log in reversed(history) if metric_name("eval", names[0], "mean_iou") in log), None
    )
    if last is None:
        return {}, False
    labels = record["data"]["classes"]
    students = {
        name: Scores(
            **{what: last[metric_name("eval", name, what)] for what in (*SHARES.values(), "loss")},
            ious={
                label: last[key]
                for label in labels
                if (key := metric_name("eval", name, of_class(label))) in last
            },
        )
        for name in names
    }
    return {
        "validation": Evaluation((record["data"]["validation"] or {}).get("images", 0), students)
    }, False


def _table(
    split: str,
    scores: Evaluation,
    control: Evaluation | None,
    labels: Sequence[str],
    data: Mapping | None,
) -> SplitTable:
    def cells(read: Callable[[Scores], float | None]) -> list[Cell]:
        return [
            Cell(read(own), control and read(control.students[name]))
            for name, own in scores.students.items()
        ]

    notes = _notes_of_classes(data)
    rows = [(title, "", cells(attrgetter(what))) for title, what in SHARES.items()]
    rows += [
        (title, "", cells(lambda of, what=what: of.others.get(what)))
        for what, title in scores.titles.items()
    ]
    rows += [
        (label, notes.get(label, ""), cells(lambda of, label=label: of.ious.get(label)))
        for label in labels
    ]
    return SplitTable(split, scores.images, rows, [of.loss for of in scores.students.values()])


def _notes_of_classes(data: Mapping | None) -> dict[str, str]:
    """What there is of a class to learn from, by its name."""
    if data is None:
        return {}
    train = data["splits"]["train"]
    total = max(sum(train["pixels"]), 1)
    return {
        name: f"in training {100 * pixels / total:.2g} % of the pixels, and in {images} of "
        f"{train['images']} images"
        for name, pixels, images in zip(
            data["classes"], train["pixels"], train["images_with"], strict=True
        )
    }


def _curves(
    history: Sequence[Mapping], record: Mapping, control: Evaluation | None, last_step: int
) -> dict[str, list[Chart]]:
    """Charts by the heading that they stand under: scores, what is minimised, and what else is
    logged.
    """
    names = list(record["students"])
    weighted = {term: term for weights in record["method"]["weights"].values() for term in weights}
    levels = {name: 100 * of.mean_iou for name, of in control.students.items()} if control else {}
    charts: dict[str, list[Chart]] = {
        "Scores": [],
        "Losses": [],
        "Who teaches whom, and what else is watched": [],
    }
    titles = record.get("titles", {})  # which older runs did not record
    for key, title in keys_of(
        titles | {term: term for term in weighted if term not in titles}
    ).items():
        factor = 100 if is_share(title) else 1
        series = {
            name: [
                (log["step"], factor * log[key.format(name)])
                for log in history
                if key.format(name) in log
            ]
            for name in names
        }
        if not any(series.values()):
            continue
        is_score, is_loss = key.startswith("eval_"), key.removesuffix("_{}") in weighted
        heading = list(charts)[0 if is_score else 1 if is_loss else 2]
        title += " (%)" if is_share(title) else ""
        charts[heading].append(line_chart(title, series, last_step, levels if is_score else None))
    return {heading: of for heading, of in charts.items() if of}


def _evaluations(history: Sequence[Mapping], names: Sequence[str]) -> list[list[str]]:
    """Step, and each student's mIoU in percent, of every evaluation."""
    curves = [curve(history, name) for name in names]
    return [
        [str(points[0][0]), *(percent(score) for _, score in points)]
        for points in zip(*curves, strict=True)
    ]


def _confusions(
    split: str, student: str, counts: np.ndarray, class_names: Sequence[str]
) -> Confusions:
    """Of summed counts (K, K): rows what the label says, columns what was predicted."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mistakes = counts * (1 - np.eye(len(counts), dtype=np.int64))
    places = np.argsort(-mistakes, axis=None, kind="stable")[:CONFUSIONS]
    worst = [
        (
            class_names[label],
            class_names[taken],
            shares[label, taken],
            mistakes[label, taken] / max(counts.sum(), 1),
        )
        for label, taken in zip(*np.unravel_index(places, counts.shape), strict=True)
        if mistakes[label, taken]
    ]
    return Confusions(
        split, student, shares.tolist() if len(counts) <= LARGEST_MATRIX else None, worst
    )


def _extremes(split: str, counts: SplitCounts) -> Extremes:
    scores = image_scores(counts.students.values())
    best, worst = (
        [(counts.images[number], scores[number].tolist()) for number in numbers]
        for numbers in best_and_worst(scores.mean(1), EXTREME)
    )
    return Extremes(split, best, worst)
