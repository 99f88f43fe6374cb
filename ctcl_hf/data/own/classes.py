"""Names and colours of classes, as files tell them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...base.files import reason_of_file
from ..masks import IGNORE_INDEX, Colour
from ..pairs import Incomplete
from ..palettes import palette_for
from .class_lists import read_class_list

CLASSES_FILE = "id2label.json"  # {"0": "road", "1": "car"}
# {"road": [128, 64, 128], "car": [[64, 0, 128], [0, 0, 142]], "ignored": [0, 0, 0]}
PALETTE_FILE = "palette.json"
IGNORED = "ignored"  # what a palette calls the colours that are not scored


def read_palette(path: str | None) -> dict[str, list[Colour]]:
    """Colours by class name, and by IGNORED: of a `palette.json`, or of a list of classes with
    colours.
    """
    if path is None:
        return {}
    palette = (
        _json_palette(path) if path.endswith(".json") else read_class_list(path, "--palette")[1]
    )
    if not palette:
        raise ValueError(f"--palette {path} has no colours.")
    counts = Counter(colour for colours in palette.values() for colour in colours)
    if shared := [colour for colour, count in counts.items() if count > 1]:
        raise ValueError(f"--palette {path}: two classes have the colour {shared[0]}.")
    return palette


def _json_palette(path: str) -> dict[str, list[Colour]]:
    palette = {}
    for name, colours in read_json(path, "--palette").items():
        colours = (
            colours
            if isinstance(colours, list) and colours and isinstance(colours[0], list)
            else [colours]
        )
        for colour in colours:
            if not (
                isinstance(colour, list)
                and len(colour) == 3
                and all(_is_byte(channel) for channel in colour)
            ):
                raise ValueError(
                    f"--palette {path}: {name} must have [red, green, blue] in 0..255, got "
                    f"{colour}."
                )
        palette[name] = [tuple(colour) for colour in colours]
    return palette


def _is_called_as_a_file(name: str) -> bool:
    return "/" in name or Path(name).suffix.lower() in (".txt", ".json", ".csv", ".yaml", ".yml")


def read_class_names(
    given: Sequence[str] | str | None,
    palette: Mapping[str, Any],
    name: str,
    source: str | None = "--palette",
) -> tuple[str, ...]:
    """Names of classes 0..K-1: given, in a file of either kind, or the palette's, which is of an
    option or a file `source`.

    ValueError names what is wrong; Incomplete if nothing names them.
    """
    if isinstance(given, str):
        given = [given]
    if is_file(given):
        path = given[0]
        if path.endswith(".json"):
            told = read_json(path, "--class_names")
            if sorted(told) != sorted(str(i) for i in range(len(told))):
                raise ValueError(
                    f"--class_names {path}: expected ids 0..{len(told) - 1} as keys, got "
                    f"{sorted(told)}."
                )
            given = [str(told[str(i)]).strip() for i in range(len(told))]
        else:
            given = [
                title for title in read_class_list(path, "--class_names")[0] if title != IGNORED
            ]
    elif given is not None and len(given) == 1 and "," in given[0]:
        raise ValueError(f"--class_names {given[0]}: separate names by spaces.")
    elif given is not None and len(given) == 1 and _is_called_as_a_file(given[0]):
        raise ValueError(f"--class_names {given[0]}: there is no such file.")
    names = tuple(given or (title for title in palette if title != IGNORED))
    if not names:
        raise Incomplete(
            f"What are the classes of {name}? Give --class_names road car ..., in the order of "
            f"their ids, or a file with them; or put {CLASSES_FILE} beside the data. Where masks "
            "are of colours, what these mean names the classes: --palette."
        )
    if blank := [i for i, title in enumerate(names) if not title.strip()]:
        raise ValueError(f"--class_names: class {blank[0]} has no name.")
    if len(set(names)) < len(names):
        raise ValueError(
            f"--class_names: {', '.join(n for n, c in Counter(names).items() if c > 1)} is named "
            "twice."
        )
    if unnamed := [title for title in palette if title not in (*names, IGNORED)]:
        is_no, it, its = "is no class", "it", "its"
        if len(unnamed) > 1:
            is_no, it, its = "are no classes", "them", "their"
        raise ValueError(
            f"{source} has colours of {', '.join(unnamed)}, which {is_no}. Classes: "
            f"{', '.join(names)}. Name {it} as well, or give a --palette in which {its} colours "
            f'are "{IGNORED}".'
        )
    return names


def classes_under(palette: Mapping[str, Any], listed: str) -> tuple[str, ...] | None:
    """The classes where a palette was given beside a tool's list of classes with colours; None if
    it says nothing of some colour of the list, which then stands.

    The palette decides: what it calls IGNORED, or gives to another class, is no class. Those of the
    list keep the list's order, in which masks of ids number them.
    """
    names, colours = read_class_list(listed, "--class_names")
    told = {colour for of_class in palette.values() for colour in of_class}
    if not colours or not told.issuperset(colour for of in colours.values() for colour in of):
        return None
    own = [name for name in palette if name != IGNORED]
    return tuple(name for name in names if name in own) if set(own) <= set(names) else tuple(own)


def has_colours(given: Sequence[str] | str | None) -> bool:
    """Whether names were given by a list of classes that says their colours as well."""
    given = [given] if isinstance(given, str) else given
    return (
        is_file(given)
        and not given[0].endswith(".json")
        and bool(read_class_list(given[0], "--class_names")[1])
    )


def is_file(given: Sequence[str] | None) -> bool:
    """Whether names are given by one file."""
    return given is not None and len(given) == 1 and Path(given[0]).is_file()


def drawn_colours(names: Sequence[str], palette: Mapping[str, list[Colour]]) -> tuple[Colour, ...]:
    """A colour for each class to draw it in."""
    return tuple(
        palette[name][0] if name in palette else tuple(colour)
        for name, colour in zip(names, palette_for(names), strict=True)
    )


def ids_of_colours(palette: Mapping[str, list[Colour]], names: Sequence[str]) -> dict[Colour, int]:
    """Class ids by colour, and IGNORE_INDEX for those that are not scored."""
    ids = {name: i for i, name in enumerate(names)} | {IGNORED: IGNORE_INDEX}
    return {colour: ids[name] for name, colours in palette.items() for colour in colours}


def read_json(path: str, option: str) -> dict:
    """An object of a JSON file that `option` names. ValueError if there is none."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {path} cannot be read: {reason_of_file(error)}.") from error
    if not isinstance(told, dict) or not told:
        raise ValueError(f"{option} {path}: expected a JSON object, see docs/data.md.")
    return told


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 255
