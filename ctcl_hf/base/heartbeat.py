"""Signs of life of what takes a while: a bar on a terminal, and now and then a line elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

SECONDS = 5.0  # from one line to the next, at first
SHARE = 0.1  # of the time so far, later on: a log of days has some hundred lines

Item = TypeVar("Item")


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
    elif sys.stderr.isatty():
        yield from tqdm(items, title, total, leave=False, unit=unit)
    else:
        heart = Heartbeat()
        for number, item in enumerate(items):
            if heart.is_due():
                print(f"{title}: {number}/{total}", file=sys.stderr, flush=True)
            yield item
