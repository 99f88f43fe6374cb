"""Registries: the built-in entries of a kind, and those of one's own, which a command line names as
FILE.py:NAME.

Such a file is its user's own code, and is run as a script is. It is run where a command line names
it and nowhere else: what a record, a configuration or a data set names is looked up among the
entries that there are, and never imported.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from .._lazy import LazyDict, Value

# a file without a name is answered with its names
REFERENCE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?")


class OwnFile(NamedTuple):
    """A file of the user's own, as it was when it was run."""

    path: Path
    sha256: str
    module: ModuleType


_FILES: dict[Path, OwnFile] = {}
_ORIGINS: dict[int, OwnFile] = {}  # by the id of an entry, which its module keeps


def is_reference(name: str) -> bool:
    """Whether it names something in a file of one's own."""
    return REFERENCE.fullmatch(name) is not None


def file_in(word: str) -> str | None:
    """The file of one's own that a word of a command line names, alone or as
    --OPTION=FILE.py:NAME.
    """
    found = REFERENCE.fullmatch(word.partition("=")[2] if word.startswith("--") else word)
    return found and found.group("file")


def short_name(name: str) -> str:
    """How an entry is called in the names of folders and repositories: `losses/mine.py:MyLoss` ->
    `MyLoss`.
    """
    return name.rpartition(":")[2]


def origin_of(entry: Any) -> str | None:
    """Of an entry of one's own `MyLoss of mine.py, SHA-256 0123456789ab`; None of a built-in
    one.
    """
    own = _ORIGINS.get(id(entry))
    return own and f"{entry.__name__} of {own.path.name}, SHA-256 {own.sha256[:12]}"


class Registry(LazyDict[Value]):
    """{key: "module:name" of a package, or the object itself}, to which a command line adds entries
    of its user's own.

    Args:
        kind: what an entry is, in a sentence.
        problem: what is wrong with an object that is to be one, such as "expected a subclass of
            Objective", or None.
    """

    def __init__(
        self,
        package: str,
        values: Mapping[str, str | Value],
        kind: str,
        problem: Callable[[Any], str | None],
    ):
        super().__init__(package, values)
        self.kind, self.problem = kind, problem
        named = (value.rpartition(":")[2] for value in values.values() if isinstance(value, str))
        self.built_in = frozenset(name.casefold() for name in (*values, *named))

    def add(self, reference: str) -> Value:
        """What FILE.py:NAME stands for, which is an entry from now on. Only for what a command line
        says.

        Raises:
            ValueError: no such file or name in it, an error in the file, an object of another kind,
                or one that is named as a built-in entry is.
        """
        found = REFERENCE.fullmatch(reference)
        if found is None:
            raise ValueError("expected FILE.py:NAME.")
        file, name = found.group("file", "name")
        own = run_file(file)
        if not name or name not in vars(own.module):
            there = [key for key, value in vars(own.module).items() if self._is_from(own, value)]
            near = get_close_matches(name or "", there, n=1)
            raise ValueError(
                f"expected FILE.py:NAME with a {self.kind} of {file}, which has "
                f"{', '.join(there) or 'none'}."
                + (f" Did you mean {file}:{near[0]}?" if near else "")
            )
        entry = vars(own.module)[name]
        if name.casefold() in self.built_in:
            raise ValueError(
                f"{name} is the name of a {self.kind} that ctcl_hf has, and folders, tables and "
                "cards would take the one for the other. Call yours otherwise."
            )
        if problem := self.problem(entry):
            raise ValueError(f"{name} is no {self.kind}: {problem}.")
        _ORIGINS[id(entry)] = own
        self.data[reference] = entry
        return entry

    def _is_from(self, own: OwnFile, value: Any) -> bool:
        return (
            getattr(value, "__module__", None) == own.module.__name__
            and self.problem(value) is None
        )

    def refusal(self, name: str) -> str:
        """Why there is no entry of a name, in words."""
        if is_reference(name):
            return (
                "a file of one's own is run where its user's command line names it, and this "
                "one was not named"
            )
        return f"expected one of {', '.join(self)}, or one of your own, FILE.py:NAME"


def run_file(name: str) -> OwnFile:
    """The file as the module of its name, run once in a process. What it imports may lie beside it.

    ValueError if there is no such file, if another module has its name, or says where in it an
    error was.
    """
    path = Path(name).expanduser().resolve()
    if path in _FILES:
        return _FILES[path]
    if not path.is_file():
        raise ValueError(f"there is no file {name} (in {Path.cwd()}).")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if str(path.parent) not in sys.path:
        # last: a file beside it that is named as a library is does not hide that
        sys.path.append(str(path.parent))
    spec = None if "." in path.stem else importlib.util.find_spec(path.stem)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path:
        other = f"is that of another one ({spec.origin})" if spec is not None else "has a dot"
        raise ValueError(f"the name of the module {path.stem} {other}. Call the file otherwise.")
    try:
        module = importlib.import_module(path.stem)
    except Exception as error:
        raise ValueError(_told(name, path, error)) from error
    _FILES[path] = OwnFile(path, digest, module)
    return _FILES[path]


class OwnCodeError(ValueError):
    """Code of one's own is wrong; the message says where."""


@contextmanager
def own_code(reference: str, beside_others: bool = False) -> Iterator[None]:
    """Within it, what FILE.py:NAME raises is an OwnCodeError that says what in the file was wrong,
    and where; built-in code is left alone.

    beside_others: other code runs within it as well, whose errors, in which no line of the file has
        a part, are left as they are; so is a lack of memory.
    """
    found = REFERENCE.fullmatch(reference)
    try:
        yield
    except Exception as error:
        if found is None:
            raise
        path = Path(found.group("file")).expanduser().resolve()
        # torch's is known by its name, without an import of torch
        lacks_memory = type(error).__name__ in ("MemoryError", "OutOfMemoryError")
        if beside_others and (lacks_memory or not _lines_in(path, error)):
            raise
        raise OwnCodeError(_told(reference, path, error)) from error


def _lines_in(path: Path, error: Exception) -> list[int | None]:
    """The lines of a file through which an error has come, the innermost last."""
    return [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]


def _told(name: str, path: Path, error: Exception) -> str:
    """`mine.py, line 3: TypeError: ...` of an error in a file of one's own."""
    lines = _lines_in(path, error)
    where = f"{name}, line {lines[-1]}" if lines else name
    return f"{where}: {type(error).__name__}: {str(error).rstrip('.')}."
