"""What a grid has shown so far: tables in the paper's layout, curves, and predictions side by
side.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...arguments.data import DataArguments
from ...figures import class_gains_figure, grid_curves_figure, methods_figure, save_figure
from ...figures.curves import keys_of
from ...files import write_whole
from ...methods import METHODS, Objective
from ...metrics.scores import curve
from ...publishing.card import RECORD_FILE
from ...scoring.image_counts import COUNTS_FILE
from ...scoring.predict import load_for_inference, segment
from ...tables import markdown_table
from .checklist import checklist
from .evidence import Evidence, evidence_of, gains_table, lost_table, seconds_table
from .grid import Cell, Grid, safe_name
from .paper import VANILLA, Row, Table
from .recount import recount

# The paper's set-up, where an argument says it: group in results.json, argument, what it is called,
# value.
PAPER_SETUP = (
    ("students", "from_scratch", "random weights instead of ImageNet's", False),
    ("students", "aspp_channels", "width of DeepLabV3+'s ASPP", 512),
    ("students", "output_stride", "stride of DeepLabV3+'s encoder (default: the paper's)", None),
    ("data", "image_size", "image size (default: the data set's own)", None),
    ("data", "crop_size", "crop", [512, 512]),
    ("data", "scale_range", "scale of training images", [0.5, 2.0]),
    ("training", "per_device_train_batch_size", "images per process and step", 4),
    ("training", "cnn_lr", "learning rate, SGD", 0.0025),
    ("training", "vit_lr", "learning rate, AdamW", 6e-5),
)
FIGURE_IMAGES = 3


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
    """A method's line in the table of one pair and split."""

    row: Row
    seeds: tuple[int, ...]
    scores: tuple[Score, Score]
    gains: tuple[Score, Score] | None  # over vanilla of the same seeds; None without it
    sum_of_gains: Score | None
    minutes: float
    resumed: bool


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


def lines_of(grid: Grid, pair: str, split: str, best: bool = False) -> list[Line]:
    """The lines of all methods of which a cell is finished.

    Args:
        split: "validation" or "test".
        best: of each run the best evaluation during training instead of the last weights;
            validation only.
    """
    by_row: dict[Row, dict[int, tuple[float, float]]] = {}
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
            if own is None:
                continue
            scores = tuple(100 * own.students[name].mean_iou for name in names)
        by_row.setdefault(row, {})[seed] = scores
    lines = []
    for row in (row for row in grid.rows if row in by_row):
        by_seed = by_row[row]
        control = by_row.get(VANILLA, {})
        shared = [seed for seed in by_seed if seed in control]
        gains = [[by_seed[seed][i] - control[seed][i] for seed in shared] for i in (0, 1)]
        facts = [cells[row, seed].facts() for seed in by_seed]
        lines.append(
            Line(
                row,
                tuple(by_seed),
                tuple(Score.of([scores[i] for scores in by_seed.values()]) for i in (0, 1)),
                tuple(Score.of(gain) for gain in gains) if shared else None,
                Score.of([a + b for a, b in zip(*gains, strict=True)]) if shared else None,
                statistics.fmean(fact["minutes"] for fact in facts),
                any(fact["resumed"] for fact in facts),
            )
        )
    return lines


def table_of(
    grid: Grid,
    pair: str,
    split: str,
    students: Sequence[str],
    paper: Table | None,
    best: bool = False,
) -> list[list[str]]:
    """Rows of a pair: each student, the gain over vanilla in brackets, their sum, and the paper's
    row.

    students: what the two are called.
    """
    printed = paper.scores.get(pair, {}) if paper else {}
    header = ["method", *students, "Δ", "seeds", "minutes a run"]
    rows = [header + ([*(f"paper: {name}" for name in students), "paper: Δ"] if printed else [])]
    for line in lines_of(grid, pair, split, best):
        cells = [line.row.title]
        for i, score in enumerate(line.scores):
            gain = f" ({line.gains[i].mean:+.2f})" if line.gains and line.row != VANILLA else ""
            cells.append(f"{score}{gain}")
        cells += [str(line.sum_of_gains or "-"), str(len(line.seeds))]
        cells.append(f"{line.minutes:.0f}" + (" (its last part)" if line.resumed else ""))
        if printed:
            theirs, vanilla = printed.get(line.row.title), printed[VANILLA.title]
            if theirs is None:
                cells += ["-"] * 3
            else:
                cells += [
                    f"{theirs[0]:.2f}",
                    f"{theirs[1]:.2f}",
                    f"{sum(theirs) - sum(vanilla):+.2f}",
                ]
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
    if any("eval_loss" in log for log in cells[0].read("trainer_state.json")["log_history"]):
        title = f"{pair}, validation"
        best = table_of(grid, pair, "validation", students, None, best=True)
        sections.append(
            Section(title, ", the best evaluation of each student during training", [best])
        )
        if seconds := seconds_table(evidence_of(grid, pair, "validation", block_length), students):
            sections.append(
                Section(title, ", when the faster of each two runs had ended", [seconds])
            )
    return sections


def setup_of(grid: Grid, pair: str, paper: Table | None) -> str:
    """What differs from the paper's set-up, and how the tables of a pair are to be read."""
    cells = [cell for cell in grid.cells() if cell.pair == pair and cell.is_finished]
    steps, seeds = (
        cells[0].read("trainer_state.json")["global_step"],
        len({cell.seed for cell in cells}),
    )
    return (
        "What differs from the paper's set-up: "
        + "; ".join(differences(cells[0].read("results.json"), steps, seeds, paper))
        + ".\nΔ is the sum of both students' gains over vanilla of the same seed. "
        + (
            "± is the standard deviation over seeds."
            if seeds > 1
            else "With one seed, differences may be chance."
        )
        + " A class is lost that vanilla of the same seed knows (IoU above 5 %) and the method "
        "less than half."
    )


def caption_of(grid: Grid, paper: Table) -> str:
    """Which of the paper's tables it is, and of what data."""
    finished = (cell for cell in grid.cells() if cell.is_finished)
    own = next((_dataset(cell.read("results.json")) for cell in finished), paper.dataset)
    caption = f"{paper.caption}, with the paper's numbers beside ours."
    if own != paper.dataset:
        caption = f"On {own}; the paper's numbers beside ours are of other data ({paper.caption})."
    return f"{caption} {paper.remark}".rstrip()


def differences(results: dict[str, Any], steps: int, seeds: int, paper: Table | None) -> list[str]:
    """What of a run's set-up is not the paper's, a sentence each."""
    found = [
        f"{title}: {_plain(results[group][name])} (paper: {_plain(value)})"
        for group, name, title, value in PAPER_SETUP
        if results[group][name] != value
    ]
    dataset = _dataset(results)
    if paper and paper.dataset != dataset:
        found.insert(0, f"data set: {dataset} (paper: {paper.dataset})")
    batch = (
        results["training"]["per_device_train_batch_size"]
        * results["training"]["gradient_accumulation_steps"]
    )
    trained = f"{steps} steps of {batch} images per process"
    found.append(f"{trained} (paper: 158,730 of 4 on VOC, not stated elsewhere)")
    found.append(f"{seeds} {'seed' if seeds == 1 else 'seeds'} (paper: not stated)")
    return found


def _dataset(results: dict[str, Any]) -> str:
    return results["data"]["dataset_name"] or results["data"]["dataset"]


def _plain(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return (
        {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def make_counts(grid: Grid) -> list[str]:
    """Counts the images of finished cells that kept no counts, on all processes.

    Returns what failed, and why.
    """
    problems = []
    for cell in grid.cells():
        if cell.is_finished and not (cell.folder / COUNTS_FILE).is_file():
            try:
                recount(cell.folder)
            except (OSError, ValueError, TypeError, KeyError) as error:
                # of a run of an older version, too
                problems.append(f"The images of {cell.title} could not be counted: {error}")
    return problems


def write_tables(grid: Grid, paper: Table | None, block_length: int) -> str:
    """Writes table.md and table.csv into the grid's folder; returns the Markdown.

    Args:
        block_length: consecutive images that the intervals over images draw together.
    """
    parts, records = [caption_of(grid, paper)] if paper else [], []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.pair == pair and cell.is_finished]
        if not cells:
            continue
        for section in sections_of(grid, pair, paper, block_length):
            parts += [f"**{section.title}**{section.remark}", *map(markdown_table, section.tables)]
            if section.split is not None:
                found = evidence_of(grid, pair, section.split, block_length)
                records += _records(grid, pair, section.split, paper, found)
        parts.append(setup_of(grid, pair, paper))
        parts.append(f"Check list, {pair}:\n\n{checklist(grid, cells, block_length)}")
    text = "\n\n".join(parts) + "\n"
    write_whole(grid.folder / "table.md", text)
    rows = io.StringIO()
    writer = csv.DictWriter(
        rows, fieldnames=list(records[0]) if records else ["pair"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    write_whole(grid.folder / "table.csv", rows.getvalue())
    return text


def _records(
    grid: Grid, pair: str, split: str, paper: Table | None, found: Sequence[Evidence]
) -> list[dict[str, Any]]:
    """The lines of a table for table.csv: a student's columns begin with first or second, which say
    its name.
    """
    records, by_row = [], {evidence.row: evidence for evidence in found}
    printed = paper.scores.get(pair, {}) if paper and split == "validation" else {}
    students = next(
        cell for cell in grid.cells() if cell.pair == pair and cell.is_finished
    ).student_titles()
    for line in lines_of(grid, pair, split):
        theirs = printed.get(line.row.title, (None, None))
        record = {
            "pair": pair,
            "split": split,
            "method": line.row.title,
            "arguments": line.row.arguments,
        }
        record |= dict(zip(("first", "second"), students, strict=True))
        for i, which in enumerate(("first", "second")):
            gain = line.gains[i] if line.gains else None
            record |= {
                f"{which}_miou": line.scores[i].mean,
                f"{which}_deviation": line.scores[i].deviation,
                f"{which}_gain": gain and gain.mean,
                f"{which}_paper": theirs[i],
            }
        record["sum_of_gains"] = line.sum_of_gains and line.sum_of_gains.mean
        record |= {"seeds": " ".join(map(str, line.seeds)), "minutes": line.minutes}
        evidence = by_row.get(line.row)
        for over in ("seeds", "images"):
            intervals = (evidence and getattr(evidence, f"over_{over}")) or (None,) * 3
            for which, interval in zip(
                ("first_gain", "second_gain", "sum_of_gains"), intervals, strict=True
            ):
                record[f"{which}_low_over_{over}"] = interval and interval.low
                record[f"{which}_high_over_{over}"] = interval and interval.high
        record["lost_classes"] = evidence and evidence.lost()
        records.append(record)
    return records


def write_curves(grid: Grid) -> list[Path]:
    """Writes a PNG of curves for each pair: mIoU over steps, loss terms, and who teaches how
    much.
    """
    written = []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.is_finished and cell.pair == pair]
        if cells:
            histories = {}
            for cell in cells:
                histories.setdefault(cell.row.title, []).append(
                    cell.read("trainer_state.json")["log_history"]
                )
            written.append(grid.folder / f"curves-{safe_name(pair)}.png")
            methods = _methods_of(cells)
            titles = _titles_of(cells)
            losses = {term for method in methods for term in (*method.OWN_TERMS, *method.TERMS)}
            figure = grid_curves_figure(histories, cells[0].student_names(), titles, losses)
            save_figure(figure, written[-1])
    return written


def logged_quantities(cells: Sequence[Cell]) -> dict[str, str]:
    """What the log histories of finished cells hold of each student, "TERM_{}", and its title."""
    return keys_of(_titles_of(cells))


def _titles_of(cells: Sequence[Cell]) -> dict[str, str]:
    """What finished cells log, by term, as the runs recorded it: a method of the user's own may not
    be at hand.
    """
    titles: dict[str, str] = {}
    for cell in cells:
        recorded = (
            cell.read(RECORD_FILE).get("titles") if (cell.folder / RECORD_FILE).is_file() else None
        )
        titles |= (
            METHODS[cell.read("results.json")["method"]["method"]].titles()
            if recorded is None
            else recorded
        )
    return titles


def _methods_of(cells: Sequence[Cell]) -> list[type[Objective]]:
    return [
        METHODS[name]
        for name in {cell.read("results.json")["method"]["method"]: None for cell in cells}
    ]


def write_class_gains(grid: Grid, block_length: int) -> list[Path]:
    """Writes a PNG for each pair: what each method adds to the IoU of each class, of both students,
    on each split.
    """
    written = []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.is_finished and cell.pair == pair]
        gains: dict[str, dict[str, np.ndarray]] = {}
        names: tuple[str, ...] = ()
        for split in (
            [split for split in cells[0].read("results.json")["scores"] if split != "eval"]
            if cells
            else []
        ):
            for evidence in evidence_of(grid, pair, split, block_length):
                names = evidence.class_names
                for i, student in enumerate(evidence.students):
                    of = 100 * (evidence.ious[:, i] - evidence.control_ious[:, i])
                    gains.setdefault(evidence.row.title, {})[f"{student}, {split}"] = of
        if gains:
            written.append(grid.folder / f"classes-{safe_name(pair)}.png")
            save_figure(class_gains_figure(gains, names), written[-1])
    return written


def write_predictions(grid: Grid) -> list[Path]:
    """Writes a PNG for each pair as the paper's Figure 4: images, truth, and each method's
    prediction per student.
    """
    written = []
    for pair in grid.pairs:
        cells = [
            cell
            for cell in grid.cells()
            if (cell.pair, cell.seed) == (pair, grid.seeds[0]) and cell.is_finished
        ]
        if not cells:
            continue
        told = cells[0].read("results.json")["data"]
        data = DataArguments(**told).load()
        rows = data.splits["validation"]
        chosen = (
            np.linspace(0, len(rows) - 1, min(FIGURE_IMAGES, len(rows)))
            .round()
            .astype(int)
            .tolist()
        )
        samples = data.samples("validation", transform=None)
        images, truths = zip(*(samples.read_picture(index) for index in chosen), strict=True)
        predictions: dict[str, dict[str, list[np.ndarray]]] = {}
        for cell in cells:
            for name in cell.student_names():
                model, image_processor = load_for_inference(str(cell.folder / name))
                maps = [segment(model, image_processor, image) for image in images]
                predictions.setdefault(cell.row.title, {})[name] = maps
        pixels = [np.asarray(image) for image in images]
        written.append(grid.folder / f"figure-{safe_name(pair)}.png")
        save_figure(
            methods_figure(pixels, truths, predictions, data.class_names, data.palette), written[-1]
        )
    return written
