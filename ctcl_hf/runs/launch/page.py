"""How the runs of a grid are doing, as text: drawn over itself on a terminal, and elsewhere what
has changed.
"""

import shutil
import sys
from collections.abc import Mapping

from ...base.heartbeat import Heartbeat
from ...base.tables import aligned
from ..comparison.cell import Cell
from .states import KINDS, State, counts_in_words


def lines_of(states: Mapping[Cell, State]) -> list[str]:
    """A line for each run, those first that matter the most to who looks."""
    ordered = sorted(states.items(), key=lambda item: KINDS.index(item[1].kind))
    return aligned([(f"{state.kind:7}  {cell.title}", state.words) for cell, state in ordered])


class Page:
    """What `launch` shows to, on stdout."""

    def __init__(self) -> None:
        self._drawn = 0  # lines that stand on the terminal
        self._before: dict[Cell, State] = {}
        self._heart = Heartbeat()

    def show(self, states: Mapping[Cell, State]) -> None:
        """Draws the page again, or prints what is new."""
        if sys.stdout.isatty():
            self._draw(states)
        else:
            self._print_news(states)
        self._before = dict(states)

    def leave(self) -> None:
        """Lets what is drawn stand: something else is printed below it."""
        self._drawn = 0

    def _draw(self, states: Mapping[Cell, State]) -> None:
        width, height = shutil.get_terminal_size()
        lines = [f"grid: {counts_in_words(states)}", *lines_of(states)]
        if len(lines) > height - 1:
            rest = len(lines) - (height - 2)
            lines = [*lines[: height - 2], f"and {rest} more: --launch_status shows all"]
        # up to the page's first line, and away with all below
        above = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        print(above + "\n".join(line.rstrip()[:width] for line in lines), flush=True)
        self._drawn = len(lines)

    def _print_news(self, states: Mapping[Cell, State]) -> None:
        unknown = State("waiting")
        news = {
            cell: state
            for cell, state in states.items()
            if state.kind != self._before.get(cell, unknown).kind
        }
        if not news and self._heart.is_due():
            news = {cell: state for cell, state in states.items() if state.kind == "running"}
        if news:
            self._heart.told()
            for line in lines_of(news):
                print(line.rstrip())
            print(f"grid: {counts_in_words(states)}", flush=True)
