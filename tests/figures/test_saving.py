"""Figures are written whatever a class is called and however an image is shaped."""

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from ctcl_hf.figures import (
    comparison_figure,
    mistakes_figure,
    overlay_figure,
    pixels_of,
    samples_figure,
    save_figure,
)

PALETTE = ((128, 128, 128), (128, 64, 128))


def figures(names, size=(30, 40)):
    """A figure of each kind, with one image in which both classes occur."""
    image, ids = np.full((*size, 3), 200, np.uint8), np.indices(size).sum(0).astype(np.uint8) % 2
    return [
        overlay_figure(image, ids, names, PALETTE),
        samples_figure([image], [ids], names, PALETTE),
        comparison_figure(
            [image], [ids], {names[0]: [ids], "vit": [ids]}, names, PALETTE, [names[1]]
        ),
        mistakes_figure([image], [ids], [ids], [names[0]], names, PALETTE),
    ]


@pytest.mark.parametrize("name", [r"tree $\foo$", "$x$", "a_b^{", r"\$5", "50 %", "木"])
def test_a_class_may_be_called_anything(name, tmp_path):
    r"""`tree $\foo$` was read as a formula, which is none: the figure ended in a traceback."""
    for number, figure in enumerate(figures([name, "sky"])):
        save_figure(figure, tmp_path / f"{number}.png")
        assert PIL.Image.open(tmp_path / f"{number}.png").size > (100, 100)


def test_a_dollar_is_shown_as_it_is_written():
    """`$x$` was shown as an italic x."""
    shown = []
    for name, is_formula in (("$x$", True), ("$x$", False), ("x", False)):
        figure = Figure(figsize=(2, 1))
        figure.text(0.5, 0.5, name, parse_math=is_formula)
        shown.append(pixels_of(figure))
    assert np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[1], shown[2])


@pytest.mark.parametrize("size", [(4000, 20), (20, 4000)])
def test_an_image_of_any_shape_is_drawn_in_its_own_proportions(size, tmp_path):
    """Of an image of 4000 x 20 pixels it was to be 176,000 pixels high, which no figure may be."""
    for number, figure in enumerate(figures(["tree", "sky"], size)):
        save_figure(figure, tmp_path / f"{number}.png")
        assert max(PIL.Image.open(tmp_path / f"{number}.png").size) < 6000
        box = next(axes for axes in figure.axes if axes.images).get_window_extent()
        assert box.height / box.width == pytest.approx(size[0] / size[1], rel=0.02)
