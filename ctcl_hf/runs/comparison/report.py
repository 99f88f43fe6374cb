"""What a grid has shown so far, written as Markdown and CSV."""

from collections.abc import Sequence
from typing import Any

from ...base.files import write_whole
from ...base.tables import csv_table, markdown_table
from .cell import Cell, named
from .checklist import checklist
from .evidence import Evidence, evidence_of
from .grid import Grid
from .paper import Table
from .setup import caption_of, setup_of
from .tables import lines_of, sections_of


def write_tables(grid: Grid, paper: Table | None, block_length: int) -> str:
    """Writes table.md and table.csv into the grid's folder; returns the Markdown.

    Args:
        block_length: consecutive images that the intervals over images draw together.
    """
    parts = [caption_of(grid, paper)] if paper else []
    if missing := missing_in(list(grid.cells())):
        parts.append(missing)
    records = []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.pair == pair and cell.is_finished]
        if not cells:
            continue
        sections = sections_of(grid, pair, paper, block_length)
        for section in sections:
            parts += [f"**{section.title}**{section.remark}", *map(markdown_table, section.tables)]
            if section.split is not None:
                found = evidence_of(grid, pair, section.split, block_length)
                records += _records(grid, pair, section.split, paper, found)
        parts.append(setup_of(grid, pair, paper))
        parts.append(f"Check list, {pair}:\n\n{checklist(grid, cells, sections, block_length)}")
    text = "\n\n".join(parts) + "\n"
    write_whole(grid.folder / "table.md", text)
    # of the pair with the most students, whose records have the most
    columns = list(max(records, key=len)) if records else ["pair"]
    write_whole(grid.folder / "table.csv", csv_table(records, columns))
    return text


def missing_in(cells: Sequence[Cell]) -> str | None:
    """Sentences that name the runs that are not finished, or left out; None if there are none."""
    missing = [cell for cell in cells if not cell.is_finished and not cell.is_left_out]
    damaged = [cell for cell in cells if cell.is_left_out]
    if not missing and not damaged:
        return None
    told = [f"{len(cells) - len(missing) - len(damaged)} of {len(cells)} runs are finished."]
    told += [f"Missing: {named(missing)}."] if missing else []
    told += [f"Damaged, and left out: {named(damaged)}."] if damaged else []
    return " ".join(told)


def _place(i: int) -> str:
    return ("first", "second", "third")[i] if i < 3 else f"student_{i + 1}"


def _records(
    grid: Grid, pair: str, split: str, paper: Table | None, found: Sequence[Evidence]
) -> list[dict[str, Any]]:
    """The lines of a table for table.csv: a student's columns begin with first, second, ..., which
    say its name.
    """
    records = []
    by_row = {evidence.row: evidence for evidence in found}
    printed = paper.scores.get(pair, {}) if paper and split == "validation" else {}
    students = next(
        cell for cell in grid.cells() if cell.pair == pair and cell.is_finished
    ).student_titles()
    for line in lines_of(grid, pair, split):
        theirs = printed.get(line.row.title, (None,) * len(students))
        record = {
            "pair": pair,
            "split": split,
            "method": line.row.title,
            # as --methods takes them: spreadsheets would compute what begins with a dash
            "arguments": line.row.arguments.removeprefix("--method "),
        }
        places = [_place(i) for i in range(len(students))]
        record |= dict(zip(places, students, strict=True))
        for i, which in enumerate(places):
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
            intervals = evidence and getattr(evidence, f"over_{over}")
            gains = [*(f"{which}_gain" for which in places), "sum_of_gains"]
            for which, interval in zip(gains, intervals or [None] * len(gains), strict=True):
                record[f"{which}_low_over_{over}"] = interval and interval.low
                record[f"{which}_high_over_{over}"] = interval and interval.high
        record["lost_classes"] = evidence and evidence.lost()
        records.append(record)
    return records
