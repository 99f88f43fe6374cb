"""Pictures of segmentations and of training runs (matplotlib, without a display)."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .data import IGNORE_INDEX
from .data.palettes import Palette
from .files import whole

DISAGREEMENT = (230, 30, 120)


def colourize(labels: np.ndarray, palette: Palette) -> np.ndarray:
    """Class ids (H, W) as RGB (H, W, 3) uint8; ignored pixels are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_INDEX] = 0
    return table[labels]


def overlay(image: np.ndarray, labels: np.ndarray, palette: Palette, opacity: float = 0.55) -> np.ndarray:
    """The segmentation over its image: (H, W, 3) uint8 and (H, W) ids -> (H, W, 3) uint8."""
    mixed = (1 - opacity) * image + opacity * colourize(labels, palette)
    return np.where((labels == IGNORE_INDEX)[..., None], image, mixed).round().astype(np.uint8)


def overlay_figure(image: np.ndarray, labels: np.ndarray, class_names: Sequence[str], palette: Palette) -> Figure:
    """The segmentation over its image, with a legend of the classes that occur and their share of the pixels."""
    height, width = labels.shape
    figure = Figure(figsize=(8, 8 * height / width + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(overlay(image, labels, palette))
    axes.set_axis_off()
    ids, counts = np.unique(labels[labels != IGNORE_INDEX], return_counts=True)
    order = np.argsort(-counts)
    legend = {
        int(i): f"{class_names[i]} {100 * count / labels.size:.1f} %"
        for i, count in zip(ids[order], counts[order], strict=True)
    }
    _legend(figure, legend, palette)
    return figure


def comparison_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """A row per image: image, ground truth, each student's prediction, and where the two students disagree.

    Images are (H, W, 3) uint8; truths and predictions (H, W) class ids, predictions by student name.
    """
    (first, first_predictions), (second, second_predictions) = predictions.items()
    titles = ["image", "ground truth", first, second, f"{first} ≠ {second}"]
    height, width = truths[0].shape
    figure = Figure(figsize=(3 * len(titles), 3 * len(images) * height / width + 0.9), layout="constrained")
    grid = figure.subplots(len(images), len(titles), squeeze=False)
    for axes, image, truth, *pair in zip(grid, images, truths, first_predictions, second_predictions, strict=True):
        differ = (pair[0] != pair[1]) & (truth != IGNORE_INDEX)
        faded = 255 - (255 - image.mean(-1, keepdims=True).repeat(3, -1)) * 0.45
        disagreement = np.where(differ[..., None], DISAGREEMENT, faded).astype(np.uint8)
        pictures = [image, colourize(truth, palette), *(colourize(p, palette) for p in pair), disagreement]
        for axis, picture in zip(axes, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
        share = differ.sum() / max((truth != IGNORE_INDEX).sum(), 1)
        axes[-1].text(0.5, -0.02, f"{100 * share:.1f} % of labelled pixels", transform=axes[-1].transAxes,
                      ha="center", va="top", fontsize=9)  # fmt: skip
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title)
    _legend(figure, _present([*truths, *first_predictions, *second_predictions], class_names), palette)
    return figure


# Of each student, in Trainer's log: the keys of its score and of a method's terms and statistics, by their titles.
SCORE = {"eval_{}_mean_iou": "mIoU on validation"}


def _keys(titles: Mapping[str, str]) -> dict[str, str]:
    return SCORE | {f"{term}_{{}}": title for term, title in titles.items()}


def history_figure(
    log_history: Sequence[Mapping[str, float]], names: Sequence[str], titles: Mapping[str, str]
) -> Figure:
    """Curves of a run from Trainer's log history: mIoU, and what the method logs of each student.

    titles: of what is logged as "TERM_STUDENT", by term. What the history does not hold is left out.
    """
    curves = {
        title: {
            name: [(log["step"], log[key.format(name)]) for log in log_history if key.format(name) in log]
            for name in names
        }
        for key, title in _keys(titles).items()
    }
    curves = {title: by_name for title, by_name in curves.items() if any(by_name.values())}
    figure = Figure(figsize=(4 * min(len(curves), 3), 3 * -(-len(curves) // 3)), layout="constrained")
    grid = figure.subplots(-(-len(curves) // 3), min(len(curves), 3), squeeze=False).ravel()
    for axes, (title, by_name) in zip(grid, curves.items(), strict=False):
        for name, points in by_name.items():
            axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 20 else None, markersize=3)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    return figure


def mistakes_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    titles: Sequence[str],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """One row per image: image, ground truth, prediction, and the labelled pixels that are wrong. Shapes: see above."""
    height, width = max(truth.shape for truth in truths)
    figure = Figure(figsize=(12.8, 3.2 * len(images) * height / width + 0.9), layout="constrained")
    grid = figure.subplots(len(images), 4, squeeze=False)
    for axes, image, truth, predicted, title in zip(grid, images, truths, predictions, titles, strict=True):
        wrong = (predicted != truth) & (truth != IGNORE_INDEX)
        mistakes = np.where(wrong[..., None], DISAGREEMENT, 255 - (255 - image) * 0.45).astype(np.uint8)
        for axis, picture in zip(
            axes, (image, colourize(truth, palette), colourize(predicted, palette), mistakes), strict=True
        ):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
        axes[0].set_title(title, fontsize=9)
    for axis, title in zip(grid[0, 1:], ("ground truth", "prediction", "mistakes"), strict=True):
        axis.set_title(title, fontsize=9)
    _legend(figure, _present([*truths, *predictions], class_names), palette)
    return figure


def methods_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Mapping[str, Sequence[np.ndarray]]],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """Two rows per image, one of each student: image, ground truth, and what the student predicts by each method.

    Images are (H, W, 3) uint8; truths (H, W) class ids; predictions by method, then by student, (H, W) ids.
    """
    names = list(next(iter(predictions.values())))
    titles = ["image", "ground truth", *predictions]
    rows = len(images) * len(names)
    height, width = truths[0].shape
    figure = Figure(figsize=(2.4 * len(titles), 2.4 * rows * height / width + 0.9), layout="constrained")
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for i, (image, truth) in enumerate(zip(images, truths, strict=True)):
        for j, name in enumerate(names):
            axes = grid[i * len(names) + j]
            shown = [image, colourize(truth, palette)]
            shown += [colourize(by_student[name][i], palette) for by_student in predictions.values()]
            for axis, picture in zip(axes, shown, strict=True):
                axis.imshow(picture, interpolation="nearest")
                axis.set(xticks=[], yticks=[], frame_on=False)
            axes[0].set_ylabel(name)
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    maps = [ids for by_student in predictions.values() for of_student in by_student.values() for ids in of_student]
    _legend(figure, _present([*truths, *maps], class_names), palette)
    return figure


def grid_curves_figure(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    names: Sequence[str],
    titles: Mapping[str, str],
    losses: Collection[str],
) -> Figure:
    """Curves of many runs: a row per quantity, a column per student, a line per method (the mean over its seeds).

    histories: by method, then by seed, Trainer's log history. titles: as of `history_figure`. losses: the terms whose
    axes are logarithmic.
    """
    quantities = {key: title for key, title in _keys(titles).items() if _points(histories, key, names)}
    logarithmic = {f"{term}_{{}}" for term in losses}
    figure = Figure(figsize=(6 * len(names), 2.6 * len(quantities) + 0.6), layout="constrained")
    grid = figure.subplots(len(quantities), len(names), squeeze=False)
    colours = {method: f"C{i}" for i, method in enumerate(histories)}
    for axes, (key, title) in zip(grid, quantities.items(), strict=True):
        for axis, name in zip(axes, names, strict=True):
            for method, points in _points(histories, key, [name]).items():
                steps = sorted(points)
                axis.plot(steps, [np.mean(points[step]) for step in steps], label=method, color=colours[method])
            axis.set_title(f"{name}: {title}", fontsize=10)
            axis.grid(alpha=0.3)
            axis.set_yscale("log" if key in logarithmic else "linear")
    for axis in grid[-1]:
        axis.set_xlabel("step")
    handles = [Line2D([], [], color=colour, label=method) for method, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
    return figure


def blind_classes_figure(
    changes: Sequence[tuple[int, Mapping[str, Mapping[str, list]]]], last_step: int, class_names: Sequence[str]
) -> Figure:
    """When a student's peer was blind to a class, a panel per student, and with what the class is merged at the end.

    changes: (step, by student {"blind": names, "groups": lists of names}), each holding until the next one.
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
            group = next(members for members in changes[-1][1][name]["groups"] if label in members)
            together = [other for other in group if other != label]
            if together:
                others = f"with {together[0]}" + (f" and {len(together) - 1} more" if len(together) > 1 else "")
                axis.text(1.01, place, others, transform=axis.get_yaxis_transform(), va="center", fontsize=8)
        axis.set(yticks=range(len(class_names)), yticklabels=class_names, xlabel="step", xlim=(0, last_step))
        axis.set_ylim(len(class_names) - 0.5, -0.5)
        axis.set_title(f"{name}: classes that its peer is blind to", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    return figure


def _points(histories, key: str, names: Sequence[str]) -> dict[str, dict[int, list[float]]]:
    """By method, the values of a quantity at each step, of all seeds; only methods that log it."""
    found: dict[str, dict[int, list[float]]] = {}
    for method, runs in histories.items():
        for log in (log for history in runs for log in history):
            for name in names:
                if key.format(name) in log:
                    found.setdefault(method, {}).setdefault(log["step"], []).append(log[key.format(name)])
    return found


def class_gains_figure(
    gains: Mapping[str, Mapping[str, np.ndarray]], class_names: Sequence[str], most: int = 30
) -> Figure:
    """What each method adds to the IoU of each class: a row per method, a column per student; a dot is a seed.

    gains: by method, then by what the column is called, IoU minus the control's in points, (seeds, K); NaN where a
    class does not occur. Of many classes those with the largest gains and losses are shown.
    """
    columns = list(next(iter(gains.values())))
    means = [_mean_over_seeds(of) for by_column in gains.values() for of in by_column.values()]
    shown = np.sort(np.argsort(-np.abs(means).max(axis=0), kind="stable")[:most])[::-1]
    figure = Figure(figsize=(4.2 * len(columns), (0.24 * len(shown) + 0.9) * len(gains) + 0.4), layout="constrained")
    grid = figure.subplots(len(gains), len(columns), squeeze=False, sharex="col", sharey=True)
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
    figure = Figure(figsize=(6 * len(names), 6), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False)
    for column, name in zip(grid.T, names, strict=True):
        for term in (term for term in next(iter(found.values()))[name] if term != "ce"):
            for axis, key in zip(column, ("ratio", "cosine"), strict=True):
                axis.plot(
                    list(found), [students[name][term][key] for students in found.values()], label=term, marker="."
                )
        column[0].set(title=f"{name}: gradient's norm, as a share of the cross entropy's", yscale="log")
        column[1].set(title=f"{name}: cosine to the cross entropy's gradient", xlabel="step")
        for axis in column:
            axis.grid(alpha=0.3)
            axis.legend()
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a PNG at 110 dpi, whole or not at all, making its folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as staged:
        figure.savefig(staged, dpi=110, format="png")


def _present(maps: Sequence[np.ndarray], class_names: Sequence[str]) -> dict[int, str]:
    """The classes that occur: a legend of 150 would leave no room for pictures."""
    ids = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    return {i: class_names[i] for i in ids.tolist() if i != IGNORE_INDEX}


def _legend(figure: Figure, entries: Mapping[int, str], palette: Palette) -> None:
    handles = [Patch(color=np.array(palette[i]) / 255, label=label) for i, label in entries.items()]
    columns = min(len(handles), 6, int(figure.get_figwidth() / 2))  # a class name takes up to two inches
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
