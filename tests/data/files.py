"""PNG and TIFF files written by hand, byte by byte, so that what they hold is known without
Pillow.
"""

import struct
import zlib

import numpy as np

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types


def png(samples, bits, colour_type, palette=(), transparency=b"", frames=1, exif=b""):
    """A PNG of samples (H, W) or (H, W, C) as they are to be stored, in so many bits; with frames,
    an animated one.
    """
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    body = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour_type, 0, 0, 0))
    if frames > 1:
        body += chunk(b"acTL", struct.pack(">2I", frames, 0))
        body += chunk(b"fcTL", struct.pack(">5I2H2B", 0, width, height, 0, 0, 1, 1, 0, 0))
    if len(palette):
        body += chunk(b"PLTE", np.asarray(palette, dtype=np.uint8).tobytes())
    if transparency:
        body += chunk(b"tRNS", transparency)
    if exif:
        body += chunk(b"eXIf", exif)
    data = zlib.compress(b"".join(b"\0" + packed(row, bits) for row in samples.reshape(height, -1)))
    body += chunk(b"IDAT", data)
    for number in range(1, frames):
        body += chunk(
            b"fcTL", struct.pack(">5I2H2B", 2 * number - 1, width, height, 0, 0, 1, 1, 0, 0)
        )
        body += chunk(b"fdAT", struct.pack(">I", 2 * number) + data)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def packed(values, bits):
    """A row of samples in so many bits each, the first one highest."""
    if bits >= 8:
        return np.asarray(values).astype({8: ">u1", 16: ">u2"}[bits]).tobytes()
    digits = "".join(f"{int(value):0{bits}b}" for value in values)
    digits += "0" * (-len(digits) % 8)
    return bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))


def tiff(
    *pages, photometric=1, sample_format=1, extra=(), subfile=(), orientation=1, compression=1
):
    """A little-endian TIFF of pages (H, W) or (H, W, C), uncompressed, with samples of their
    dtypes.
    """
    out, links = bytearray(b"II*\0" + struct.pack("<I", 0)), [4]
    for number, page in enumerate(pages):
        page = np.asarray(page)
        height, width = page.shape[:2]
        bands, bits = (page.shape[2] if page.ndim == 3 else 1), 8 * page.dtype.itemsize
        start = len(out)
        out += page.astype(page.dtype.newbyteorder("<")).tobytes()
        out += b"\0" * (len(out) % 2)
        wide = {}
        for tag, values in (
            (258, [bits] * bands),
            (338, list(extra)),
            (339, [sample_format] * bands),
        ):
            if len(values) > 2:
                wide[tag] = len(out)
                out += struct.pack(f"<{len(values)}H", *values)
        out += b"\0" * (len(out) % 2)
        entries = [
            (254, 4, [subfile[number] if subfile else 0]),
            (256, 4, [width]),
            (257, 4, [height]),
            (258, 3, [bits] * bands),
            (259, 3, [compression]),
            (262, 3, [photometric]),
            (273, 4, [start]),
            (274, 3, [orientation]),
            (277, 3, [bands]),
            (278, 4, [height]),
            (279, 4, [page.nbytes]),
            *([(338, 3, list(extra))] if extra else []),
            (339, 3, [sample_format] * bands),
        ]
        struct.pack_into("<I", out, links[-1], len(out))
        out += struct.pack("<H", len(entries))
        for tag, kind, values in entries:
            out += struct.pack("<HHI", tag, kind, len(values))
            if tag in wide:
                out += struct.pack("<I", wide[tag])
            else:
                out += struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values).ljust(
                    4, b"\0"
                )
        links.append(len(out))
        out += struct.pack("<I", 0)
    return bytes(out)
