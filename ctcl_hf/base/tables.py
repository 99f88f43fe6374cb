"""Tables as text."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Aligned Markdown; the first line is the header."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    cells = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in lines
    ]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])


def counted(number: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def aligned(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of two columns, of which the second begins at one place."""
    width = max(len(first) for first, _ in lines)
    return [f"{first.ljust(width)}  {second}" for first, second in lines]


def listed(values: Mapping[str, Any]) -> str:
    """`alpha 0.5, hfd off, sides 3 4`: values by name in one line, as text that is no code."""
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return f"({listed(value)})"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_plain, value))
    return str(value)


def csv_table(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV with a header, a line for each record."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in records)
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """A value that spreadsheets show as it is: text that they would compute gets an apostrophe."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value
