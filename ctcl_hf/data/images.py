"""The one reader of pictures: a file becomes 8-bit RGB, as it is meant to look, or one sentence
says why not.

Stands alone, with NumPy and Pillow: a Space takes this file with it.
"""

import os
import re
import stat
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

# {"bytes", "path"} of which one may be None, as `datasets` keeps an image
Stored = Mapping[str, Any]
ORIENTATION, REDUCED, COMPRESSION = 0x0112, 254, 259  # tags of EXIF and TIFF
SAMPLES, BITS, SAMPLE_FORMAT = 277, 258, 339
TURNS = range(2, 9)  # values of the orientation that are no "as stored"
FIRST_BYTES = 512
ON_WHITE = (
    'Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))'
    '.convert("RGB") in Pillow'
)
UNKNOWN = (
    "Pillow cannot identify it as an image: its header is broken, or its format unknown. Copy it "
    "again, or save it as PNG."
)


def read_image(path: str | Path) -> Image.Image:
    """A file as 8-bit RGB, turned as its EXIF tag says.

    ValueError names it, what was found, and how to mend it.
    """
    try:
        return Image.fromarray(read_pixels(open_stored({"bytes": None, "path": str(path)}))[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_image(path: str | Path) -> None:
    """What `read_image` refuses, as far as the file's header tells.

    ValueError or OSError names it.
    """
    try:
        with open_stored({"bytes": None, "path": str(path)}) as image:
            check_whole(image)
            check_depth(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def open_stored(file: Stored) -> Image.Image:
    """The header of a stored image; its pixels are read later.

    ValueError says what it is instead; it names no file.
    """
    content, path = file["bytes"], file["path"]
    if content is None and path is None:
        raise ValueError("there is no image (null).")
    is_local = content is None and "://" not in path
    if not is_local:
        content = content_of(file)
    # A pipe would keep its reader waiting for ever.
    if is_local and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file, but a folder, a pipe or a device.")
    try:
        return Image.open(path if is_local else BytesIO(content))
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(error)) from error
    except Exception as error:
        # Pillow's plugins raise whatever a broken header makes them stumble over
        if is_local:
            with open(path, "rb") as opened:
                content = opened.read(FIRST_BYTES)
        raise ValueError(_what_it_is(content, path if is_local else None) or UNKNOWN) from error


def content_of(file: Stored) -> bytes:
    """The bytes of a stored image's file."""
    if file["bytes"] is not None:
        return file["bytes"]
    if "://" not in file["path"]:
        return Path(file["path"]).read_bytes()
    from datasets.utils.file_utils import xopen

    with xopen(file["path"], "rb") as remote:
        return remote.read()


def read_pixels(image: Image.Image) -> tuple[np.ndarray, bool]:
    """RGB (H, W, 3) uint8 of an opened image, and whether its EXIF tag turned it.

    ValueError: what would be lost.
    """
    check_whole(image)
    check_depth(image)
    image, is_turned = load_turned(image)
    return np.array(as_rgb(image)), is_turned


def as_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB, not turned.

    ValueError for pixels that 8-bit RGB cannot hold as they are meant.
    """
    check_depth(image)
    load(image)
    if has_transparency(image):
        raise ValueError(
            f"Some pixels of this image ({image.mode}) are transparent: what colour they are to "
            f"have is not known. Put it on a background: {ON_WHITE}. If its fourth band is another "
            "(infrared, say), keep the first three."
        )
    if image.mode == "RGB":
        return image
    try:
        return image.convert("RGB")
    except ValueError as error:  # LAB has no way to RGB in Pillow
        raise ValueError(
            f"An image must be grey, RGB, CMYK or of a palette, got mode {image.mode}."
        ) from error


def check_depth(image: Image.Image) -> None:
    """ValueError for more than 8 bits per channel.

    Once loaded, only grey images still tell that they had more.
    """
    raw = raw_mode(image)
    if image.mode.startswith(("I", "F")) or bits_of(raw) > 8:
        raise ValueError(
            f"An image must have 8 bits per channel, got mode {raw}: how its values map to "
            "brightness is not known. Scale them to 0..255 by the range that they fill, and save "
            "them as 8-bit PNG."
        )


def check_whole(image: Image.Image) -> None:
    """ValueError if the file holds more than Pillow would give: further pages, frames or bands."""
    if (count := _pictures(image)) > 1:
        raise ValueError(
            f"The file holds {count} pictures (pages or frames), of which one would be read. Save "
            "each as a file of its own."
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bands, read = image.tag_v2.get(SAMPLES, 1), len(image.getbands())
        if bands > read:
            raise ValueError(
                f"The file holds {bands} bands, of which {read} would be read. Keep those that are "
                "meant."
            )


def load(image: Image.Image) -> Image.Image:
    """The image with its pixels in memory. ValueError says what is wrong with them."""
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(error)) from error
    except Exception as error:
        # Pillow's decoders raise whatever broken pixels make them stumble over
        raise ValueError(f"{error}.") from error
    return image


def load_turned(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as its EXIF or TIFF tag says that it is to be shown, and whether that turned or
    mirrored it.
    """
    # which Pillow turns by itself, and forgets the tag
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tag = image.tag_v2.get(ORIENTATION)
        return load(image), tag in TURNS
    if load(image).getexif().get(ORIENTATION) in TURNS:
        return ImageOps.exif_transpose(image), True
    return image, False


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an opened image once it is turned."""
    is_on_its_side = image.format != "TIFF" and image.getexif().get(ORIENTATION) in range(5, 9)
    return image.size if is_on_its_side else image.size[::-1]


def raw_mode(image: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's words: "RGB;16B" becomes mode RGB, "L;4" becomes L
    times 17.
    """
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return image.mode
    arguments = image.tile[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else image.mode


def bits_of(raw: str) -> int:
    """Bits of a channel; of packed pixels such as "BGR;16", whose channels share them, 8."""
    if found := re.match(r"(?!X?BGR)[^;]*;(\d+)", raw):
        return int(found[1])
    return 1 if raw.startswith("1") else 8


def _pictures(image: Image.Image) -> int:
    """How many pictures a file holds, without smaller versions of the first, as GIS and cameras
    store them.
    """
    count = getattr(image, "n_frames", 1)  # only Pillow's formats of several frames have it
    # whose first is the photo, and the others are views or gains of it
    if count == 1 or image.format == "MPO":
        return 1
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return count
    reduced = 0
    for number in range(1, count):
        image.seek(number)
        reduced += image.tag_v2.get(REDUCED, 0) & 1
    image.seek(0)
    return count - reduced


def has_transparency(image: Image.Image) -> bool:
    """Whether some of a loaded image's pixels are transparent."""
    if image.getbands()[-1] in ("A", "a"):
        return image.getchannel(image.getbands()[-1]).getextrema()[0] < 255
    if "transparency" in image.info:
        return image.convert("RGBA").getchannel("A").getextrema()[0] < 255
    return False


def _too_large(error: Exception) -> str:
    return f"{error} If the file is meant to be so large, cut it into tiles."


def _what_it_is(content: bytes, path: str | None) -> str | None:
    """What a file is that Pillow does not know, by its first bytes."""
    start = content[:FIRST_BYTES]
    if not start:
        return "the file is empty."
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the image itself. Fetch it: git lfs pull."
    if b"/annex/objects/" in start:
        return "it is a pointer of git-annex, not the image itself. Fetch it: git annex get."
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, as a proxy or a login gives one. Download the image again."
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return _what_tiff(BytesIO(content) if path is None else open(path, "rb"))
    if not start.strip(b"\0"):
        return "the file begins with zeros, as a download does that was cut short. Copy it again."
    return None


def _what_tiff(file: Any) -> str | None:
    """What keeps Pillow from reading a TIFF, by its own tags."""
    try:
        with file:
            header = file.read(8)
            header += file.read(8) if header[2:4] in (b"+\0", b"\0+") else b""
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
            bands = tags.get(SAMPLES, 1)
            bits = tags.get(BITS, (1,))
            kind = tags.get(SAMPLE_FORMAT, (1,))
            compression = tags.get(COMPRESSION, 1)
    except Exception:  # the tags may be what is broken
        return None
    kinds = {1: "unsigned", 2: "signed", 3: "float"}
    return (
        f"it is a TIFF of {bands} bands of {bits[0]} bits ({kinds.get(kind[0], 'other')}, "
        f"compression {compression}), which Pillow cannot read. Save what is meant as an 8-bit "
        "PNG: three bands for an image, one for a mask."
    )
