"""How every command ends where its user can mend what is wrong: in one sentence, and not in a
traceback.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

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
    sys.exit(redacted(f"{program()}: error: {error}"))


@contextmanager
def told(*errors: type[Exception]) -> Iterator[None]:
    """These errors end the process with their message and exit code 1; Ctrl-C with a word, and 130.

    So do words of the command line that no file could hold. Whatever is printed within it can be
    shown: letters that the terminal does not know are spelt out.
    """
    for word in sys.argv:
        if (problem := problem_of_name(word)) is not None:
            fail(problem)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{program()}: interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except errors as error:
        fail(error)
