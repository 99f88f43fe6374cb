"""Several processes of one run: how they wait for what one does alone, and tell one that has ended
from a late one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch.distributed as dist

# that one process may work alone; as milliseconds they fit into 32 bits
LONGEST = timedelta(days=14)
# What the backends say of a process that is gone, and of one that has not come within
# `--ddp_timeout`.
ENDED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError")
LATE = (
    "Timed out waiting",
    "Application timeout caused pair closure",
    "collective operation timeout",
)


def wait_for_all() -> None:
    """Returns once every process of this run is here, for however many hours one of them works
    alone before.

    All processes call it, for the first time before one may be late. ConnectionError at once if one
    of them has ended.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        with lost_processes_told(lambda: f"process {dist.get_rank()}"):
            dist.barrier(group=_patient(dist.group.WORLD), timeout=LONGEST)


@cache
def _patient(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """All processes, in a group that waits: over sockets between them, which break as soon as one
    has ended.
    """
    return dist.new_group(backend="gloo", timeout=LONGEST)


@contextmanager
def lost_processes_told(whose: Callable[[], str], mend: str = "") -> Iterator[None]:
    """Within it, what the backends raise because of another process says so in words.

    Args:
        whose: tells which process this is, and how far it has come.
        mend: how to go on.

    Raises:
        ConnectionError: another process has ended.
        TimeoutError: one has not come where this one waits for it: it may be at work, hang, or not
            be reached.
    """
    try:
        yield
    except RuntimeError as error:
        what = str(error)
        if any(sign in what for sign in ENDED):
            told = (
                f"Another process of this run has ended ({whose()}: {what}). Its own output "
                f"says why. {mend}"
            )
            raise ConnectionError(told.rstrip()) from error
        if any(sign in what for sign in LATE):
            told = (
                f"Another process of this run did not come within --ddp_timeout ({whose()}: "
                f"{what}): it is slower than that, hangs, or cannot be reached. {mend}"
            )
            raise TimeoutError(told.rstrip()) from error
        raise
