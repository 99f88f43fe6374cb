"""What tells one data set from another, without reading all of it."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .streaming import StreamedRows

if TYPE_CHECKING:
    import datasets

    from .samples import SegmentationSamples

AT_ONCE = 1000  # rows
MASKS_READ = 64


def fingerprint(samples: "SegmentationSamples") -> str:
    """A number of 16 hexadecimal digits, of the names and sizes of all files in order and of the
    bytes of some masks.

    Names are those of a file and its folder, so that data may move. The masks are evenly spaced
    ones. Of streamed data, whose files may be far away, it is of their names and of the rows in
    each of their groups.
    """
    digest = sha256()
    if isinstance(samples.rows, StreamedRows):
        for file in samples.rows.files:
            digest.update(f"{_name(file)}\n".encode())
        digest.update(str(samples.rows.starts).encode())
        return digest.hexdigest()[:16]
    for name, size in _files(samples.rows):
        digest.update(f"{name} {size}\n".encode())
    if "label" in samples.rows.column_names:
        for index in (
            np.linspace(0, len(samples) - 1, min(MASKS_READ, len(samples)))
            .round()
            .astype(int)
            .tolist()
        ):
            digest.update(_bytes(samples.stored(index)["label"]))
    return digest.hexdigest()[:16]


def _files(rows: "datasets.Dataset"):
    """Name and size in bytes of every image, then mask, embedded or not, in slices."""
    from pyarrow import compute

    columns = [name for name in ("image", "label") if name in rows.column_names]
    encoded = rows.select_columns(columns).with_format("arrow")
    for start in range(0, len(rows), AT_ONCE):
        table = encoded[start : min(start + AT_ONCE, len(rows))]
        for column in columns:
            paths = compute.struct_field(table[column], "path").to_pylist()
            sizes = compute.binary_length(compute.struct_field(table[column], "bytes")).to_pylist()
            for path, size in zip(paths, sizes, strict=True):
                if size is None and path is not None and Path(path).is_file():
                    size = Path(path).stat().st_size
                yield _name(path or ""), size


def _bytes(file: Mapping[str, Any]) -> bytes:
    """Of a file that is embedded or lies at its path; none of one that is missing, which is told
    when it is read.
    """
    if file["bytes"] is not None:
        return file["bytes"]
    return (
        Path(file["path"]).read_bytes()
        if file["path"] is not None and Path(file["path"]).is_file()
        else b""
    )


def _name(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
