"""Small files, written whole or not at all and without secrets, and named where they are broken;
and whether a place can be written to.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .redaction import redacted

RECORD_FILE = "run.json"  # beside the students' folders: all that is known of their run
# Of a model's configuration, which keeps it and makes no use of it: a student's temperature.
TEMPERATURE = "calibration_temperature"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which becomes `path` once it is written: nobody sees
    half a file. An OSError names `path`.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staged
        os.replace(staged, path)
    except OSError as error:
        if error.filename == str(staged):
            error.filename = str(path)
        raise
    finally:
        staged.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file, UTF-8, whole or not at all; tokens and passwords in it are left out."""
    with whole(path) as staged:
        staged.write_text(redacted(text), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file, UTF-8, holds. OSError if it cannot be opened, ValueError if damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or no JSON file: {error}.") from error


def reason_of_file(error: Exception) -> str:
    """Why a file that has been named cannot be read: the system's word without number and name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def share_as(file: Path, other: Path) -> None:
    """Lets those read a file who may read another one. safetensors lets its owner alone."""
    shutil.copymode(other, file)


def check_place(option: str, path: Path, is_folder: bool = True) -> None:
    """OSError, which names the option, unless a folder, or a file, can be written at the path.

    Nothing is left there, nor are its parents made.
    """
    if path.is_dir() != is_folder and path.exists():
        there, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise OSError(f"{option} {path} is {there}: give {wanted}.")
    parents = (path, *path.parents) if is_folder else path.parents
    parent = next(folder for folder in parents if folder.exists())
    if not parent.is_dir():
        raise OSError(f"{option} {path}: {parent} is a file, and no folder.")
    try:
        # Permissions do not tell: of a file system that is read-only, say.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OSError(
            f"{option} {path}: nothing can be written into {parent} ({error.strerror}). Choose "
            "another place."
        ) from error


def problem_of_name(name: str) -> str | None:
    """Why a name that the system gave is not of UTF-8, and how to mend it; None if it is.

    Records, cards and other libraries (datasets, onnxruntime) know names in UTF-8 alone.
    """
    if name.isascii():
        return None
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        return (
            f"{name!a} cannot be read in the encoding of this locale, {encoding}. Set "
            "PYTHONUTF8=1, or a locale of UTF-8 (LC_ALL=C.UTF-8)."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in name):  # a byte that is no UTF-8
        return f"The name {name!a} is not UTF-8: choose another."
    return None
