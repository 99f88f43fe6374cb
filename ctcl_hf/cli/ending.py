"""How every command ends where its user can mend what is wrong: in one sentence, and not in a
traceback.
"""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeGuard

from ..arguments.problems import SKIP
from ..base.files import problem_of_name
from ..base.redaction import redacted

INTERRUPTED = 130  # as shells call a process that Ctrl-C has ended


def program() -> str:
    """What the user called: `ctcl-hf train`, or `run_ctcl.py`."""
    return Path(sys.argv[0]).name


def hide_bars_without_terminal() -> None:
    """Of transformers, which shows bars while it reads weights, wherever they go."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()


def fail(error: Exception | str) -> NoReturn:
    text = _of_system(error) if _is_of_system(error) else error
    sys.exit(redacted(f"{program()}: error: {text}"))


def _is_of_system(error: Exception | str) -> TypeGuard[OSError]:
    """Whether it is the system's own word on a file, `[Errno 36] ...`, and no sentence of ours."""
    return isinstance(error, OSError) and error.errno is not None and error.filename is not None


def _of_system(error: OSError) -> str:
    """What the system says of a file, after the option that names it, or a folder it is in."""
    name = os.fsdecode(error.filename)
    option = ""
    for word in sys.argv[1:]:
        flag, is_set, value = word.partition("=")
        if word.startswith("--"):
            option, word = flag, value if is_set else ""
        if word and (name == word or name.startswith(f"{word}{os.sep}")):
            return f"{option} {name}: {error.strerror}.".lstrip()
    return f"{name}: {error.strerror}."


class _Pipe(io.FileIO):
    """A standard stream whose reader may go, as `head` does: what nobody reads is dropped, and the
    work goes on.
    """

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _outlast_readers() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # What else stands there is somebody's own, or has been put there before.
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            raw = _Pipe(stream.fileno(), "w", closefd=False)
            wrapped = io.TextIOWrapper(
                raw if stream.write_through else io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, wrapped)


def _empty_word(argv: Sequence[str]) -> str | None:
    """Says where a command line has an empty word, which as a path would be the present folder;
    None if it has none.
    """
    after = ""
    for word in argv[1:]:
        flag, is_set, value = word.partition("=")
        if word.startswith("--"):
            after = f" after {flag}"
        if not word or (word.startswith("--") and is_set and not value):
            return f"an argument{after} is empty. Is it a variable of the shell that is not set?"
    return None


@contextmanager
def told(*errors: type[Exception]) -> Iterator[None]:
    """These errors end the process with their message and exit code 1; Ctrl-C with a word, and 130.

    So do words of the command line that no file could hold, and empty ones. Whatever is printed
    within it can be shown: letters that the terminal does not know are spelt out, and what is
    printed for a reader who has gone ends nothing.
    """
    for word in sys.argv:
        if (problem := problem_of_name(word)) is not None:
            fail(problem)
    if (problem := _empty_word(sys.argv)) is not None:
        fail(problem)
    _outlast_readers()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{program()}: interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except errors as error:
        fail(error)


@contextmanager
def told_with_data() -> Iterator[None]:
    """As `told`, of a command that reads data: also of what is wrong with a file that a worker has
    read, without that worker's traceback.
    """
    try:
        with told(ImportError):
            yield
    except (ValueError, OSError) as error:
        from ..data.findings import OF_MODELS_IDS
        from ..data.masks import MUST_HOLD
        from ..data.samples import is_of_sample, reason_of

        told_reason = reason_of(error)
        way_on = f" {SKIP}" if is_of_sample(error) else ""
        if MUST_HOLD in told_reason:
            way_on = f" {OF_MODELS_IDS} If it is a bad file: --skip_bad."
        stop = "" if told_reason.endswith("?") else "."
        fail(error if _is_of_system(error) else f"{told_reason}{stop}{way_on}")
