"""What the pixels of a mask mean: class ids, other ids that stand for them, or colours."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

IGNORE_INDEX = 255
UNKNOWN = 254  # what an id or a colour that no mask may hold becomes when a mask is read

Colour = tuple[int, int, int]


class MaskReader:
    """Turns a stored mask into class ids 0..K-1, or IGNORE_INDEX.

    A mask of one channel (1-bit, 8-bit, palette or 16-bit) holds ids. A mask of several holds colours.

    Args:
        num_classes: K, at most 254.
        label_map: ids in the masks that stand for another id (such as "unlabelled" for IGNORE_INDEX), or for UNKNOWN
            where the mask's kind forbids them.
        colours: RGB -> class id, or IGNORE_INDEX.
    """

    def __init__(
        self,
        num_classes: int,
        label_map: Mapping[int, int] | None = None,
        colours: Mapping[Colour, int] | None = None,
    ):
        if num_classes > UNKNOWN:
            raise ValueError(f"{num_classes} classes: 8-bit masks hold at most {UNKNOWN}.")
        self.num_classes = num_classes
        known = {i: i for i in [*range(num_classes), IGNORE_INDEX]} | dict(label_map or {})
        if wrong := {i for i in known.values() if not 0 <= i < num_classes and i not in (IGNORE_INDEX, UNKNOWN)}:
            raise ValueError(f"Mask ids are mapped to {sorted(wrong)}, but classes are 0..{num_classes - 1}.")
        if outside := [i for i in known if not 0 <= i <= 255]:
            raise ValueError(f"Mask ids {outside} are mapped, but masks hold 0..255.")
        self.lookup = np.array([known.get(mask_id, UNKNOWN) for mask_id in range(256)], dtype=np.uint8)
        by_code = sorted((_code(colour), class_id) for colour, class_id in (colours or {}).items())
        self.codes = np.array([code for code, _ in by_code], dtype=np.int64)
        self.ids = np.array([class_id for _, class_id in by_code], dtype=np.uint8)

    def __call__(self, mask: Image.Image) -> np.ndarray:
        """Class ids (H, W) uint8. ValueError says which ids or colours mean nothing; it knows no file names."""
        if mask.mode in ("1", "L", "P"):
            labels = self.lookup[np.asarray(mask).astype(np.uint8)]
        elif mask.mode.startswith("I"):
            ids = np.asarray(mask).astype(np.int64)
            labels = np.where((ids >= 0) & (ids <= 255), self.lookup[ids.clip(0, 255)], np.uint8(UNKNOWN))
        elif mask.mode in ("RGB", "RGBA") and len(self.codes):
            return self._decode(np.asarray(mask.convert("RGB")).astype(np.int64))
        else:
            hint = " Say what its colours mean: --palette." if mask.mode in ("RGB", "RGBA") else ""
            raise ValueError(f"A mask must hold one class id per pixel, got mode {mask.mode}.{hint}")
        if (labels == UNKNOWN).any():
            bad = np.unique(np.asarray(mask)[labels == UNKNOWN]).tolist()
            legal = f"0..{self.num_classes - 1} or {IGNORE_INDEX} (ignored)"
            raise ValueError(f"Masks must hold class ids {legal}, got {_some(bad)}.")
        return labels

    def _decode(self, pixels: np.ndarray) -> np.ndarray:
        codes = _code(np.moveaxis(pixels, -1, 0))
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        if (unknown := self.codes[places] != codes).any():
            bad = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes[unknown]).tolist()]
            raise ValueError(f"The mask holds colours without a meaning: {_some(bad)}. Add them to the palette.")
        return self.ids[places]


def as_picture(labels: np.ndarray, palette: Sequence[Colour]) -> Image.Image:
    """Class ids (H, W) uint8 as a palette image, which viewers show in these colours and programs read as ids."""
    picture = Image.fromarray(labels)
    # All 256 colours: of fewer, PIL would write fewer bits than the ids have.
    picture.putpalette([channel for colour in palette for channel in colour] + [0] * 3 * (256 - len(palette)))
    return picture


def _code(colour):
    """One number of three channels, each a number or an array."""
    red, green, blue = colour
    return (red << 16) + (green << 8) + blue


def _some(items: Iterable) -> str:
    items = list(items)
    return str(items) if len(items) <= 12 else f"[{', '.join(map(str, items[:12]))}, ... {len(items)} in all]"
