"""Wrong labels of five kinds, planted into a right mask: what `planted_errors.py` looks for.

Each is a function of a mask, class ids (H, W) uint8 with 255 where there is no label, of the number
of classes and of a generator. It returns a changed copy, or None where the mask offers nothing to
change in that way.
"""

from collections.abc import Callable, Sequence

import numpy as np
from contourpy import contour_generator
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

IGNORE = 255
SMALLEST = 0.005  # of an image, what is relabelled: less would hardly be noticed by anyone
LARGEST_OBJECT = 0.2  # of an image: more is no object, but what objects stand on
SHIFTS = (0.04, 0.1)  # of a side
CORNER_EVERY = 0.08  # of the longer side, along a border that an annotator clicks around

Planting = Callable[[np.ndarray, int, Generator], np.ndarray | None]


def swap_class(mask: np.ndarray, classes: int, rng: Generator) -> np.ndarray | None:
    """All pixels of one class of the image called another class, of all there are."""
    ids, pixels = np.unique(mask[mask != IGNORE], return_counts=True)
    large = ids[pixels >= SMALLEST * mask.size]
    if not len(large):
        return None
    found = rng.choice(large)
    called = rng.choice([one for one in range(classes) if one != found])
    return np.where(mask == found, np.uint8(called), mask)


def shift_mask(mask: np.ndarray, classes: int, rng: Generator) -> np.ndarray:
    """The whole mask moved along both sides; what it leaves has no label."""
    steps = [
        int(rng.choice([-1, 1]) * max(round(side * rng.uniform(*SHIFTS)), 1)) for side in mask.shape
    ]
    moved = np.full_like(mask, IGNORE)
    targets = tuple(slice(max(step, 0), side + min(step, 0)) for step, side in _sides(steps, mask))
    sources = tuple(
        slice(max(-step, 0), side + min(-step, 0)) for step, side in _sides(steps, mask)
    )
    moved[targets] = mask[sources]
    return moved


def drop_object(mask: np.ndarray, classes: int, rng: Generator) -> np.ndarray | None:
    """A connected component relabelled as most of what surrounds it."""
    offered = []
    for place, part, label in _components(mask):
        border = mask[place][ndimage.binary_dilation(part) & ~part]
        border = border[border != IGNORE]
        is_object = SMALLEST <= part.sum() / mask.size <= LARGEST_OBJECT
        if is_object and label != IGNORE and len(border):
            offered.append((place, part, np.bincount(border).argmax()))
    if not offered:
        return None
    place, part, around = offered[rng.integers(len(offered))]
    changed = mask.copy()
    changed[place][part] = around
    return changed


def coarsen(mask: np.ndarray, classes: int, rng: Generator) -> np.ndarray:
    """Every component drawn as a polygon with few corners, the small ones over the large ones; what
    none covers goes to the nearest.
    """
    every = CORNER_EVERY * max(mask.shape)
    drawn = np.full(mask.shape, -1, dtype=np.int64)
    filled = [
        (place, ndimage.binary_fill_holes(part), label) for place, part, label in _components(mask)
    ]
    for place, part, label in sorted(filled, key=lambda one: -one[1].sum()):
        canvas = Image.new("1", part.shape[::-1])
        ImageDraw.Draw(canvas).polygon(_corners(part, every, rng), fill=1, outline=1)
        drawn[place][np.asarray(canvas)] = label
    nearest = ndimage.distance_transform_edt(drawn < 0, return_distances=False, return_indices=True)
    return drawn[tuple(nearest)].astype(np.uint8)


def take_other(mask: np.ndarray, others: Sequence[np.ndarray], rng: Generator) -> np.ndarray | None:
    """The mask of another image of the same size."""
    fitting = [
        other for other in others if other.shape == mask.shape and not np.array_equal(other, mask)
    ]
    return fitting[rng.integers(len(fitting))].copy() if fitting else None


def plantings(masks: Sequence[np.ndarray]) -> dict[str, Planting]:
    """The five kinds by name, of a set of masks."""
    return {
        "swapped class": swap_class,
        "shifted mask": shift_mask,
        "missing object": drop_object,
        "coarse polygon": coarsen,
        "wrong file": lambda mask, classes, rng: take_other(mask, masks, rng),
    }


def _sides(steps: Sequence[int], mask: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(steps, mask.shape, strict=True))


def _components(mask: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray, int]]:
    """Connected pixels of one label: where they lie with a pixel around them, which pixels there
    they are, and the label.
    """
    parts = []
    for label in np.unique(mask):
        numbers, _ = ndimage.label(mask == label)
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
            place = (
                slice(max(rows.start - 1, 0), rows.stop + 1),
                slice(max(columns.start - 1, 0), columns.stop + 1),
            )
            parts.append((place, numbers[place] == number, int(label)))
    return parts


def _corners(part: np.ndarray, every: float, rng: Generator) -> list[tuple[float, float]]:
    """(x, y) on the outer border of a part without holes, so many pixels apart, three at least."""
    padded = np.pad(part, 1).astype(float)
    border = max(contour_generator(z=padded).lines(0.5), key=len)[:-1] - 1
    count = max(round(len(border) / every), 3)
    first = rng.integers(len(border))
    places = (first + np.arange(count) * len(border) // count) % len(border)
    return [(float(x), float(y)) for x, y in border[places]]
