"""What can be done with a finished run, as commands."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..arguments.data import DatasetArguments
from ..tables import aligned


def next_commands(
    folder: Path, names: Sequence[str], data: DatasetArguments, is_published: bool
) -> str:
    """Lines of commands, each with what it does, on a run's students.

    Args:
        folder: the run's.
        names: of its students.
        data: what it was scored on.
        is_published: whether its students are on the Hub already.
    """
    student = str(folder / names[0])
    lines = [
        (["predict", "IMAGES", "--model", student], "segment images of your own"),
        (["evaluate", str(folder), *_options(data)], "score both students, and the pair"),
        (["export", student, "--output", f"{names[0]}.onnx"], "write an ONNX file"),
    ]
    if not is_published:
        lines.append((["push", str(folder)], "publish both on the Hub"))
    return "Next:\n" + "\n".join(
        f"  {line}"
        for line in aligned([(shlex.join(["ctcl-hf", *words]), what) for words, what in lines])
    )


def _options(data: DatasetArguments) -> list[str]:
    """The options that name this data."""
    words = []
    for option in dataclasses.fields(DatasetArguments):
        value = getattr(data, option.name)
        if value == option.default and not (option.name == "dataset" and data.dataset_name is None):
            continue
        words.append(f"--{option.name}")
        if not isinstance(value, bool):
            words += map(str, value) if isinstance(value, list) else [str(value)]
    return words
