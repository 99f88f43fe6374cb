"""The tables of a pair: each method's scores and gains beside the paper's, as rows of text."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...metrics.scores import curve
from .cell import Cell
from .evidence import evidence_of, gains_table, lost_table, seconds_table
from .grid import Grid
from .paper import VANILLA, Row, Table

# the remark of a section
AT_EQUAL_SECONDS = ", when the faster of each two runs had ended"


class Score(NamedTuple):
    """Mean and, of two seeds or more, standard deviation over seeds, in percent."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Score":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return (
            f"{self.mean:.2f}"
            if self.deviation is None
            else f"{self.mean:.2f} ± {self.deviation:.2f}"
        )


class Section(NamedTuple):
    """A part of what is said of a pair: a title, how it goes on, and tables, each of rows of which
    the first names the columns. split: whose gains the tables tell, if they do."""

    title: str
    remark: str
    tables: list[list[list[str]]]
    split: str | None = None


class Line(NamedTuple):
    """A method's line in the table of one pair and split: of the seeds that vanilla has as well,
    where it has any.

    minutes: a mean over runs that were not interrupted, of which there are `whole`; of none such,
    over the last parts of those that were.
    """

    row: Row
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]  # of each student, as all that follow
    gains: tuple[Score, ...] | None  # over vanilla of the same seeds; None without it
    sum_of_gains: Score | None
    controls: tuple[float, ...] | None  # vanilla's means over the same seeds
    minutes: float
    whole: int

    @property
    def minutes_text(self) -> str:
        """`12`, and of which runs it is the mean, where not of all."""
        digits = 0 if self.minutes >= 1 else 1
        return f"{self.minutes:.{digits}f}{of_which_runs(self.whole, len(self.seeds))}"


def lines_of(
    grid: Grid, pair: str, split: str, best: bool = False, what: str = "mean_iou"
) -> list[Line]:
    """The lines of all methods of which a cell is finished, and has that score.

    Args:
        split: "validation" or "test".
        best: of each run the best evaluation during training instead of the last weights;
            validation only.
        what: a score, by its name in the evaluations.
    """
    by_row: dict[Row, dict[int, tuple[float, ...]]] = {}
    number = len(pair.split("+"))
    cells = {
        (cell.row, cell.seed): cell
        for cell in grid.cells()
        if cell.pair == pair and cell.is_finished
    }
    for (row, seed), cell in cells.items():
        names = cell.student_names()
        if best:
            history = cell.read("trainer_state.json")["log_history"]
            curves = ([score for _, score in curve(history, name)] for name in names)
            scores = tuple(100 * max(points, default=float("nan")) for points in curves)
        else:
            own = cell.evaluations().get(split)
            found = {name: of.flat() for name, of in own.students.items()} if own else {}
            if not all(what in found.get(name, {}) for name in names):
                continue
            scores = tuple(100 * found[name][what] for name in names)
        by_row.setdefault(row, {})[seed] = scores
    lines = []
    for row in (row for row in grid.rows if row in by_row):
        control = by_row.get(VANILLA, {})
        shared = [seed for seed in by_row[row] if seed in control]
        by_seed = {seed: by_row[row][seed] for seed in shared or by_row[row]}
        gains = [[by_seed[seed][i] - control[seed][i] for seed in shared] for i in range(number)]
        minutes, whole = minutes_of([cells[row, seed] for seed in by_seed])
        lines.append(
            Line(
                row,
                tuple(by_seed),
                tuple(Score.of([own[i] for own in by_seed.values()]) for i in range(number)),
                tuple(Score.of(gain) for gain in gains) if shared else None,
                Score.of([sum(own) for own in zip(*gains, strict=True)]) if shared else None,
                tuple(statistics.fmean(control[seed][i] for seed in shared) for i in range(number))
                if shared
                else None,
                minutes,
                whole,
            )
        )
    return lines


def minutes_of(cells: Sequence[Cell]) -> tuple[float, int]:
    """Minutes of a run: a mean over those that were not interrupted, and how many these are; with
    none, over the last parts of all, and 0.
    """
    facts = [cell.facts() for cell in cells]
    whole = [fact["minutes"] for fact in facts if not fact["resumed"]]
    return statistics.fmean(whole or [fact["minutes"] for fact in facts]), len(whole)


def of_which_runs(whole: int, runs: int) -> str:
    """Which of so many runs minutes are of, where not of all."""
    if whole == runs:
        return ""
    if not whole:
        return " (its last part)"
    return f" (of {whole} run{'s' if whole > 1 else ''}; {runs - whole} resumed or not timed)"


def table_of(
    grid: Grid,
    pair: str,
    split: str,
    students: Sequence[str],
    paper: Table | None,
    best: bool = False,
    what: str = "mean_iou",
) -> list[list[str]]:
    """Rows of a pair: each student, the gain over vanilla in brackets, their sum, and the paper's
    row.

    students: what they are called. Where a method lacks seeds that vanilla has, its gain is said
        with vanilla's mean over the seeds that both have.
    """
    printed = paper.scores.get(pair, {}) if paper else {}
    header = ["method", *students, "Δ", "seeds", "minutes a run"]
    rows = [header + ([*(f"paper: {name}" for name in students), "paper: Δ"] if printed else [])]
    lines = lines_of(grid, pair, split, best, what)
    of_vanilla = next((line.seeds for line in lines if line.row == VANILLA), ())
    for line in lines:
        cells = [line.row.title]
        for i, score in enumerate(line.scores):
            gain = ""
            if line.gains and line.controls and line.row != VANILLA:
                # vanilla's own line is of other seeds, and would not subtract
                over = f" over {line.controls[i]:.2f}" if line.seeds != of_vanilla else ""
                gain = f" ({line.gains[i].mean:+.2f}{over})"
            cells.append(f"{score}{gain}")
        cells += [str(line.sum_of_gains or "-"), str(len(line.seeds))]
        cells.append(line.minutes_text)
        if printed:
            theirs, vanilla = printed.get(line.row.title), printed[VANILLA.title]
            if theirs is None:
                cells += ["-"] * (len(students) + 1)
            else:
                cells += [f"{own:.2f}" for own in theirs]
                cells.append(f"{sum(theirs) - sum(vanilla):+.2f}")
        rows.append(cells)
    return rows


def sections_of(grid: Grid, pair: str, paper: Table | None, block_length: int) -> list[Section]:
    """The tables of a pair: of each split, of the best evaluations, and at equal seconds, as far as
    they are known.
    """
    cells = [cell for cell in grid.cells() if cell.pair == pair and cell.is_finished]
    students, scores = cells[0].student_titles(), cells[0].evaluations()
    weights = _weights_of(cells[0].read("results.json"))
    sections = []
    # the validation set's, of training
    for split in [split for split in scores if split != "eval"]:
        tables = [table_of(grid, pair, split, students, paper if split == "validation" else None)]
        if found := evidence_of(grid, pair, split, block_length):
            tables += [gains_table(found, students, block_length), lost_table(found)]
        remark = f" ({scores[split].images} images), mIoU in percent of {weights}"
        sections.append(Section(f"{pair}, {split}", remark, tables, split))
        for what, title in scores[split].titles.items():
            table = table_of(grid, pair, split, students, None, what=what)
            remark = f", {title} in percent of {weights}"
            sections.append(Section(f"{pair}, {split}", remark, [table]))
    if any("eval_loss" in log for log in cells[0].read("trainer_state.json")["log_history"]):
        title = f"{pair}, validation"
        best = table_of(grid, pair, "validation", students, None, best=True)
        sections.append(
            Section(title, ", the best evaluation of each student during training", [best])
        )
        if seconds := seconds_table(evidence_of(grid, pair, "validation", block_length), students):
            sections.append(Section(title, AT_EQUAL_SECONDS, [seconds]))
    return sections


def _weights_of(facts: Mapping[str, Any]) -> str:
    """Which weights the scores in a run's results.json are of.

    Older ones, which do not say, are of the last.
    """
    chosen = [own["chosen"] for own in facts.get("weights", {}).values() if own["chosen"]]
    return (
        f"each student's best weights, chosen by {chosen[0]['by']} on validation"
        if chosen
        else "the last weights"
    )
