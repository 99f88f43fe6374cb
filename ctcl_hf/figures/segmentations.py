"""Pictures of segmentations, each with a legend of the classes that it shows."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..data import IGNORE_INDEX
from ..data.masks import Colour
from ..data.palettes import WHITE, Palette, black_classes, ignored_colour

DISAGREEMENT = (230, 30, 120)
IGNORED = "ignored"  # what legends call pixels of no class
TALLEST = 4  # times as high as wide, of a picture's panel: no figure may have 65,536 pixels a side
METHOD_LINE = 30  # letters that stand above a panel of a comparison
GAP, TITLE, LINE = 0.06, 0.3, 0.2  # inches: between pictures, above them, and of a legend's line


def colourize(labels: np.ndarray, palette: Palette) -> np.ndarray:
    """Class ids (H, W) as RGB (H, W, 3) uint8; ignored pixels in a colour that no class has."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_INDEX] = ignored_colour(palette)
    return table[labels]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Palette, opacity: float = 0.55
) -> np.ndarray:
    """The segmentation over its image: (H, W, 3) uint8 and (H, W) ids -> (H, W, 3) uint8.

    Black over an image is but a shade of it: classes of that colour have a white outline.
    """
    # Pillow mixes bytes: numbers of 64 bits would take a gigabyte of 12 megapixels.
    mixed = np.asarray(
        Image.blend(Image.fromarray(image), Image.fromarray(colourize(labels, palette)), opacity)
    )
    mixed = np.where((labels == IGNORE_INDEX)[..., None], image, mixed)
    is_black = np.append(black_classes(palette), np.zeros(256 - len(palette), dtype=bool))[labels]
    if is_black.any():
        mixed[_outline(is_black)] = WHITE
    return mixed


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (H, W) that lie beside others, in lines that can be seen at any size of
    the image.
    """
    width = max(min(mask.shape) // 200, 1)
    outline = np.zeros_like(mask)
    # of both axes; what is assigned to the one view stands in the other
    for inner, line in ((mask, outline), (mask.T, outline.T)):
        line[width:] |= inner[width:] & ~inner[:-width]
        line[:-width] |= inner[:-width] & ~inner[width:]
    return outline


def highlight(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The image in pale grey, and what is to be looked at in colour: (H, W, 3) uint8 and (H, W) in
    0..1 -> (H, W, 3) uint8.
    """
    grey = 255 - (255 - image.mean(-1, keepdims=True)) * 0.45
    return (grey + (np.array(DISAGREEMENT) - grey) * weight[..., None]).astype(np.uint8)


def overlay_figure(
    image: np.ndarray, labels: np.ndarray, class_names: Sequence[str], palette: Palette
) -> Figure:
    """The segmentation over its image, with a legend of the classes that occur and their share of
    the pixels.

    The legend shows each class in its mean tint over the image, and names those that are outlined.
    """
    height, width = labels.shape
    figure = Figure(figsize=(8, 8 * min(height / width, TALLEST) + 0.8), layout="constrained")
    axes = figure.subplots()
    mixed = overlay(image, labels, palette)
    axes.imshow(mixed)
    axes.set_axis_off()
    ids, counts = np.unique(labels[labels != IGNORE_INDEX], return_counts=True)
    is_black = black_classes(palette)
    legend = {
        f"{class_names[ids[i]]} {_percent(counts[i] / labels.size)}"
        f"{', outlined' if is_black[ids[i]] else ''}": tuple(mixed[labels == ids[i]].mean(0))
        for i in np.argsort(-counts)
    }
    _legend(figure, legend, loc="outside lower center")
    return figure


def samples_figure(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """Training samples as the students see them, each with its mask below. Images (H, W, 3) uint8,
    labels (H, W) ids.

    All are of one size.
    """
    columns = min(len(images), 4)
    rows = -(-len(images) // columns)
    legend = _present(labels, class_names, palette)
    figure, grid = _sheet([labels[0].shape] * (2 * rows), columns, 2.4, legend, above=GAP)
    for number, (image, ids) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, columns)
        _show(grid[2 * row][column], image)
        _show(grid[2 * row + 1][column], colourize(ids, palette))
    for axes in grid[-2:, len(images) - (rows - 1) * columns :].ravel():
        axes.remove()
    return figure


def comparison_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    palette: Palette,
    titles: Sequence[str] = (),
) -> Figure:
    """A row per image: image, ground truth, each student's prediction, and where the students
    disagree: not all say the same.

    Images are (H, W, 3) uint8; truths and predictions (H, W) class ids, predictions by student
    name. titles: of the rows, if they have any.
    """
    names, by_student = list(predictions), list(predictions.values())
    differing = f"{names[0]} ≠ {names[1]}" if len(names) == 2 else "not all the same"
    columns = ["image", "ground truth", *names, differing]
    maps = [ids for of_student in by_student for ids in of_student]
    legend = _present([*truths, *maps], class_names, palette)
    figure, grid = _sheet([truth.shape for truth in truths], len(columns), 3, legend)
    for axes, image, truth, *predicted in zip(grid, images, truths, *by_student, strict=True):
        differ = np.any([own != predicted[0] for own in predicted[1:]], axis=0)
        differ &= truth != IGNORE_INDEX
        faded = 255 - (255 - image.mean(-1, keepdims=True).repeat(3, -1)) * 0.45
        disagreement = np.where(differ[..., None], DISAGREEMENT, faded).astype(np.uint8)
        pictures = [
            image,
            colourize(truth, palette),
            *(colourize(p, palette) for p in predicted),
            disagreement,
        ]
        for axis, picture in zip(axes, pictures, strict=True):
            _show(axis, picture)
        share = differ.sum() / max((truth != IGNORE_INDEX).sum(), 1)
        _note(axes[-1], f"{100 * share:.1f} % of labelled pixels")
    for axis, title in zip(grid[0], columns, strict=True):
        axis.set_title(title)
    for axis, title in zip(grid[:, 0], titles, strict=False):
        _note(axis, title)
    return figure


def mistakes_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    titles: Sequence[str],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """One row per image: image, ground truth, prediction, and the labelled pixels that are wrong.

    Shapes: see above.
    """
    legend = _present([*truths, *predictions], class_names, palette)
    figure, grid = _sheet([truth.shape for truth in truths], 4, 3.2, legend)
    for axes, image, truth, predicted, title in zip(
        grid, images, truths, predictions, titles, strict=True
    ):
        wrong = (predicted != truth) & (truth != IGNORE_INDEX)
        mistakes = np.where(wrong[..., None], DISAGREEMENT, 255 - (255 - image) * 0.45).astype(
            np.uint8
        )
        for axis, picture in zip(
            axes,
            (image, colourize(truth, palette), colourize(predicted, palette), mistakes),
            strict=True,
        ):
            _show(axis, picture)
        _note(axes[0], title)
    for axis, title in zip(
        grid[0], ("image", "ground truth", "prediction", "mistakes"), strict=True
    ):
        axis.set_title(title)
    return figure


def methods_figure(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Mapping[str, Sequence[np.ndarray]]],
    class_names: Sequence[str],
    palette: Palette,
) -> Figure:
    """A row of each student per image: what it predicts by each method; before them the image,
    above its truth.

    Images are (H, W, 3) uint8; truths (H, W) class ids; predictions by method, then by student, (H,
    W) ids.
    """
    names = list(next(iter(predictions.values())))
    maps = [
        ids
        for by_student in predictions.values()
        for of_student in by_student.values()
        for ids in of_student
    ]
    shapes = [truth.shape for truth in truths for _ in names]
    titles = ["\n".join(textwrap.wrap(method, METHOD_LINE)) for method in predictions]
    lines = max(title.count("\n") + 1 for title in titles)
    figure, grid = _sheet(
        shapes,
        1 + len(predictions),
        2.4,
        _present([*truths, *maps], class_names, palette),
        above=TITLE + (lines - 1) * LINE,
    )
    for i, (image, truth) in enumerate(zip(images, truths, strict=True)):
        given = [(image, "image"), (colourize(truth, palette), "ground truth")]
        rows = grid[len(names) * i : len(names) * (i + 1)]
        for axes, name, shown in zip_longest(rows, names, given):
            if shown is None:
                axes[0].set_axis_off()
            else:
                _show(axes[0], shown[0])
                _note(axes[0], shown[1])
            for axis, by_student in zip(axes[1:], predictions.values(), strict=True):
                _show(axis, colourize(by_student[name][i], palette))
                _note(axis, name)
    for axis, title in zip(grid[0][1:], titles, strict=True):
        axis.set_title(title, fontsize=9)
    return figure


def _sheet(
    shapes: Sequence[tuple[int, int]],
    columns: int,
    width: float,
    legend: Mapping[str, Colour],
    above: float = TITLE,
) -> tuple[Figure, np.ndarray]:
    """A figure with a legend below, and its panels: a row for each (height, width) of pictures,
    which fill them.

    Panels are `width` inches wide, and all gaps are the same. above: inches for titles.
    """
    heights = [width * min(height / across, TALLEST) for height, across in shapes]
    wide = columns * width + (columns + 1) * GAP
    below = LINE * -(-len(legend) // _columns(legend, wide)) + 2 * GAP
    high = above + sum(heights) + (len(heights) - 1) * GAP + below
    figure = Figure(figsize=(wide, high))
    grid = figure.subplots(
        len(shapes),
        columns,
        squeeze=False,
        gridspec_kw={
            "height_ratios": heights,
            "left": GAP / wide,
            "right": 1 - GAP / wide,
            "top": 1 - above / high,
            "bottom": below / high,
            "wspace": GAP / width,
            "hspace": GAP / np.mean(heights),
        },
    )
    _legend(figure, legend, loc="lower center")
    return figure, grid


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[], frame_on=False)


def _percent(share: float) -> str:
    """`3.1 %`; what is there is not called 0."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


def _note(axes: Axes, text: str) -> None:
    """Words within a picture, where they move no other."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}
    axes.text(0.02, 0.03, text, transform=axes.transAxes, fontsize=9, bbox=box)


def _present(
    maps: Sequence[np.ndarray], class_names: Sequence[str], palette: Palette
) -> dict[str, Colour]:
    """The classes that occur, and what is ignored, if any is: a legend of 150 would leave no room
    for pictures.
    """
    ids = np.unique(np.concatenate([np.unique(labels) for labels in maps])).tolist()
    present = {class_names[i]: palette[i] for i in ids if i != IGNORE_INDEX}
    return present | ({IGNORED: ignored_colour(palette)} if IGNORE_INDEX in ids else {})


def _legend(figure: Figure, entries: Mapping[str, Colour], loc: str) -> None:
    """The colour (RGB, 0..255) of each entry, below the pictures."""
    handles = [
        Patch(facecolor=np.array(colour) / 255, edgecolor="0.5", linewidth=0.5, label=label)
        for label, colour in entries.items()
    ]
    figure.legend(
        handles=handles,
        loc=loc,
        ncols=_columns(entries, figure.get_figwidth()),
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
    )


def _columns(entries: Mapping[str, Colour], width: float) -> int:
    """Of a legend in so many inches: a class name takes up to two."""
    return max(min(len(entries), 6, int(width / 2)), 1)
