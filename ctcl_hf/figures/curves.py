"""Pictures of numbers: curves of runs, and what methods add to classes."""

import math
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..metrics.scores import metric_name

# Of each student, in Trainer's log: the keys of its score and of a method's terms and statistics,
# by their titles.
SCORE = {metric_name("eval", "{}", "mean_iou"): "mIoU on validation"}
SHARES = ("mIoU", "share")  # what the titles of shares begin with, which are drawn in percent
FEW = 20  # points of a curve that are marked
LETTER, SAMPLE = 0.1, 0.6  # inches of a legend: a letter, and a line's sample with its gaps


def keys_of(titles: Mapping[str, str]) -> dict[str, str]:
    """What Trainer's log calls a quantity of each student, "TERM_{}", and its title: the score,
    then these.
    """
    return SCORE | {f"{term}_{{}}": title for term, title in titles.items()}


def is_share(title: str) -> bool:
    """Whether the quantity of that title is a share, 0 to 1, and is shown in percent."""
    return title.startswith(SHARES)


def history_figure(
    log_history: Sequence[Mapping[str, float]], names: Sequence[str], titles: Mapping[str, str]
) -> Figure:
    """Curves of a run from Trainer's log history: mIoU, and what the method logs of each student.

    titles: of what is logged as "TERM_STUDENT", by term. What the history does not hold is left
        out.
    """
    curves = {
        title: {
            name: [
                (log["step"], log[key.format(name)])
                for log in log_history
                if key.format(name) in log
            ]
            for name in names
        }
        for key, title in keys_of(titles).items()
    }
    curves = {title: by_name for title, by_name in curves.items() if any(by_name.values())}
    # of at most three panels, and none that is blank
    rows = np.array_split(list(curves), -(-len(curves) // 3))
    figure = Figure(figsize=(12, 3 * len(rows) + 0.4), layout="constrained")
    last = max(log["step"] for log in log_history if "step" in log)
    for axes, title in zip(_panels(figure, [len(row) for row in rows]), curves, strict=True):
        for i, name in enumerate(names):
            _curve(axes, curves[title][name], f"C{i}")
        axes.set_xlabel("step")
        _scale(axes, title, last)
    _names_below(figure, names)
    return figure


def grid_curves_figure(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    names: Sequence[str],
    titles: Mapping[str, str],
    losses: Collection[str],
) -> Figure:
    """Curves of many runs: a row per quantity, a column per student, a line per method (the mean
    over its seeds).

    histories: by method, then by seed, Trainer's log history. titles: as of `history_figure`.
    losses: the terms whose axes are logarithmic.
    """
    by_name = {
        (key, name): points
        for key in keys_of(titles)
        for name in names
        if (points := points_of(histories, key, [name]))
    }
    rows = Counter(key for key, _ in by_name)  # a quantity that one student alone has fills its row
    figure = Figure(figsize=(6 * len(names), 2.6 * len(rows) + 0.6), layout="constrained")
    colours = {method: f"C{i}" for i, method in enumerate(histories)}
    last = max(
        log["step"]
        for runs in histories.values()
        for history in runs
        for log in history
        if "step" in log
    )
    for axes, ((key, name), by_method) in zip(
        _panels(figure, list(rows.values())), by_name.items(), strict=True
    ):
        for method, points in by_method.items():
            _curve(
                axes, [(step, np.mean(points[step])) for step in sorted(points)], colours[method]
            )
        _scale(axes, keys_of(titles)[key], last, key.removesuffix("_{}") in losses, f"{name}: ")
    for axes in figure.axes[-len(names) :]:
        axes.set_xlabel("step")
    if any(len(runs) > 1 for runs in histories.values()):
        figure.suptitle("Lines are means over seeds", fontsize=10)
    _names_below(figure, colours)
    return figure


def _panels(figure: Figure, numbers: Sequence[int]) -> list[Axes]:
    """Rows of so many panels, each row as wide as the figure: none is blank."""
    columns = math.lcm(*numbers)
    grid = figure.add_gridspec(len(numbers), columns)
    return [
        figure.add_subplot(grid[row, i * columns // number : (i + 1) * columns // number])
        for row, number in enumerate(numbers)
        for i in range(number)
    ]


def _curve(axes: Axes, points: Sequence[tuple[int, float]], colour: str) -> None:
    """A line, with its points where they are few: a single one would not be seen."""
    if points:
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            marker="o" if len(points) < FEW else None,
            markersize=3,
        )


def _scale(
    axes: Axes, title: str, last_step: int, is_logarithmic: bool = False, whose: str = ""
) -> None:
    """A title, all steps, and ticks that can be read off: percent, and plain numbers on a
    logarithmic axis, which the title names.

    Values within two octaves do not need one.
    """
    axes.grid(alpha=0.3)
    axes.set_title(f"{whose}{title}", fontsize=10)
    axes.set_xlim(0, last_step * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    factor, unit = (100, " %") if is_share(title) else (1, "")
    if is_share(title):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:g}{unit}"))
    low, high = axes.dataLim.intervaly
    if is_logarithmic and 0 < 4 * low < high:
        axes.set_title(f"{whose}{title}, logarithmic", fontsize=10)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:g}{unit}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _names_below(figure: Figure, names: Collection[str]) -> None:
    """A legend of the lines of all panels, in the order of their colours."""
    labels = ["\n".join(textwrap.wrap(name, 48)) for name in names]
    handles = [Line2D([], [], color=f"C{i}", label=label) for i, label in enumerate(labels)]
    longest = max(len(line) for label in labels for line in label.splitlines())
    room = int(figure.get_figwidth() / (LETTER * longest + SAMPLE))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(min(len(handles), 6, room), 1),
        frameon=False,
    )


def points_of(histories, key: str, names: Sequence[str]) -> dict[str, dict[int, list[float]]]:
    """By method, the values of a quantity at each step, of all seeds; only methods that log it."""
    found: dict[str, dict[int, list[float]]] = {}
    for method, runs in histories.items():
        for log in (log for history in runs for log in history):
            for name in names:
                if key.format(name) in log:
                    found.setdefault(method, {}).setdefault(log["step"], []).append(
                        log[key.format(name)]
                    )
    return found


def blind_classes_figure(
    changes: Sequence[tuple[int, Mapping[str, Mapping[str, list]]]],
    last_step: int,
    class_names: Sequence[str],
) -> Figure:
    """When a student's peer was blind to a class, a panel per student, and what that means for the
    class at the end.

    changes: (step, by student {"blind": names, "groups": lists of names}), each holding until the
    next one. Before the first nothing is known. What is in no group is not compared.
    """
    names = list(changes[0][1])
    figure = Figure(figsize=(6.5 * len(names), 0.3 * len(class_names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    ends = [step for step, _ in changes[1:]] + [last_step]
    for axis, name in zip(panels, names, strict=True):
        for place, label in enumerate(class_names):
            spans = [
                (step, end - step)
                for (step, told), end in zip(changes, ends, strict=True)
                if label in told[name]["blind"]
            ]
            axis.broken_barh(spans, (place - 0.4, 0.8), color="C3")
            group = next(
                (members for members in changes[-1][1][name]["groups"] if label in members), None
            )
            together = [other for other in group or () if other != label]
            note = "not taught" if group is None else ""
            if together:
                note = f"with {together[0]}" + (
                    f" and {len(together) - 1} more" if len(together) > 1 else ""
                )
            axis.text(
                1.01, place, note, transform=axis.get_yaxis_transform(), va="center", fontsize=8
            )
        axis.set(
            yticks=range(len(class_names)),
            yticklabels=class_names,
            xlabel="step",
            xlim=(0, last_step),
        )
        axis.set_ylim(len(class_names) - 0.5, -0.5)
        learner, _, peer = name.partition(" from ")
        whom = peer or "its peer"
        axis.set_title(f"{learner}: classes that {whom} is blind to", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        if changes[0][0]:
            axis.axvspan(0, changes[0][0], color="0.9", zorder=0, label="not known yet")
    if changes[0][0]:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", fontsize=8)
    return figure


def class_gains_figure(
    gains: Mapping[str, Mapping[str, np.ndarray]], class_names: Sequence[str], most: int = 30
) -> Figure:
    """What each method adds to the IoU of each class: a row per method, a column per student; a dot
    is a seed.

    gains: by method, then by what the column is called, IoU minus the control's in points, (seeds,
    K); NaN where a class does not occur. Of many classes those with the largest gains and losses
    are shown.
    """
    columns = list(next(iter(gains.values())))
    means = [_mean_over_seeds(of) for by_column in gains.values() for of in by_column.values()]
    shown = np.sort(np.argsort(-np.abs(means).max(axis=0), kind="stable")[:most])[::-1]
    figure = Figure(
        figsize=(4.2 * len(columns), (0.24 * len(shown) + 0.9) * len(gains) + 0.4),
        layout="constrained",
    )
    grid = figure.subplots(len(gains), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, (method, by_column) in zip(grid, gains.items(), strict=True):
        for axes, (title, of) in zip(row, by_column.items(), strict=True):
            bars = _mean_over_seeds(of)[shown]
            axes.barh(range(len(shown)), bars, color=np.where(bars < 0, "C3", "C0"), alpha=0.5)
            for seed in of[:, shown]:
                axes.plot(seed, range(len(shown)), "k.", markersize=4)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_yticks(range(len(shown)), [class_names[k] for k in shown], fontsize=8)
            axes.set_title("\n".join([title, *textwrap.wrap(method, 48)]), fontsize=9)
            axes.grid(alpha=0.3)
    for axes in grid[-1]:
        axes.set_xlabel("gain in IoU over vanilla (points)")
    return figure


def _mean_over_seeds(of: np.ndarray) -> np.ndarray:
    return np.ma.masked_invalid(of).mean(axis=0).filled(0.0)


def pulls_figure(found: Mapping[int, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> Figure:
    """Each term's gradient against that of the cross entropy over a training: a column per student.

    found: by step, student and term, a ratio of norms and a cosine.
    """
    names = list(next(iter(found.values())))
    terms = list(
        dict.fromkeys(
            term for of in next(iter(found.values())).values() for term in of if term != "ce"
        )
    )
    figure = Figure(figsize=(6 * len(names), 6), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False)
    for column, name in zip(grid.T, names, strict=True):
        for i, term in enumerate(terms):
            for axis, key in zip(column, ("ratio", "cosine"), strict=True):
                _curve(
                    axis,
                    [(step, of[name][term][key]) for step, of in found.items() if term in of[name]],
                    f"C{i}",
                )
        _scale(
            column[0],
            "norm of the gradient to that of the cross entropy's",
            max(found),
            True,
            f"{name}: ",
        )
        _scale(column[1], "cosine to the cross entropy's gradient", max(found), whose=f"{name}: ")
        column[1].set_xlabel("step")
    _names_below(figure, terms)
    return figure
