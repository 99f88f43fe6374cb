"""The page that shows where to look first in a set of images, with its pictures small."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...data import IGNORE_INDEX, SegmentationData, as_picture
from ...data.palettes import Palette, ignored_colour
from ...figures import highlight
from ...figures.segmentations import IGNORED
from ...scoring.review import ImageMaps, ImageScores
from .render import embedded, write_page

REVIEW_PAGE = "review.html"
SIDE = 360  # pixels, of a picture's longer side: fifty images stay below five megabytes
QUALITY = 80  # of JPEG


class Entry(NamedTuple):
    """An image on the page.

    pictures: title and address of each, in the order in which they stand.
    legend: name and colour, `rgb(0, 0, 0)`, of the classes that the pictures show.
    """

    rank: int
    name: str
    scores: ImageScores
    sentence: str
    pictures: Sequence[tuple[str, str]]
    legend: Sequence[tuple[str, str]]


def sentence_of(scores: ImageScores, class_names: Sequence[str], students: Sequence[str]) -> str:
    """Which classes stand against each other on most pixels, in words."""
    if scores.confusion is None:
        return "Nothing stands against anything."
    first, second, share = scores.confusion
    of_image = f"{100 * share:.1f} % of the image"
    if scores.label_quality is None:
        return (
            f"{students[0]} says {class_names[first]}, {students[1]} {class_names[second]}: "
            f"{of_image}."
        )
    return f"{class_names[first]} is called {class_names[second]}: {of_image}."


def entry_of(
    rank: int,
    name: str,
    scores: ImageScores,
    maps: ImageMaps,
    pair: tuple[Image.Image, np.ndarray],
    data: SegmentationData,
    students: Sequence[str],
) -> Entry:
    """The entry of an image.

    Args:
        pair: the image (RGB) and its mask (H, W), which is shown if a pixel has a label.
        students: names of the two that `maps.predictions` are of.
    """
    image, labels = pair
    is_labelled = scores.label_quality is not None
    classes = dict(zip(students, maps.predictions, strict=True))
    if is_labelled:
        classes = {"label": labels} | classes
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    doubt = Image.fromarray(maps.doubt).resize(small.size, Image.Resampling.BOX)
    where = Image.fromarray(highlight(np.asarray(small), np.asarray(doubt)))
    shown = {title: _nearest(ids, small.size) for title, ids in classes.items()}
    pictures = [
        ("image", _jpeg(small)),
        ("doubt of the label" if is_labelled else "root of the divergence", _jpeg(where)),
        *((title, _classes(ids, data.palette)) for title, ids in shown.items()),
    ]
    legend = _legend(list(shown.values()), data)
    return Entry(
        rank,
        name,
        scores,
        sentence_of(scores, data.class_names, students),
        pictures,
        legend,
    )


def write_review_page(
    folder: Path, entries: Sequence[Entry], title: str, total: int, students: Sequence[str]
) -> Path:
    """Writes review.html into the folder, of some images of `total`; returns the file."""
    return write_page(
        folder,
        REVIEW_PAGE,
        REVIEW_PAGE,
        live=False,
        title=title,
        entries=entries,
        total=total,
        students=students,
        is_labelled=any(entry.scores.label_quality is not None for entry in entries),
    )


def _jpeg(image: Image.Image) -> str:
    return embedded(image, "jpeg", quality=QUALITY)


def _nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def _classes(ids: np.ndarray, palette: Palette) -> str:
    """A class map in exactly the legend's colours, which JPEG would blur."""
    colours = [*palette, *[ignored_colour(palette)] * (IGNORE_INDEX + 1 - len(palette))]
    return embedded(as_picture(ids, colours), "png", optimize=True)


def _legend(maps: Sequence[np.ndarray], data: SegmentationData) -> list[tuple[str, str]]:
    present = sorted({int(i) for ids in maps for i in np.unique(ids)})
    named = [
        (IGNORED, ignored_colour(data.palette))
        if i == IGNORE_INDEX
        else (data.class_names[i], data.palette[i])
        for i in present
    ]
    return [(name, "rgb({}, {}, {})".format(*colour)) for name, colour in named]
