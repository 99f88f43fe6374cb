"""What a grid's results say of each method against vanilla: gains with intervals, lost classes,
equal seconds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...metrics.scores import Evaluation
from ...scoring.image_counts import SplitCounts, load_counts
from .cell import Cell
from .grid import Grid
from .paper import VANILLA, Row
from .statistics import (
    LEAST_BLOCKS,
    EqualSeconds,
    Interval,
    at_equal_seconds,
    block_bootstrap,
    block_tallies,
    lost_classes,
    t_interval,
)


class Evidence(NamedTuple):
    """A method against vanilla on one pair and split, paired by seed. Of each seed, the students in
    their order.

    over_seeds: gains in mIoU points, and last their sum, with t intervals.
    over_images: the same with intervals over blocks of images; None where a run kept no counts.
    ious, control_ious: (seeds, students, K) shares, NaN where a class does not occur.
    equal_seconds: by seed, on validation; None where it cannot be read.
    """

    row: Row
    seeds: tuple[int, ...]
    students: tuple[str, ...]
    class_names: tuple[str, ...]
    over_seeds: tuple[Interval, ...]
    over_images: tuple[Interval, ...] | None
    ious: np.ndarray
    control_ious: np.ndarray
    equal_seconds: tuple[EqualSeconds | None, ...]

    def lost(self) -> str:
        """`cnn: Fence 2/5, Pole 1/5; vit: none of 9`: classes lost, each in how many of the seeds.

        Lost is what the control of the same seed knows (IoU above 5 %) and the method has less than
        half of; "of 9" are the classes that the control knows with any seed.
        """
        parts = []
        known, lost = lost_classes(self.ious, self.control_ious)
        for i, student in enumerate(self.students):
            times = lost[:, i].sum(0)
            names = [
                f"{self.class_names[k]} {times[k]}/{len(self.seeds)}" for k in np.flatnonzero(times)
            ]
            parts.append(f"{student}: {', '.join(names) or f'none of {known[:, i].any(0).sum()}'}")
        return "; ".join(parts)


class Paired(NamedTuple):
    """A method's run and the vanilla run of the same seed, with what each scored on a split."""

    own: Cell
    control: Cell
    scores: Evaluation
    control_scores: Evaluation


def evidence_of(grid: Grid, pair: str, split: str, block_length: int) -> list[Evidence]:
    """Every method but vanilla that has a seed in common with it, in the grid's order.

    ValueError if two runs of a seed were scored on other images or labels.
    """
    found = []
    for row in grid.rows[1:]:
        runs = []
        for seed in grid.seeds:
            own, control = (grid.cell(of, pair, seed) for of in (row, VANILLA))
            if own.is_finished and control.is_finished:
                scores, control_scores = (cell.evaluations().get(split) for cell in (own, control))
                if scores is not None and control_scores is not None:
                    runs.append(Paired(own, control, scores, control_scores))
        if runs:
            found.append(_evidence(row, runs, split, block_length))
    return found


def _evidence(row: Row, runs: Sequence[Paired], split: str, block_length: int) -> Evidence:
    own, control = [run.scores for run in runs], [run.control_scores for run in runs]
    students = tuple(own[0].students)
    class_names = _classes_in([*own, *control])
    gains = _mean_ious(own, students) - _mean_ious(control, students)
    return Evidence(
        row,
        tuple(run.own.seed for run in runs),
        students,
        class_names,
        tuple(t_interval(column) for column in [*gains.T.tolist(), gains.sum(1).tolist()]),
        _over_images(runs, students, split, block_length),
        _class_ious(own, students, class_names),
        _class_ious(control, students, class_names),
        tuple(_equal_seconds(run, students) for run in runs),
    )


def _classes_in(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """Those that occur in any of them: one that labels do not hold occurs where a student predicts
    it.
    """
    of_students = [
        scores.ious for evaluation in evaluations for scores in evaluation.students.values()
    ]
    return tuple(dict.fromkeys(name for ious in of_students for name in ious))


def _mean_ious(evaluations: Sequence[Evaluation], students: Sequence[str]) -> np.ndarray:
    """In percent, (evaluations, students)."""
    return 100 * np.array([[of.students[name].mean_iou for name in students] for of in evaluations])


def _class_ious(
    evaluations: Sequence[Evaluation], students: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Shares (evaluations, students, classes), NaN where a class does not occur."""
    ious = [[of.students[student].ious for student in students] for of in evaluations]
    return np.array(
        [[[own.get(name, np.nan) for name in names] for own in by_student] for by_student in ious]
    )


def _over_images(
    runs: Sequence[Paired], students: Sequence[str], split: str, block_length: int
) -> tuple[Interval, ...] | None:
    methods, controls = [], []
    for run in runs:
        try:
            counts = [load_counts(cell.folder)[1][split] for cell in (run.own, run.control)]
        except (FileNotFoundError, KeyError):
            return None
        _check_paired(run.own, run.control, *counts, split)
        for tallies, of in zip((methods, controls), counts, strict=True):
            tallies.append([block_tallies(of.students[name], block_length) for name in students])
    return block_bootstrap(np.array(methods), np.array(controls))


def _check_paired(
    own: Cell, control: Cell, counts: SplitCounts, control_counts: SplitCounts, split: str
) -> None:
    labelled = [next(iter(of.students.values())).sum(-1) for of in (counts, control_counts)]
    if counts.images != control_counts.images or not np.array_equal(*labelled):
        raise ValueError(
            f"{own.folder} and its control {control.folder} were scored on other images or labels "
            f"of {split}: they cannot be compared. Move the one that is wrong away, and run it "
            "again."
        )


def _equal_seconds(run: Paired, students: Sequence[str]) -> EqualSeconds | None:
    own, control = run.own.facts(), run.control.facts()
    # the seconds are those of the last part, or of another load
    if own["resumed"] or control["resumed"] or own["jobs"] != control["jobs"]:
        return None
    return at_equal_seconds(
        *(cell.read("trainer_state.json")["log_history"] for cell in (run.own, run.control)),
        students,
    )


def blocks_text(count: int, length: int) -> str:
    """`11 blocks of 10 images`, what an interval is over; or that they are too few for one."""
    blocks = f"{count} {'block' if count == 1 else 'blocks'} of {length}" if length > 1 else count
    text = f"{blocks} {'image' if (count, length) == (1, 1) else 'images'}"
    return text if count >= LEAST_BLOCKS else f"{text}: too few, an interval takes {LEAST_BLOCKS}"


def seeds_text(count: int) -> str:
    """`3 seeds`, what an interval is over; or that there is none over one."""
    return f"{count} seeds" if count > 1 else "1 seed: too few, an interval takes 2"


def gains_table(
    found: Sequence[Evidence], students: Sequence[str], block_length: int
) -> list[list[str]]:
    """Rows: of each method the gains and their sum, with the interval over seeds, and with that
    over images.

    students: what they are called.
    """
    lines = [["gain over vanilla", "95 % interval over", *students, "Δ"]]
    for evidence in found:
        seeds = seeds_text(len(evidence.seeds))
        lines.append([evidence.row.title, seeds, *map(str, evidence.over_seeds)])
        if evidence.over_images is not None:
            blocks = blocks_text(evidence.over_images[0].count, block_length)
            lines.append([evidence.row.title, blocks, *map(str, evidence.over_images)])
    return lines


def lost_table(found: Sequence[Evidence]) -> list[list[str]]:
    """Rows: which classes each student has lost by each method."""
    return [
        ["method", "lost classes, of those that vanilla knows with any seed"],
        *([evidence.row.title, evidence.lost()] for evidence in found),
    ]


def seconds_table(found: Sequence[Evidence], students: Sequence[str]) -> list[list[str]] | None:
    """Rows: gains over vanilla when the faster of each two runs had ended (`at_equal_seconds`), if
    any is known.
    """
    lines = [["gain at equal seconds", *students, "Δ", "of the method's steps", "seeds"]]
    for evidence in found:
        read = [reading for reading in evidence.equal_seconds if reading is not None]
        if read:
            gains = np.array([np.subtract(reading.method, reading.control) for reading in read])
            share = 100 * np.mean([reading.share for reading in read])
            cells = [
                str(t_interval(column)) for column in [*gains.T.tolist(), gains.sum(1).tolist()]
            ]
            lines.append([evidence.row.title, *cells, f"{share:.0f} %", str(len(read))])
    return lines if len(lines) > 1 else None
