"""Lists of classes as tools export them: names, and where they have them ids and colours."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ...base.files import reason_of_file
from ..masks import Colour

# What lies beside exported data, and is read without being named; the first one that is there.
LIST_FILES = (
    "_classes.csv",
    "labelmap.txt",
    "class_dict.csv",
    "label_colors.txt",
    "classes.txt",
    "class_names.txt",
)
NAME_HEADERS = (
    "name",
    "names",
    "class",
    "classes",
    "class name",
    "label",
    "labels",
    "label name",
    "category",
)
ID_HEADERS = ("id", "index", "value", "pixel value", "class id", "label id", "pixel", "number")
COLOUR_HEADERS = (("r", "red"), ("g", "green"), ("b", "blue"))
_LABELMAP = re.compile(r"([^:,]+):(?:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?(?::[^:]*){0,2}")
_COLOUR_NAME = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
_ID_NAME = re.compile(r"(\d+)(?:\s*:\s*|\s+)(\S.*)")
KINDS = (
    "one name in each line; a header with name, and id or r, g, b (CSV); name:r,g,b:: "
    "(labelmap.txt); r g b name (label_colors.txt); id name"
)


class Listed(NamedTuple):
    """One line."""

    name: str
    id: int | None = None
    colour: Colour | None = None


def read_class_list(path: str, option: str) -> tuple[tuple[str, ...], dict[str, list[Colour]]]:
    """Names of classes 0..K-1, and the colours that the file gives them.

    ValueError names what cannot be understood.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{option} {path} cannot be read: {reason_of_file(error)}.") from error
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise ValueError(f"{option} {path} names no class.")
    try:
        listed = _parse(lines, Path(path).suffix.lower())
        names = _in_order(listed)
    except ValueError as error:
        raise ValueError(f"{option} {path}: {error}") from None
    colours: dict[str, list[Colour]] = {}
    for entry in listed:
        if entry.colour is not None:
            colours.setdefault(entry.name, []).append(entry.colour)
    return names, colours


def _parse(lines: Sequence[str], suffix: str) -> list[Listed]:
    if found := _all_match(_LABELMAP, lines):
        return [
            Listed(name.strip(), colour=_colour(rgb) if rgb[0] else None) for name, *rgb in found
        ]
    if found := _all_match(_COLOUR_NAME, lines):
        return [Listed(name, colour=_colour(rgb)) for *rgb, name in found]
    for delimiter in (",", ";", "\t"):
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
        if len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows):
            return _of_table(rows)
    if found := _all_match(_ID_NAME, lines):
        return [Listed(name, int(number)) for number, name in found]
    if lines[0].lower() in NAME_HEADERS:
        if suffix not in (".csv", ".tsv"):
            raise ValueError(
                f"is its first line ({lines[0]}) a class, or a header? Delete it, or call the file "
                ".csv."
            )
        lines = lines[1:]
    if odd := next((line for line in lines if re.search(r"[,;:\t]", line)), None):
        raise ValueError(
            f"{odd!r} is more than a name, and its lines are of no one kind. Known: {KINDS}."
        )
    return [Listed(line) for line in lines]


def _all_match(pattern: re.Pattern, lines: Sequence[str]) -> list[tuple] | None:
    found = [pattern.fullmatch(line) for line in lines]
    return [match.groups() for match in found] if all(found) else None


def _of_table(rows: list[list[str]]) -> list[Listed]:
    """Of rows of equal length, with a header or without."""
    header = [cell.lower().replace("_", " ") for cell in rows[0]]
    known = {*NAME_HEADERS, *ID_HEADERS, *(title for titles in COLOUR_HEADERS for title in titles)}
    if any(cell in known for cell in header):
        rows = rows[1:]
        name, number = _column(header, NAME_HEADERS), _column(header, ID_HEADERS)
        rgb = [_column(header, titles) for titles in COLOUR_HEADERS]
    else:
        texts = [i for i in range(len(header)) if not all(row[i].isdecimal() for row in rows)]
        numbers = [i for i in range(len(header)) if i not in texts]
        name = texts[0] if len(texts) == 1 else None
        number = numbers[0] if len(numbers) in (1, 4) else None
        rgb = numbers[-3:] if len(numbers) in (3, 4) else [None]
    if name is None or (number is None and None in rgb):
        raise ValueError(f"which column of {', '.join(header)} is what? Known: {KINDS}.")
    return [
        Listed(
            row[name],
            None if number is None else _number(row[number]),
            None if None in rgb else _colour([row[i] for i in rgb]),
        )
        for row in rows
    ]


def _column(header: Sequence[str], titles: Iterable[str]) -> int | None:
    return next((header.index(title) for title in titles if title in header), None)


def _in_order(listed: Sequence[Listed]) -> tuple[str, ...]:
    """Names by id, or in the order of the lines; a class of several colours has several lines."""
    if listed and all(entry.id is not None for entry in listed):
        ids: dict[int, str] = {}
        for entry in listed:
            if ids.setdefault(entry.id, entry.name) != entry.name:
                raise ValueError(f"id {entry.id} is {ids[entry.id]}, and {entry.name} as well.")
        if sorted(ids) != list(range(len(ids))):
            raise ValueError(
                f"expected ids 0..{len(ids) - 1}, got {', '.join(map(str, sorted(ids)))}. Give "
                "--class_names in the order wanted, and which ids they are: --label_map 7:0 8:1, "
                "or --reduce_labels for 1..K."
            )
        return tuple(ids[i] for i in range(len(ids)))
    names = [entry.name for entry in listed]
    return tuple(dict.fromkeys(names) if all(entry.colour for entry in listed) else names)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"expected a number, got {text!r}.")
    return int(text)


def _colour(cells: Iterable[str]) -> Colour:
    red, green, blue = (_number(cell) for cell in cells)
    if max(red, green, blue) > 255:
        raise ValueError(f"expected colours of 0..255, got {(red, green, blue)}.")
    return red, green, blue
