"""Signs of life of what takes a while: a bar on a terminal, and now and then a line elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm.auto import tqdm

SECONDS = 5.0  # from one line to the next, at first
SHARE = 0.1  # of the time so far, later on: a log of days has some hundred lines

LOOK = 0.5  # seconds from one look at the clock to the next

Item = TypeVar("Item")
_watched: list[str] = []  # titles of what tells of itself at present


class Heartbeat:
    """Says when a line is due, of work that begins now."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def told(self) -> None:
        """Something has been said just now."""
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last line is so long ago that the next is due, which counts as told then."""
        now = time.monotonic()
        if now - self._last < max(SECONDS, SHARE * (now - self._began)):
            return False
        self._last = now
        return True


def watched(items: Iterable[Item], title: str, total: int, unit: str = "image") -> Iterator[Item]:
    """The items, with a sign of life on stderr, of the first process alone: `TITLE: 120/400`."""
    if int(os.environ.get("RANK", 0)) > 0:
        yield from items
        return
    _watched.append(title)
    try:
        if sys.stderr.isatty():
            yield from tqdm(items, title, total, leave=False, unit=unit)
            return
        heart = Heartbeat()
        for number, item in enumerate(items):
            if heart.is_due():
                print(f"{title}: {number}/{total}", file=sys.stderr, flush=True)
            yield item
    finally:
        _watched.remove(title)


@contextmanager
def alive(title: str) -> Iterator[Callable[[], None]]:
    """Within it, or until what it gives is called, work of one piece shows that it goes on: on
    stderr, of the first process alone, `TITLE, 5 s`. Silent while something `watched` tells of
    itself.
    """
    if int(os.environ.get("RANK", 0)) > 0:
        yield lambda: None
        return
    over, began, heart = threading.Event(), time.monotonic(), Heartbeat()

    def tell() -> None:
        while not over.wait(LOOK):
            if _watched:
                heart.told()
            elif heart.is_due():
                tqdm.write(f"{title}, {time.monotonic() - began:.0f} s", file=sys.stderr)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield over.set
    finally:
        over.set()
        thread.join()
