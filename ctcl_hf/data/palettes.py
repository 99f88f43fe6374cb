"""Colours to draw classes in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import DATASETS
from .benchmarks.published import published_of
from .masks import Colour

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Palette = Sequence[Colour]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
ALIKE = 20  # CIELAB distance below which two colours in a picture can be mistaken for each other


def palette_for(class_names: Sequence[str]) -> Palette:
    """The colours of the benchmark that names most of these classes, whatever their case; for
    others, each as far from all as can be.
    """
    published = filter(None, map(published_of, DATASETS.values()))
    is_told_by_case = len({name.casefold() for name in class_names}) < len(class_names)
    key = str if is_told_by_case else str.casefold
    wanted = [key(name) for name in class_names]
    by_benchmark = (
        {key(name): colour for name, colour in benchmark.colours.items()} for benchmark in published
    )
    known = max(by_benchmark, key=lambda colours: sum(name in colours for name in wanted))
    taken = [known[name] for name in wanted if name in known]
    drawn = iter(_distinct_colours(len(wanted) - len(taken), taken))
    return [known[name] if name in known else next(drawn) for name in wanted]


def ignored_colour(palette: Palette) -> Colour:
    """What pixels of no class are drawn in: black, as most benchmarks do, or white where a class is
    black itself.
    """
    return WHITE if black_classes(palette).any() else BLACK


def black_classes(palette: Palette) -> np.ndarray:
    """Which classes are black, or nearly so: bool (K,)."""
    return _distances(np.array(palette), BLACK) < ALIKE


def _distinct_colours(count: int, taken: Palette) -> list[Colour]:
    """Colours of middling lightness, each the farthest from those taken and from those before
    it.
    """
    levels = np.linspace(0, 255, 9).round().astype(int)
    candidates = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    lightness = _lab(candidates)[:, 0]
    candidates = candidates[(lightness > 30) & (lightness < 85)]
    nearest = np.min([_distances(candidates, colour) for colour in (BLACK, WHITE, *taken)], axis=0)
    chosen = []
    for _ in range(count):
        colour = tuple(candidates[nearest.argmax()].tolist())
        chosen.append(colour)
        nearest = np.minimum(nearest, _distances(candidates, colour))
    return chosen


def _distances(colours: np.ndarray, other: Colour) -> np.ndarray:
    """CIELAB distances of colours (N, 3) to another."""
    return np.linalg.norm(_lab(colours) - _lab(np.array([other])), axis=1)


def _lab(colours: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) in 0..255 as CIELAB (N, 3), of the white point D65."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    scaled = xyz / [0.9505, 1.0, 1.089]
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def palette_of(config: "PreTrainedConfig") -> Palette:
    """The colours that a student keeps in its configuration; for other models those of
    `palette_for` its classes.
    """
    kept = config.to_dict().get("palette")
    if _is_palette(kept, config.num_labels):
        return [(red, green, blue) for red, green, blue in kept]
    return palette_for([config.id2label[i] for i in range(config.num_labels)])


def _is_palette(told: Any, count: int) -> bool:
    """Whether a value of anyone's configuration is an [R, G, B] in 0..255 for each of so many
    classes.
    """
    return (
        isinstance(told, (list, tuple))
        and len(told) == count
        and all(isinstance(colour, (list, tuple)) and len(colour) == 3 for colour in told)
        and all(
            isinstance(channel, int) and 0 <= channel <= 255
            for colour in told
            for channel in colour
        )
    )
