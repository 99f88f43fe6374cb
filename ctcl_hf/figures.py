"""Pictures of segmentations and of training runs (matplotlib, without a display)."""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .data import IGNORE_INDEX
from .data.camvid import CAMVID_CLASSES, CAMVID_PALETTE

Palette = Sequence[tuple[int, int, int]]
DISAGREEMENT = (230, 30, 120)


def palette_for(class_names: Sequence[str]) -> Palette:
    """The data sets' own colours for classes that they name; for others, steps of the golden angle around the hues."""
    known = dict(zip(CAMVID_CLASSES, CAMVID_PALETTE, strict=True))
    hues = [(i * 0.618034) % 1 for i in range(len(class_names))]
    drawn = [hsv_to_rgb(hue, 0.65 + 0.3 * (i % 2), 0.95 - 0.2 * (i % 3)) for i, hue in enumerate(hues)]
    return [
        known.get(name, tuple(round(255 * channel) for channel in colour))
        for name, colour in zip(class_names, drawn, strict=True)
    ]


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
    _legend(figure, dict(enumerate(class_names)), palette)
    return figure


def history_figure(log_history: Sequence[Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Curves of a run from Trainer's log history: mIoU, cross entropy, distillation terms, and who teaches how much."""
    panels = {
        "mIoU on validation (%)": ("eval_{}_mean_iou", 100),
        "cross entropy (nats)": ("ce_{}", 1),
        "HFD, Eq. 2": ("hfd_{}", 1),
        "region BSD, Eq. 3": ("region_{}", 1),
        "pixel BSD, Eq. 4 (nats)": ("pixel_{}", 1),
        "share of pixels it teaches (%)": ("teaches_pixels_{}", 100),
    }
    curves = {
        title: {
            name: [(log["step"], factor * log[key.format(name)]) for log in log_history if key.format(name) in log]
            for name in names
        }
        for title, (key, factor) in panels.items()
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


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a PNG at 110 dpi, making its folder if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _legend(figure: Figure, entries: Mapping[int, str], palette: Palette) -> None:
    handles = [Patch(color=np.array(palette[i]) / 255, label=label) for i, label in entries.items()]
    columns = min(len(handles), 6, int(figure.get_figwidth() / 2))  # a class name takes up to two inches
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
