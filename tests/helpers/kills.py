"""A command in a fork of this process, killed in the middle, and what a kill may not leave."""

import io
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import PIL.Image
from safetensors import safe_open

# what Python tells before it changes a folder, by the name of its audit event
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Ended(NamedTuple):
    """How a command has ended: its exit code, minus the signal's number if one ended it; what it
    printed; and how many changes it has made to files.
    """

    code: int
    said: str
    changes: int


def forked(
    main: Callable[[], None],
    command: Sequence[str],
    folder: Path,
    kill_at: int | None = None,
    seconds: float | None = None,
) -> Ended:
    """Runs a command's `main` in a fork, which need not import it again. No thread may run here.

    Args:
        command: its command line, the name first.
        folder: whose changes are counted: files that are opened to be written, renamed, deleted.
        kill_at: the number of the change, from 1 on, before which SIGKILL ends it.
        seconds: after which it does so.
    """
    context = multiprocessing.get_context("fork")
    changes = context.Value("i", 0, lock=False)
    log = folder.with_name(f"{folder.name}.log")
    process = context.Process(
        target=_run, args=(main, [*command], folder, kill_at, changes, log), daemon=True
    )
    process.start()
    process.join(seconds)
    process.kill()  # nothing, if it has ended
    process.join()
    return Ended(process.exitcode, log.read_text(), changes.value)


def _run(main, command, folder, kill_at, changes, log) -> None:
    def count(event, arguments) -> None:
        is_write = event == "open" and arguments[2] & WRITING
        if (is_write or event in CHANGES) and os.getpid() == own:
            changes.value += _is_below(arguments[0], folder)
            if changes.value == kill_at:
                os.kill(own, signal.SIGKILL)

    own = os.getpid()
    sys.argv = command
    with log.open("w") as said:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(said.fileno(), stream.fileno())
    sys.addaudithook(count)
    code = _code_of(main)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what else this process does at its end is the parent's to do


def _code_of(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
            return 1
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _is_below(path: object, folder: Path) -> bool:
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(
        os.fsdecode(path)
    ).startswith(f"{folder}")


def files_of(folder: Path) -> Iterator[Path]:
    """All files, in order, but what hides: locks, and what is not yet, or no longer, a file."""
    for path in sorted(folder.rglob("*")):
        hidden = (part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not any(hidden):
            yield path


def assert_whole(folder: Path) -> None:
    """Whatever is under its final name can be read to its end."""
    for path in files_of(folder):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            PIL.Image.open(io.BytesIO(path.read_bytes())).load()
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(arrays[name] is not None for name in arrays.files)
        elif path.suffix == ".safetensors":
            with safe_open(path, "np") as tensors:
                assert [*tensors.keys()]
        elif path.suffix == ".onnx":
            onnx.checker.check_model(path, full_check=True)
        elif path.name in ("table.md", "table.csv", "results.md"):
            assert path.read_text().endswith("\n"), path
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>"), path
