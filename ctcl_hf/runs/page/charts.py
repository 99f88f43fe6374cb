"""Charts as numbers: where lines, points and ticks are. `charts.html` draws them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 220  # of a chart's own coordinates: a phone shows them as pixels
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 10, 34  # around what is plotted
# points of a line at most: those that it goes through, and those that tell their value
DRAWN, HOVERED = 400, 40
COLOURS = 8  # that `base.html` knows; from there on lines are dashed


class Tick(NamedTuple):
    place: float
    text: str


class Point(NamedTuple):
    x: float
    y: float
    text: str  # its name and values, as a pointer is told


class Line(NamedTuple):
    """A line through the points of `path`; a `level` is horizontal, dashed, and has no points."""

    name: str
    colour: int
    is_dashed: bool
    path: str
    points: Sequence[Point]


class Chart(NamedTuple):
    """A line chart. Units are said by the title."""

    title: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    last: Mapping[str, str]  # by line, its last value
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


class Bar(NamedTuple):
    """An interval around a value, or a value alone; places are in percent of the width."""

    name: str
    colour: int
    text: str
    value: float
    low: float | None
    high: float | None


class Intervals(NamedTuple):
    """Intervals below each other, on one axis; zero is where `zero` is."""

    title: str
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    zero: float


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    last_step: int,
    levels: Mapping[str, float] | None = None,
) -> Chart:
    """A chart of values by step.

    Args:
        series: by name, (step, value); a name has the same colour in every chart that holds it at
            the same place.
        last_step: where the axis of steps ends, in all charts of a run alike.
        levels: by name of a series, a value to compare it with, which is drawn through all steps.
    """
    levels = levels or {}
    values = [value for points in series.values() for _, value in points] + list(levels.values())
    y_places = _ticks(min(values), max(values))
    x_places = [tick for tick in _ticks(0, last_step, whole=True) if tick <= last_step]
    x_of = _scale(0, max(last_step, 1), LEFT, WIDTH - RIGHT)
    y_of = _scale(y_places[0], y_places[-1], HEIGHT - BOTTOM, TOP)
    lines = []
    for i, (name, points) in enumerate(series.items()):
        places = [(x_of(step), y_of(value)) for step, value in _thinned(points, DRAWN)]
        hovered = [
            Point(
                round(x_of(step), 1),
                round(y_of(value), 1),
                f"{name}, step {step:g}: {number(value)}",
            )
            for step, value in _thinned(points, HOVERED)
        ]
        lines.append(Line(name, i % COLOURS, i >= COLOURS, _path(places), hovered))
        if name in levels:
            ends = [(x, y_of(levels[name])) for x in (LEFT, WIDTH - RIGHT)]
            lines.append(Line(f"{name} alone, at its end", i % COLOURS, True, _path(ends), ()))
    return Chart(
        title,
        lines,
        [Tick(round(x_of(tick), 1), f"{tick:g}") for tick in x_places],
        [Tick(round(y_of(tick), 1), f"{tick:g}") for tick in y_places],
        {name: number(points[-1][1]) for name, points in series.items() if points},
    )


def interval_chart(
    title: str, intervals: Sequence[tuple[str, int, Sequence[float | None]]]
) -> Intervals:
    """A chart of values with the ends of their intervals.

    intervals: name, number of the colour, and value, low and high, of which the last two may be
        unknown.
    """
    ends = [end for _, _, interval in intervals for end in interval if end is not None]
    ticks = _ticks(min([0, *ends]), max([0, *ends]))
    place = _scale(ticks[0], ticks[-1], 0, 100)
    bars = []
    for name, colour, (value, low, high) in intervals:
        text = f"{value:+.2f}" + ("" if low is None else f" [{low:+.2f}, {high:+.2f}]")
        places = [None if end is None else round(place(end), 2) for end in (value, low, high)]
        bars.append(Bar(name, colour % COLOURS, text, *places))
    return Intervals(
        title,
        bars,
        [Tick(round(place(tick), 2), f"{tick:g}") for tick in ticks],
        round(place(0), 2),
    )


def number(value: float) -> str:
    """Four digits or more, without an exponent where it can be read without one."""
    if value and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers that enclose both; `whole` ones, such as steps."""
    if low == high:
        low, high = low - abs(low) / 10 - 1e-9, high + abs(high) / 10 + 1e-9
    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole)
    return locator.tick_values(low, high).round(12).tolist()


def _scale(low: float, high: float, start: float, end: float):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many of the points, spread evenly, the last one among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
