"""The one reader of masks: what their pixels mean, which are class ids, other ids that stand for
them, or colours.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, TiffImagePlugin

from .images import SAMPLE_FORMAT, bits_of, check_whole, has_transparency, load_turned, raw_mode

IGNORE_INDEX = 255
MUST_HOLD = "Masks must hold class ids"
UNKNOWN = 254  # what an id or a colour that no mask may hold becomes when a mask is read
EXACT_FORMATS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", None)  # None: an image made in memory
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp", "tiff_sgilog", "tiff_sgilog24")
PHOTOMETRIC = 262  # TIFF's tag: 0 says that 0 is white
SIGNED = 2  # of TIFF's sample formats; 1 is unsigned
VALUES_SHOWN = 12  # in a message

Colour = tuple[int, int, int]


class BadValues(ValueError):
    """A mask holds values that mean nothing.

    sentence: the same for all such masks of a data set, with {} for the values of one of them.
    """

    def __init__(self, sentence: str, values: Sequence):
        super().__init__(with_values(sentence, values))
        self.sentence, self.values = sentence, tuple(values)


class MaskReader:
    """Turns a stored mask into class ids 0..K-1, or IGNORE_INDEX.

    Without `colours` a mask of one channel (of 1 to 32 bits, or a palette's indices) holds ids.
    With them, colours decide where a mask shows any: in masks of three channels, in those with a
    palette, and in grey or 1-bit ones if every class has a grey. A value that could be the id of
    one class and the colour of another is refused.

    Args:
        num_classes: K, at most 254.
        label_map: ids in the masks that stand for another id (such as "unlabelled" for
            IGNORE_INDEX), or for UNKNOWN where the mask's kind forbids them. Where colours decide,
            of the class ids that the colours become.
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
        self.label_map, self.colours = dict(label_map or {}), dict(colours or {})
        known = {i: i for i in [*range(num_classes), IGNORE_INDEX]} | self.label_map
        if wrong := {
            i
            for i in known.values()
            if not 0 <= i < num_classes and i not in (IGNORE_INDEX, UNKNOWN)
        }:
            raise ValueError(
                f"Mask ids are mapped to {sorted(wrong)}, but classes are 0..{num_classes - 1}."
            )
        # ids of the map that a caller wants to know whether masks hold them: each is taken out once
        # it is met
        self.watched: set[int] = set()
        self._wide = [i for i in self.label_map if not 0 <= i <= 255]
        self._by_id = _Meanings(known)
        drawn = {_code(colour): class_id for colour, class_id in self.colours.items()}
        self._drawn = _Meanings(drawn)
        self._by_colour = _Meanings(
            {code: known.get(class_id, class_id) for code, class_id in drawn.items()}
        )
        self._table = self._by_id[np.arange(2**16)]  # what most masks need, at once
        greys = {
            class_id
            for (red, green, blue), class_id in self.colours.items()
            if red == green == blue
        }
        self._has_greys = bool(self.colours) and greys >= set(range(num_classes))
        # the last palette whose colours mean what their indices do as ids
        self._agreeing: list[int] | None = None

    def __call__(self, mask: Image.Image) -> np.ndarray:
        """Class ids (H, W) uint8 of an opened mask, turned as its EXIF tag says.

        ValueError says which ids or colours mean nothing or two things, or why the pixels are not
        exact; it knows no file names.
        """
        _check_exact(mask)
        check_whole(mask)
        raw = raw_mode(mask)
        sample = (
            mask.tag_v2.get(SAMPLE_FORMAT, (1,))[0]
            if isinstance(mask, TiffImagePlugin.TiffImageFile)
            else None
        )
        mask, _ = load_turned(mask)
        if mask.mode in ("1", "L"):
            if sample == SIGNED:
                raise ValueError(
                    "A mask of 8 bits must be unsigned, got a TIFF of signed bytes. Save it as PNG."
                )
            # Pillow spreads 1, 2 and 4 bits of grey over 0..255.
            return self._read_grey(mask, 255 // (2 ** bits_of(raw) - 1))
        if mask.mode == "P":
            return self._read_palette(mask)
        if mask.mode.startswith("I"):
            ids = np.asarray(mask).astype(np.int64)
            # Pillow knows no unsigned 32 bits
            return self._read_wide(ids & 0xFFFFFFFF if sample == 1 else ids)
        if mask.mode in ("RGB", "RGBA"):
            return self._read_colours(mask, raw)
        raise ValueError(
            f"A mask must hold one class id per pixel, got mode {mask.mode}. Save it as 8-bit PNG."
        )

    def _read_grey(self, mask: Image.Image, step: int) -> np.ndarray:
        """Of 1 to 8 bits, whose values Pillow has multiplied by `step`."""
        self._check_map()
        mask = mask.convert("L") if mask.mode == "1" else mask
        values = np.asarray(mask) if step == 1 else np.asarray(mask) // step
        self._meet(values)
        if not self.colours:
            return self._checked(values, _looked_up(self._table, values))
        _check_opaque(mask)
        used = np.flatnonzero(mask.histogram()) // step
        meanings = self._meanings(used, _greys(used * step), shows_colours=False)
        return _looked_up(_spread(used, meanings), values)

    def _read_palette(self, mask: Image.Image) -> np.ndarray:
        self._check_map()
        values = np.asarray(mask)
        self._meet(values)
        labels = _looked_up(self._table, values)
        if not self.colours:
            return self._checked(values, labels)
        _check_opaque(mask)
        palette = mask.getpalette("RGB")
        if self._agrees(palette) and not (labels == UNKNOWN).any():
            return labels
        used = np.flatnonzero(mask.histogram())
        colours = _colours_of(palette)[used]
        # some programs give ids their number as a grey
        shows_colours = bool((colours != used[:, None]).any())
        return _looked_up(_spread(used, self._meanings(used, colours, shows_colours)), values)

    def _read_wide(self, ids: np.ndarray) -> np.ndarray:
        """Of 16 or 32 bits. A grey of 16 bits is one of 8, times 257."""
        self._meet(ids)
        if not self.colours:
            is_small = ids.min() >= 0 and ids.max() < len(self._table)
            return self._checked(ids, self._table[ids] if is_small else self._by_id[ids])
        used, places = np.unique(ids, return_inverse=True)
        greys = np.where((used % 257 == 0) & (used >= 0) & (used < 2**16), used // 257, -1)
        return self._meanings(used, _greys(greys), shows_colours=False)[places.reshape(ids.shape)]

    def _read_colours(self, mask: Image.Image, raw: str) -> np.ndarray:
        """Of three channels, or of four of which the last is opaque."""
        pixels = np.asarray(mask)
        if bits_of(raw) > 8:
            raise ValueError(
                f"A mask of colours must have 8 bits per channel, got mode {raw}. Save it so."
            )
        if not self.colours:
            hint = "Say what its colours mean: --palette."
            if (pixels[..., :1] == pixels[..., :3]).all():
                hint = (
                    "Its channels are equal: save one of them alone. If they are greys that "
                    "mean classes: --palette."
                )
            raise ValueError(
                f"A mask must hold one class id per pixel, got mode {mask.mode}. {hint}"
            )
        _check_opaque(mask)
        codes = _code(np.moveaxis(pixels[..., :3].astype(np.int64), -1, 0))
        if self.watched:
            self._meet(self._drawn[codes])
        labels = self._by_colour[codes]
        if (unknown := labels == UNKNOWN).any():
            bad = [
                (code >> 16, code >> 8 & 255, code & 255)
                for code in np.unique(codes[unknown]).tolist()
            ]
            raise BadValues(
                "The mask holds colours without a meaning: [{}]. Add them to the palette, to a "
                'class or as "ignored".',
                bad,
            )
        return labels

    def _meanings(self, used: np.ndarray, colours: np.ndarray, shows_colours: bool) -> np.ndarray:
        """What each of the values `used` (N,) means, which looks like one of `colours` (N, 3): by
        id, or by colour.

        shows_colours: the mask has colours of its own. Else it may well hold ids, which look like
            greys.
        """
        by_id, by_colour = self._by_id[used], self._by_colour[_code(colours.T)]
        self._meet(self._drawn[_code(colours.T)])
        # An option may say of the id what its colour is drawn for: then nothing is left to map.
        by_colour = np.where(by_id == self._drawn[_code(colours.T)], by_id, by_colour)
        has_colour = by_colour != UNKNOWN
        differ = (by_id != UNKNOWN) & has_colour & (by_id != by_colour)
        decides = shows_colours or self._has_greys
        told = np.isin(used, list(self.label_map))
        if differ.any():
            # An option has said what the id is, or two ids are of one colour: then the colours
            # cannot decide.
            doubled = len(np.unique(colours, axis=0)) < len(used)
            if not decides or told[differ].any() or doubled:
                raise ValueError(self._ambiguous(used[differ][0], colours[differ][0]))
        if has_colour.all():
            return by_colour
        if not decides or (told.all() and not has_colour.any()):
            return self._checked(used, by_id)
        # If all others are of their ids' colours, the odd one is the id that is not scored.
        if shows_colours and not differ.any() and (has_colour | (by_id == IGNORE_INDEX)).all():
            return by_id
        bad = zip(used[~has_colour].tolist(), colours[~has_colour].tolist(), strict=True)
        raise BadValues(
            "The mask holds ids in colours without a meaning: [{}]. Add them to the palette. If "
            "masks hold ids, whatever colours they are shown in, leave the palette out.",
            [f"{value} in {tuple(colour)}" for value, colour in bad],
        )

    def _ambiguous(self, value: int, colour: np.ndarray) -> str:
        def name(class_id: int) -> str:
            return "what is not scored" if class_id == IGNORE_INDEX else f"class {class_id}"

        by_id = self._by_id[np.array([value])][0]
        by_colour = self._by_colour[np.array([_code(colour)])][0]
        return (
            f"{value} in this mask could be the id of {name(by_id)}, or its colour "
            f"{tuple(colour.tolist())} that of {name(by_colour)}. If masks hold ids, take the "
            "colour out of the palette or list; if colours, save them as RGB."
        )

    def _agrees(self, palette: list[int]) -> bool:
        """Whether a mask's palette shows every class in a colour of its own, so that indices are
        ids.
        """
        if palette != self._agreeing:
            colours = _colours_of(palette)
            by_id, by_colour = self._table[:256], self._by_colour[_code(colours.T)]
            if not ((by_colour == by_id) | (by_id == UNKNOWN)).all():
                return False
            self._agreeing = palette
        return True

    def _meet(self, values: np.ndarray) -> None:
        for value in tuple(self.watched):  # which other threads may change
            if (values == value).any():
                self.watched.discard(value)

    def _check_map(self) -> None:
        if self._wide:
            raise ValueError(
                f"Mask ids {self._wide} are mapped, but this mask is of 8 bits, and holds 0..255."
            )

    def _checked(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if (unknown := labels == UNKNOWN).any():
            bad = np.unique(values[unknown]).tolist()
            legal = f"0..{self.num_classes - 1} or {IGNORE_INDEX} (ignored)"
            raise BadValues(f"{MUST_HOLD} {legal}, got [{{}}].", bad)
        return labels


class _Meanings:
    """Class ids by key, for arrays of keys; UNKNOWN for keys that have none."""

    def __init__(self, known: Mapping[int, int]):
        self.keys = np.array(sorted(known), dtype=np.int64)
        self.ids = np.array([known[key] for key in self.keys.tolist()], dtype=np.uint8)

    def __getitem__(self, keys: np.ndarray) -> np.ndarray:
        if not len(self.keys):
            return np.full(keys.shape, UNKNOWN, dtype=np.uint8)
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.ids[places], np.uint8(UNKNOWN))


def shown_colours(mask: Image.Image) -> dict[Colour, int]:
    """The colours, but greys, that a mask with a palette shows, and the index of each; none of
    other masks.
    """
    if mask.mode != "P":
        return {}
    used = np.flatnonzero(mask.histogram())
    colours = map(tuple, _colours_of(mask.getpalette("RGB"))[used].tolist())
    return {
        colour: int(index)
        for index, colour in zip(used, colours, strict=True)
        if len(set(colour)) > 1
    }


def colours_of_ids(mask: Image.Image) -> dict[int, Colour]:
    """The palette of a mask: a colour for each id, used or not; none of other masks."""
    if mask.mode != "P":
        return {}
    channels = mask.getpalette("RGB")
    return {i: tuple(channels[3 * i : 3 * i + 3]) for i in range(len(channels) // 3)}


def as_picture(labels: np.ndarray, palette: Sequence[Colour]) -> Image.Image:
    """Class ids (H, W) uint8 as a palette image, which viewers show in these colours and programs
    read as ids.
    """
    picture = Image.fromarray(labels)
    # All 256 colours: of fewer, PIL would write fewer bits than the ids have.
    picture.putpalette(
        [channel for colour in palette for channel in colour] + [0] * 3 * (256 - len(palette))
    )
    return picture


def _check_exact(mask: Image.Image) -> None:
    """ValueError if the pixels are not those that were drawn."""
    lossy = None
    if mask.format not in EXACT_FORMATS:
        lossy = mask.format
    elif mask.format == "WEBP" and not _is_lossless_webp(mask):
        lossy = "lossy WebP"
    elif isinstance(mask, TiffImagePlugin.TiffImageFile):
        if mask.info.get("compression") in LOSSY_TIFF:
            lossy = f"TIFF compressed as {mask.info['compression']}"
        if mask.tag_v2.get(PHOTOMETRIC) == 0:
            raise ValueError(
                "The TIFF is stored as a negative (0 is white): are its ids turned over? Save it "
                "as PNG."
            )
    if lossy:
        raise ValueError(
            f"The mask is {lossy}, which does not keep ids as they were drawn. Export it again, as "
            "PNG; saving this file as PNG would keep the wrong ids."
        )


def _check_opaque(mask: Image.Image) -> None:
    """ValueError if a mask of colours has some that are not seen."""
    if has_transparency(mask):
        raise ValueError(
            "The mask has transparent pixels. If the colours beneath are meant, save it as RGB, "
            'mask.convert("RGBA").convert("RGB") in Pillow; else draw what is meant there.'
        )


def _is_lossless_webp(mask: Image.Image) -> bool:
    if mask.fp is None:  # it has been loaded, and its file is gone
        return False
    mask.fp.seek(12)
    while len(head := mask.fp.read(8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        size = int.from_bytes(head[4:], "little")
        mask.fp.seek(size + size % 2, 1)
    return False


def _greys(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, None], 3, axis=1)


def _colours_of(palette: list[int]) -> np.ndarray:
    """RGB (256, 3) of a palette's indices; none beyond its end."""
    colours = np.full(3 * 256, -1, dtype=np.int64)
    colours[: len(palette)] = palette
    return colours.reshape(256, 3)


def _spread(used: np.ndarray, meanings: np.ndarray) -> np.ndarray:
    """A table of 256 from some of its values."""
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[used] = meanings
    return table


def _looked_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """table[values] of bytes, in a third of the time."""
    found = bytearray(values.tobytes()).translate(table[:256].tobytes())
    return np.frombuffer(found, dtype=np.uint8).reshape(values.shape)


def _code(colour):
    """One number of three channels, each a number or an array."""
    red, green, blue = colour
    return (red << 16) + (green << 8) + blue


def with_values(sentence: str, values: Sequence) -> str:
    """The sentence with the first of the values in place of {}, if it has any."""
    shown = ", ".join(map(str, values[:VALUES_SHOWN]))
    more = f", ... {len(values)} in all" if len(values) > VALUES_SHOWN else ""
    return sentence.replace("{}", f"{shown}{more}") if values else sentence
