"""The page of a comparison, from the files of its runs and from the pictures in its folder."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...figures.curves import is_share, points_of
from ..comparison.cell import Cell
from ..comparison.checklist import checklist
from ..comparison.evidence import Evidence, blocks_text, evidence_of, seeds_text
from ..comparison.grid import Grid
from ..comparison.names import safe_name
from ..comparison.paper import TABLES, Table
from ..comparison.pictures import logged_quantities
from ..comparison.report import missing_in
from ..comparison.setup import caption_of, setup_of
from ..comparison.tables import Section, sections_of
from .charts import Chart, Intervals, interval_chart, line_chart
from .render import picture, write_page


class PairPart(NamedTuple):
    """What the page says of a pair.

    sections: each with its tables and the intervals of its gains, by student.
    """

    pair: str
    sections: Sequence[tuple[Section, Sequence[Intervals]]]
    setup: str
    checklist: Sequence[str]
    curves: Sequence[Chart]
    pictures: Mapping[str, str | None]


def write_grid_page(grid: Grid, paper: Table | None, block_length: int) -> Path:
    """Writes report.html into the folder of a comparison, of what is finished of it; returns the
    file.

    Arguments: as of `ctcl_hf.runs.comparison.report.write_tables`.
    """
    finished = [cell for cell in grid.cells() if cell.is_finished]
    by_pair = {pair: [cell for cell in finished if cell.pair == pair] for pair in grid.pairs}
    return write_page(
        grid.folder,
        "grid.html",
        live=False,
        title=f"{len(grid.rows)} methods, {len(grid.seeds)} "
        f"{'seed' if len(grid.seeds) == 1 else 'seeds'}: {', '.join(grid.pairs)}",
        progress=missing_in(list(grid.cells())) or f"All {len(finished)} runs are finished.",
        caption=caption_of(grid, paper) if paper else None,
        parts=[
            _part(grid, pair, cells, paper, block_length)
            for pair, cells in by_pair.items()
            if cells
        ],
        command=command_of(grid, paper, block_length),
    )


def command_of(grid: Grid, paper: Table | None, block_length: int) -> str:
    """The command line that makes the comparison, or goes on with it."""
    words = ["ctcl-hf", "compare"]
    if paper is not None:
        words += ["--table", next(name for name, table in TABLES.items() if table == paper)]
    rows = [row for row in grid.rows[1:] if paper is None or row not in paper.rows]
    if rows:
        words += ["--methods", *(row.arguments.removeprefix("--method ") for row in rows)]
    words += ["--pair", *grid.pairs, "--seeds", str(len(grid.seeds)), "--seed", str(grid.seeds[0])]
    words += ["--block_length", str(block_length), *grid.common, "--output_dir", str(grid.folder)]
    return shlex.join(words)


def _part(
    grid: Grid, pair: str, cells: Sequence[Cell], paper: Table | None, block_length: int
) -> PairPart:
    sections = sections_of(grid, pair, paper, block_length)
    charts = [
        _intervals(evidence_of(grid, pair, section.split, block_length), block_length)
        if section.split
        else []
        for section in sections
    ]
    names = {"classes": "What each method adds to each class", "figure": "Predictions by method"}
    return PairPart(
        pair,
        list(zip(sections, charts, strict=True)),
        setup_of(grid, pair, paper),
        # Markdown, which says what each line is about in bold.
        [
            line.removeprefix("- ").replace("**", "")
            for line in checklist(grid, cells, sections, block_length).splitlines()
        ],
        _curves(cells),
        {
            title: picture(grid.folder / f"{name}-{safe_name(pair)}.png")
            for name, title in names.items()
        },
    )


def _intervals(found: Sequence[Evidence], block_length: int) -> list[Intervals]:
    """Of each student and of their sum, the gain by each method with its intervals."""
    charts = []
    students = found[0].students if found else ()
    both = "both" if len(students) == 2 else "all"
    for i, title in enumerate((*students, f"Δ, the sum of {both}") if found else ()):
        bars = []
        # vanilla, which is not among them, has colour 0 in curves
        for number, evidence in enumerate(found, 1):
            seeds = evidence.over_seeds[i]
            bars.append(
                (f"{evidence.row.title}, over {seeds_text(seeds.count)}", number, seeds[:3])
            )
            if evidence.over_images is not None:
                images = evidence.over_images[i]
                bars.append(
                    (
                        f"{evidence.row.title}, over {blocks_text(images.count, block_length)}",
                        number,
                        images[:3],
                    )
                )
        charts.append(interval_chart(f"{title}: gain over vanilla in mIoU points", bars))
    return charts


def _curves(cells: Sequence[Cell]) -> list[Chart]:
    """Charts of each quantity that is logged, of each student: a line per method, the mean over its
    seeds.
    """
    histories: dict[str, list[Any]] = {}
    for cell in cells:
        histories.setdefault(cell.row.title, []).append(
            cell.read("trainer_state.json")["log_history"]
        )
    last_step = max(
        log["step"] for runs in histories.values() for history in runs for log in history
    )
    charts = []
    for key, title in logged_quantities(cells).items():
        factor, unit = (100, " (%)") if is_share(title) else (1, "")
        for name in cells[0].student_names():
            points = points_of(histories, key, [name])
            # Every method keeps its colour, whether it logs the quantity or not.
            series = {
                method: [
                    (step, factor * float(np.mean(values)))
                    for step, values in sorted(points[method].items())
                ]
                if method in points
                else []
                for method in histories
            }
            if points:
                charts.append(line_chart(f"{name}: {title}{unit}", series, last_step))
    return charts
