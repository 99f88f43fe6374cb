"""Small files written whole or not at all, and without secrets."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .redaction import redacted


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which becomes `path` once it is written: nobody sees
    half a file.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staged
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file, UTF-8, whole or not at all; tokens and passwords in it are left out."""
    with whole(path) as staged:
        staged.write_text(redacted(text), encoding="utf-8")
