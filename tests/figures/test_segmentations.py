"""What pictures of segmentations show, and what their legends say of it."""

from itertools import pairwise

import numpy as np
import pytest

from ctcl_hf.data.palettes import ignored_colour
from ctcl_hf.figures import (
    comparison_figure,
    methods_figure,
    mistakes_figure,
    overlay,
    overlay_figure,
    samples_figure,
)

NAMES, PALETTE = ("sky", "road", "car"), ((128, 128, 128), (128, 64, 128), (64, 0, 128))
LABELS = np.zeros((30, 40), np.uint8)
LABELS[15:], LABELS[:, 30:] = 1, 255
IMAGE = np.full((30, 40, 3), 200, np.uint8)


def legend_of(figure):
    (legend,) = figure.legends
    colours = [
        tuple((255 * np.array(patch.get_facecolor()[:3])).round().astype(int))
        for patch in legend.get_patches()
    ]
    return dict(zip([text.get_text() for text in legend.get_texts()], colours, strict=True))


def shown(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


@pytest.mark.parametrize(
    "figure",
    [
        samples_figure([IMAGE] * 3, [LABELS] * 3, NAMES, PALETTE),
        comparison_figure([IMAGE], [LABELS], {"cnn": [LABELS], "vit": [LABELS]}, NAMES, PALETTE),
        mistakes_figure([IMAGE], [LABELS], [LABELS], ["frame"], NAMES, PALETTE),
        methods_figure(
            [IMAGE], [LABELS], {"dml": {"cnn": [LABELS], "vit": [LABELS]}}, NAMES, PALETTE
        ),
    ],
)
def test_the_legend_names_what_occurs_and_what_is_ignored_in_the_colours_shown(figure):
    """Ignored pixels were drawn black, and no legend said what black is."""
    assert legend_of(figure) == {"sky": PALETTE[0], "road": PALETTE[1], "ignored": (0, 0, 0)}
    colours = {
        tuple(colour) for picture in shown(figure) for colour in picture.reshape(-1, 3).tolist()
    }
    assert set(legend_of(figure).values()) <= colours


def test_without_ignored_pixels_the_legend_says_nothing_of_them():
    whole = np.where(LABELS == 255, 0, LABELS).astype(np.uint8)
    assert "ignored" not in legend_of(samples_figure([IMAGE], [whole], NAMES, PALETTE))


def test_what_is_ignored_is_not_drawn_as_a_class_that_is_black():
    """VOC's background is black, and so was what VOC does not score."""
    assert ignored_colour(((0, 0, 0), (128, 0, 0))) == (255, 255, 255) and ignored_colour(
        PALETTE
    ) == (0, 0, 0)


def test_an_overlay_and_its_legend_are_of_one_tint():
    """The legend showed a class's colour, and the image a mixture."""
    figure = overlay_figure(IMAGE, LABELS, NAMES, PALETTE)
    (picture,) = shown(figure)
    tints = {text.split()[0]: colour for text, colour in legend_of(figure).items()}
    assert tints == {"sky": tuple(picture[0, 0].tolist()), "road": tuple(picture[20, 0].tolist())}


def test_a_class_that_is_there_is_not_called_zero_percent():
    labels = np.zeros((60, 80), np.uint8)
    labels[0, 0] = 1
    legend = legend_of(overlay_figure(np.zeros((60, 80, 3), np.uint8), labels, NAMES[:2], PALETTE))
    assert list(legend) == ["sky 100.0 %", f"{NAMES[1]} under 0.1 %"]


def test_a_black_class_is_outlined_in_an_overlay():
    """CVAT's background, black, looked like a part of the image that is in shadow."""
    labels = np.zeros((30, 40), np.uint8)
    labels[10:20, 10:20] = 1
    drawn = overlay(IMAGE, labels, ((0, 0, 0), (128, 0, 0)))
    beside = [drawn[9, 15], drawn[20, 15], drawn[15, 9], drawn[15, 20]]
    assert all(pixel.tolist() == [255] * 3 for pixel in beside)
    assert drawn[0, 0].tolist() == [90] * 3, "a shade of the image, and no line at its rim"
    assert drawn[10, 10].tolist() == [160, 90, 90], "the other class is as it was"
    legend = legend_of(overlay_figure(IMAGE, labels, NAMES[:2], ((0, 0, 0), (128, 0, 0))))
    assert list(legend) == ["sky 91.7 %, outlined", "road 8.3 %"]
    plain = overlay(IMAGE, labels, PALETTE[:2])
    assert not (plain == 255).any(), "classes that can be told from the image have none"


def test_image_and_truth_are_shown_once_beside_all_methods():
    """They stood before the row of each student."""
    predictions = {
        method: {"cnn": [LABELS] * 2, "vit": [LABELS] * 2} for method in ("vanilla", "dml", "ctcl")
    }
    figure = methods_figure([IMAGE] * 2, [LABELS] * 2, predictions, NAMES, PALETTE)
    assert len(figure.axes) == len(shown(figure)) == 2 * (2 + 3 * 2)  # no panel is blank
    assert sum(np.array_equal(picture, IMAGE) for picture in shown(figure)) == 2
    named = [[text.get_text() for text in axes.texts] for axes in figure.axes[:8]]
    assert named == [
        ["image"],
        ["cnn"],
        ["cnn"],
        ["cnn"],
        ["ground truth"],
        ["vit"],
        ["vit"],
        ["vit"],
    ]


def test_a_long_method_is_named_in_full_above_its_panel():
    """Its name was cut by its neighbours' and by the rim."""
    long = ["ctcl, pixel_classes known, no_region_bsd, no_hfd", "a" * 70]
    predictions = {method: {"cnn": [LABELS], "vit": [LABELS]} for method in long}
    figure = methods_figure([IMAGE], [LABELS], predictions, NAMES, PALETTE)
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes if axes.get_title()]
    assert ["".join(title.get_text().split()) for title in titles] == [
        name.replace(" ", "") for name in long
    ]
    boxes = [title.get_window_extent() for title in titles]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < figure.bbox.x1
    assert max(box.y1 for box in boxes) <= figure.bbox.y1


def test_images_of_several_sizes_stand_at_even_gaps():
    """Rows were as high as the highest image."""
    small, large = LABELS, np.zeros((90, 60), np.uint8)
    pictures = [IMAGE, np.zeros((90, 60, 3), np.uint8)]
    figure = mistakes_figure(pictures, [small, large], [small, large], ["a", "b"], NAMES, PALETTE)
    figure.draw_without_rendering()
    boxes = [axes.bbox for axes in figure.axes]
    rows = [boxes[:4], boxes[4:]]
    gaps = [right.x0 - left.x1 for row in rows for left, right in pairwise(row)] + [
        rows[0][0].y0 - rows[1][0].y1
    ]
    assert max(gaps) - min(gaps) < 1 and min(gaps) > 1
    for row, (height, width) in zip(rows, (small.shape, large.shape), strict=True):
        assert all(box.height / box.width == pytest.approx(height / width, rel=0.02) for box in row)
