"""Colours to draw classes in."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from typing import TYPE_CHECKING, Any

from .benchmarks.camvid import CAMVID_CLASSES, CAMVID_PALETTE
from .benchmarks.cityscapes import CITYSCAPES_CLASSES, CITYSCAPES_PALETTE
from .benchmarks.voc import VOC_CLASSES, VOC_PALETTE
from .masks import Colour

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Palette = Sequence[Colour]
KNOWN = (
    dict(zip(CAMVID_CLASSES, CAMVID_PALETTE, strict=True)),
    dict(zip(CITYSCAPES_CLASSES, CITYSCAPES_PALETTE, strict=True)),
    dict(zip(VOC_CLASSES, VOC_PALETTE, strict=True)),
)


def palette_for(class_names: Sequence[str]) -> Palette:
    """The colours of the benchmark that names most of these classes; for others, steps of the golden angle."""
    known = max(KNOWN, key=lambda colours: sum(name in colours for name in class_names))
    hues = [(i * 0.618034) % 1 for i in range(len(class_names))]
    drawn = [hsv_to_rgb(hue, 0.65 + 0.3 * (i % 2), 0.95 - 0.2 * (i % 3)) for i, hue in enumerate(hues)]
    return [
        known.get(name, tuple(round(255 * channel) for channel in colour))
        for name, colour in zip(class_names, drawn, strict=True)
    ]


def palette_of(config: "PreTrainedConfig") -> Palette:
    """The colours that a student keeps in its configuration; for other models those of `palette_for` its classes."""
    kept = config.to_dict().get("palette")
    if _is_palette(kept, config.num_labels):
        return [(red, green, blue) for red, green, blue in kept]
    return palette_for([config.id2label[i] for i in range(config.num_labels)])


def _is_palette(told: Any, count: int) -> bool:
    """Whether a value of anyone's configuration is an [R, G, B] in 0..255 for each of so many classes."""
    return (
        isinstance(told, (list, tuple))
        and len(told) == count
        and all(isinstance(colour, (list, tuple)) and len(colour) == 3 for colour in told)
        and all(isinstance(channel, int) and 0 <= channel <= 255 for colour in told for channel in colour)
    )
