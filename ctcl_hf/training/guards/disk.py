"""Room on the disk for what a run saves at its end, set aside before it begins."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...methods.pair import StudentPair

SMALL_FILES = 8 << 20  # bytes, of all that is saved beside weights
PART = 1 << 20  # bytes, written at once


def bytes_at_end(pair: StudentPair) -> int:
    """What all students and their method take, with all that is saved beside them."""
    tensors = [*pair.students.state_dict().values(), *pair.objective.training_state().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + SMALL_FILES


@contextmanager
def room_kept(file: Path, size: int) -> Iterator[None]:
    """Within it a file of `size` bytes keeps room that is free again afterwards.

    A disk that fills up meanwhile would cost the training where there are no checkpoints. OSError
    if there is no such room.
    """
    try:
        try:
            _fill(file, size)
        except OSError as error:
            raise OSError(
                f"The end of this run needs {size / 1e6:,.0f} MB in {file.parent}, which cannot be "
                f"set aside ({error.strerror or error}). Make room, or choose another --output_dir."
            ) from error
        yield
    finally:
        with suppress(OSError):  # of a folder that has turned read-only, or is gone
            file.unlink()


def _fill(file: Path, size: int) -> None:
    part = os.urandom(PART)  # which no file system stores as less
    with file.open("wb") as opened:
        for start in range(0, size, PART):
            opened.write(part[: size - start])
        opened.flush()
        os.fsync(opened.fileno())
