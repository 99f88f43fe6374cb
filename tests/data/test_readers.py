"""Whatever the mode, depth, palette and frames of a file: it is read as it was drawn, or it is
refused.

The files are written byte by byte (`files.py`) from what is drawn, so that the right answer is
known without Pillow.
"""

import io
import itertools
import struct

import numpy as np
import PIL.Image
import pytest
from data.files import COLOUR, COLOUR_ALPHA, GREY, GREY_ALPHA, PALETTE, chunk, png, tiff
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcl_hf.data import MaskReader
from ctcl_hf.data.images import open_stored, read_image, read_pixels, shown_size

MANY = settings(max_examples=150, deadline=None)
COLOURS = (
    (10, 20, 30),
    (200, 0, 0),
    (0, 90, 0),
    (0, 0, 0),
    (7, 7, 7),
    (128, 64, 128),
    (255, 255, 255),
)
GREYS = tuple((grey, grey, grey) for grey in (0, 255, 85, 170, 17, 34))
generators = st.integers(0, 2**31).map(np.random.default_rng)


def opened(content):
    return open_stored({"bytes": content, "path": None})


def pixels(content):
    return read_pixels(opened(content))[0]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ---- images ----


@MANY
@given(
    generators,
    st.sampled_from(
        [(b, t) for t in (GREY, PALETTE) for b in (1, 2, 4, 8)] + [(8, 2), (8, 4), (8, 6)]
    ),
)
def test_a_png_image_of_any_kind_looks_as_it_was_drawn(rng, kind):
    bits, colour_type = kind
    height, width = rng.integers(1, 9, 2)
    channels = {COLOUR: 3, GREY_ALPHA: 2, COLOUR_ALPHA: 4}.get(colour_type, 1)
    stored = rng.integers(0, 2**bits, (height, width, channels))
    palette = rng.integers(0, 256, (2**bits, 3)) if colour_type == PALETTE else ()
    if colour_type in (GREY_ALPHA, COLOUR_ALPHA):
        stored[..., -1] = 255
    expected = np.zeros((height, width, 3), dtype=int)
    for y, x in itertools.product(range(height), range(width)):
        if colour_type == PALETTE:
            expected[y, x] = palette[stored[y, x, 0]]
        elif colour_type in (GREY, GREY_ALPHA):
            expected[y, x] = [stored[y, x, 0] * 255 // (2**bits - 1)] * 3
        else:
            expected[y, x] = stored[y, x, :3]
    assert np.array_equal(pixels(png(stored, bits, colour_type, palette)), expected)


@MANY
@given(
    generators,
    st.sampled_from(["16", "alpha", "transparency", "frames", "bands", "wide", "float", "stack"]),
)
def test_an_image_that_would_lose_something_is_refused(rng, loss):
    """48-bit colour came out nearly black, a fourth band vanished, and of three slices one was
    read.
    """
    three = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    one = rng.integers(0, 2**15, (4, 5))
    if loss == "16":
        kind, channels = [(GREY, 1), (COLOUR, 3), (GREY_ALPHA, 2), (COLOUR_ALPHA, 4)][
            rng.integers(4)
        ]
        content = png(rng.integers(0, 2**16, (4, 5, channels)), 16, kind)
    elif loss == "alpha":
        content = png(np.concatenate([three, 254 - three[..., :1] // 2], -1), 8, COLOUR_ALPHA)
    elif loss == "transparency":
        content = png(three[..., 0] % 2, 8, PALETTE, COLOURS[:2], transparency=b"\xff\x80")
        if (three[..., 0] % 2 == 0).all():
            return
    elif loss == "frames":
        content = png(three, 8, COLOUR, frames=int(rng.integers(2, 4)))
    elif loss == "bands":
        bands = rng.integers(0, 256, (4, 5, rng.integers(4, 7)), dtype=np.uint8)
        content = tiff(bands, photometric=2, extra=(0,) * (bands.shape[2] - 3))
    elif loss == "wide":
        content = tiff(
            one.astype(np.uint16) if rng.integers(2) else one.astype(np.int32), sample_format=1
        )
    elif loss == "float":
        content = tiff((one / 7).astype(np.float32), sample_format=3)
    else:
        content = tiff(*[three] * rng.integers(2, 4), photometric=2)
    with pytest.raises(ValueError, match=r"8 bits per channel|transparent|pictures|bands"):
        pixels(content)


def test_smaller_versions_of_an_image_are_no_further_images():
    """A cloud-optimised GeoTIFF carries overviews of its one image as pages."""
    page = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    content = tiff(page, page[:2, :2], page[:1, :1], photometric=2, subfile=(0, 1, 1))
    assert np.array_equal(pixels(content), page)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_an_image_is_turned_as_its_tag_says_and_that_is_known(kind, orientation):
    page = np.zeros((8, 16, 3), dtype=np.uint8)
    page[:4, :8] = 250  # at the top left of what is stored
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    if kind == "tiff":
        content = tiff(page, photometric=2, orientation=orientation)
    else:
        content = saved(PIL.Image.fromarray(page), kind, exif=exif)
    found, is_turned = read_pixels(opened(content))
    assert is_turned == (orientation != 1)
    assert (
        found.shape[:2] == shown_size(opened(content)) == ((8, 16) if orientation < 5 else (16, 8))
    )
    top, left = {
        1: (1, 1),
        2: (1, 0),
        3: (0, 0),
        4: (0, 1),
        5: (1, 1),
        6: (1, 0),
        7: (0, 0),
        8: (0, 1),
    }[orientation]
    assert found[0 if top else -1, 0 if left else -1, 0] > 200


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "Git LFS pointer.*git lfs pull",
        ),
        (b"../.git/annex/objects/aa/bb/SHA256E-s1--00.png", "git-annex"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"", "empty"),
        (bytes(400), "begins with zeros"),
        (tiff(np.zeros((3, 4, 2), np.uint8), extra=(0,)), "TIFF of 2 bands of 8 bits"),
        (tiff(np.zeros((3, 4, 5), np.uint8), extra=(0,) * 4), "TIFF of 5 bands of 8 bits"),
        (
            tiff(np.zeros((3, 4), np.float64), sample_format=3),
            r"TIFF of 1 bands of 64 bits \(float",
        ),
        (tiff(np.zeros((3, 4), np.uint8), compression=34887), "compression 34887|TIFF"),
    ],
)
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_what_is_no_image_is_called_what_it_is(tmp_path, content, told, where):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_image(path) if where == "disk" else pixels(content)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png: it is no regular file"):
        read_image(tmp_path / "pipe.png")


def test_a_bomb_is_one_sentence():
    header = chunk(b"IHDR", struct.pack(">2I5B", 2**15, 2**15, 1, 0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"decompression bomb.*cut it into tiles"):
        pixels(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))


# ---- masks ----


def slow_meanings(truth, values):
    """Ids (H, W) as the value or colour of each."""
    return np.array([[values[int(i)] for i in row] for row in truth])


def read(content, classes, label_map=None, colours=None):
    return MaskReader(classes, label_map, colours)(opened(content))


def drawn(rng, classes):
    return rng.integers(0, classes, tuple(rng.integers(1, 8, 2)))


@MANY
@given(
    generators,
    st.sampled_from([(b, t) for b in (1, 2, 4, 8) for t in (GREY, PALETTE)] + [(16, GREY)]),
)
def test_ids_are_read_from_any_depth_whatever_they_look_like(rng, kind):
    """PNG masks of 2 and 4 bits came out as 85, 170 and 255."""
    bits, colour_type = kind
    classes = int(rng.integers(1, min(2**bits, 20) + 1))
    truth = drawn(rng, classes)
    palette = rng.integers(0, 256, (2**bits, 3)) if colour_type == PALETTE else ()
    assert np.array_equal(read(png(truth, bits, colour_type, palette), classes), truth)


@MANY
@given(generators, st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32, np.int32]))
def test_any_id_of_a_wide_mask_can_be_left_out(rng, dtype):
    """--ignore_index 65535 was refused: masks hold 0..255."""
    truth = drawn(rng, 5)
    odd = int(np.iinfo(dtype).max)
    stored = np.where(truth == 4, odd, truth).astype(dtype)
    content = tiff(stored, sample_format=2 if np.issubdtype(dtype, np.signedinteger) else 1)
    assert np.array_equal(read(content, 4, {odd: 255}), np.where(truth == 4, 255, truth))
    if (truth == 4).any() and odd != 255:
        with pytest.raises(ValueError, match=rf"got \[{odd}\]"):
            read(content, 4)


def coloured(rng, greys=False):
    """Classes, a colour for each, and a colour that is not scored."""
    table = rng.permutation(np.array(GREYS if greys else COLOURS))
    classes = int(rng.integers(2, len(table)))
    meanings = {tuple(colour.tolist()): i for i, colour in enumerate(table[:classes])}
    return classes, table, meanings | {tuple(table[classes].tolist()): 255}


@MANY
@given(generators, st.sampled_from(["RGB", "RGBA", "tiff", "webp", "bmp", "gif"]))
def test_colours_decide_in_masks_of_colours(rng, kind):
    classes, table, colours = coloured(rng)
    truth = drawn(rng, classes + 1)
    shown = table[truth].astype(np.uint8)
    if kind == "RGBA":
        content = png(np.concatenate([shown, np.full((*truth.shape, 1), 255)], -1), 8, COLOUR_ALPHA)
    elif kind == "tiff":
        content = tiff(shown, photometric=2)
    elif kind == "webp":
        content = saved(PIL.Image.fromarray(shown), "webp", lossless=True)
    else:
        content = saved(PIL.Image.fromarray(shown), "png" if kind == "RGB" else kind)
    found = read_or_refused(content, classes, colours, may_refuse=kind == "gif")
    assert found is None or np.array_equal(found, np.where(truth == classes, 255, truth))


def read_or_refused(content, classes, colours, may_refuse, label_map=None):
    try:
        return read(content, classes, label_map, colours)
    except ValueError:
        assert may_refuse
        return None


@MANY
@given(generators, st.sampled_from([4, 8]), st.booleans())
def test_colours_decide_in_masks_with_a_palette(rng, bits, greys):
    """Colours saved as a palette PNG were read by index: classes were permuted without a word."""
    classes, table, colours = coloured(rng, greys)
    truth = drawn(rng, classes + 1)
    order = rng.permutation(2**bits)[: classes + 1]  # the index of each colour
    palette = np.full((2**bits, 3), 99)
    palette[order] = table[: classes + 1]
    # A palette that shows every index as the grey of its number is what programs give to ids: it
    # could be either.
    used = np.unique(order[truth])
    may_refuse = bool((palette[used] == used[:, None]).all())
    found = read_or_refused(png(order[truth], bits, PALETTE, palette), classes, colours, may_refuse)
    assert found is None or np.array_equal(found, np.where(truth == classes, 255, truth))


@MANY
@given(generators, st.sampled_from([1, 2, 4, 8, 16]))
def test_greys_decide_in_masks_of_one_channel_if_every_class_is_grey(rng, bits):
    """Masks of 0 and 255 with a palette of black and white lost their second class."""
    steps = [grey for (grey, _, _) in GREYS if grey * (2**bits - 1) % 255 == 0]
    classes = int(rng.integers(2, len(steps) + 1))
    steps = rng.permutation(steps)[:classes]
    colours = {(int(grey),) * 3: i for i, grey in enumerate(steps)}
    truth = drawn(rng, classes)
    stored = slow_meanings(truth, [grey * (2**bits - 1) // 255 for grey in steps])
    assert np.array_equal(read(png(stored, bits, GREY), classes, colours=colours), truth)


@MANY
@given(generators, st.sampled_from([1, 2, 4, 8, 16]), st.booleans())
def test_ids_beside_colours_are_read_as_ids_or_refused(rng, bits, is_palette):
    """A palette that draws classes may also be one that masks of ids know nothing of."""
    classes, table, colours = coloured(rng)
    classes = min(classes, 2**bits)
    colours = {colour: i for colour, i in colours.items() if i < classes or i == 255}
    if all(len(set(colour)) == 1 for colour, i in colours.items() if i < classes):
        return  # then greys mean classes, as the test above says
    truth = drawn(rng, classes)
    if bits == 8:
        truth = np.where(rng.random(truth.shape) < 0.3, 255, truth)
    if is_palette and bits < 16:
        shown = np.concatenate([table[:classes], rng.integers(0, 256, (2**bits - classes, 3))])
        content = png(truth, bits, PALETTE, shown)
    else:
        content = png(truth, bits, GREY)
    found = read_or_refused(content, classes, colours, may_refuse=True)
    assert found is None or np.array_equal(found, truth)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_ids_are_not_refused_beside_colours_that_say_the_same(mode):
    truth = np.array([[0, 1, 1, 0]], dtype=np.uint8)
    content = {
        "1": png(truth, 1, GREY),
        "L": png(truth, 8, GREY),
        "P": png(truth, 8, PALETTE, [(0, 0, 0), (200, 0, 0)]),
    }[mode]
    assert np.array_equal(read(content, 2, colours={(0, 0, 0): 0, (200, 0, 0): 1}), truth)


def test_a_value_that_could_be_an_id_or_a_colour_is_refused_with_both():
    colours = {(0, 0, 0): 255, (200, 0, 0): 0, (0, 90, 0): 1}  # black is not scored
    with pytest.raises(
        ValueError, match=r"0 in this mask could be the id of class 0, .* what is not scored"
    ):
        read(png([[0, 1]], 8, GREY), 2, colours=colours)
    same = [(200, 0, 0), (0, 90, 0)] + [(0, 0, 0)] * 254
    with pytest.raises(
        ValueError, match=r"255 in this mask could be the id of what is not scored, .* class 2"
    ):
        read(png([[2, 255]], 8, PALETTE, same), 3, colours=colours | {(0, 0, 0): 2})
    white = {(0, 0, 0): 0, (255, 255, 255): 1}
    with pytest.raises(ValueError, match=r"255 in this mask could be the id of class 0"):
        read(png([[0, 255]], 8, GREY), 2, {255: 0}, white)


def test_a_palettes_odd_colour_is_what_is_not_scored_if_the_others_are_their_ids():
    """VOC's border is id 255 in a colour of its own, which a list of its classes' colours does not
    name.
    """
    palette = [(0, 0, 0), (128, 0, 0)] + [(9, 9, 9)] * 253 + [(224, 224, 192)]
    colours = {(0, 0, 0): 0, (128, 0, 0): 1}
    assert read(png([[0, 1, 255]], 8, PALETTE, palette), 2, colours=colours).tolist() == [
        [0, 1, 255]
    ]
    with pytest.raises(
        ValueError, match=r"holds ids in colours without a meaning: \[2 in \(9, 9, 9\)\]"
    ):
        read(png([[0, 1, 2]], 8, PALETTE, palette), 3, colours=colours)


@MANY
@given(
    generators,
    st.sampled_from(
        ["jpeg", "webp", "tiff-jpeg", "apng", "stack", "gif", "alpha", "16", "negative", "float"]
    ),
)
def test_a_mask_that_is_not_exact_or_not_whole_is_refused(rng, fault):
    """JPEG made 47 ids of 3; of a stack of pages one was read; colours under transparent pixels
    counted.
    """
    ids, colours = (
        rng.integers(0, 3, (8, 8), dtype=np.uint8),
        {colour: i for i, colour in enumerate(COLOURS)},
    )
    shown = np.array(COLOURS, dtype=np.uint8)[ids]
    if fault in ("jpeg", "webp"):
        content = saved(PIL.Image.fromarray(ids if fault == "jpeg" else shown), fault, quality=100)
    elif fault == "tiff-jpeg":
        content = saved(PIL.Image.fromarray(ids), "tiff", compression="jpeg")
    elif fault == "apng":
        content = png(ids, 8, GREY, frames=2)
    elif fault == "stack":
        content = tiff(ids, 2 - ids)
    elif fault == "gif":
        frames = [PIL.Image.fromarray(values) for values in (ids, ids + 1)]
        content = saved(frames[0], "gif", save_all=True, append_images=frames[1:])
    elif fault == "alpha":
        content = png(
            np.concatenate([shown, np.where(ids == 1, 0, 255)[..., None]], -1), 8, COLOUR_ALPHA
        )
        if not (ids == 1).any():
            return
    elif fault == "16":
        content = png(shown.astype(int) * 257, 16, COLOUR)
    elif fault == "negative":
        content = tiff(255 - ids, photometric=0)
    else:
        content = tiff(ids.astype(np.float32), sample_format=3)
    for known in (None, colours):
        with pytest.raises(ValueError):
            read(content, 3, colours=known)


@pytest.mark.parametrize("colour_type", [GREY, PALETTE])
def test_a_colour_that_is_not_seen_is_not_taken_for_a_class(colour_type):
    palette, seen_through = (
        ([(0, 0, 0), (255, 255, 255)], b"\0") if colour_type == PALETTE else ((), b"\0\0")
    )
    stored = [[0, 1 if colour_type == PALETTE else 255]]
    colours = {(0, 0, 0): 0, (255, 255, 255): 1}
    assert read(png(stored, 8, colour_type, palette), 2, colours=colours).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="transparent pixels"):
        read(png(stored, 8, colour_type, palette, seen_through), 2, colours=colours)


def test_a_mask_is_turned_as_its_own_tag_says():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    ids = np.array([[0, 1, 2]], dtype=np.uint8)
    assert read(saved(PIL.Image.fromarray(ids), "png", exif=exif), 3).tolist() == [[0], [1], [2]]
