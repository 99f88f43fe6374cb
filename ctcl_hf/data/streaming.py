"""Rows of Parquet files that are read where they lie, on a disk or on the Hub, for data larger than
the own disk.
"""

import bisect
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class StreamedRows:
    """Images and masks of one split, as `datasets.Dataset` gives them, of which only a few are held
    at a time.

    A row is found through the files' footers, so that there is a length, an order drawn anew for
    every epoch, and a place to resume from. What is read at once is a row group; the groups of one
    shuffle buffer stay in memory, encoded.

    Args:
        files: paths or URLs that fsspec opens (hf://datasets/...).
        columns: the name here ("image", "label") of each column there.
        shuffle_buffer: rows that are shuffled together, and kept.
    """

    def __init__(self, files: Sequence[str], columns: Mapping[str, str], shuffle_buffer: int):
        self.files = list(files)
        self.columns = dict(columns)
        self.shuffle_buffer = shuffle_buffer
        self._forget()
        self.groups = []  # (file, row group in it)
        sizes = []
        for number in range(len(self.files)):
            footer = self._file(number).metadata
            self.groups += [(number, group) for group in range(footer.num_row_groups)]
            sizes += [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist()

    @property
    def column_names(self) -> list[str]:
        return list(self.columns.values())

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Decoded images by column, as `datasets.Image` decodes them."""
        from datasets import Image

        return {
            name: Image().decode_example(file)
            for name, file in self.stored(index).items()
            if file["bytes"]
        }

    def stored(self, index: int) -> dict[str, dict]:
        """The columns undecoded, each as {"bytes", "path"}.

        ValueError names the file, row group and row at fault.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        group = self._group_of(index)
        try:
            row = self._group(group).slice(index - self.starts[group], 1).to_pylist()[0]
            if missing := [name for name in self.column_names if name not in row]:
                raise ValueError(f"there is no column for {' and '.join(missing)}")
            return {name: _as_file(row[name]) for name in self.column_names}
        except Exception as error:
            # of a corrupt file, of other columns than the first one's, or of the network
            raise ValueError(f"{self.place(index)} cannot be read: {error}") from error

    def place(self, index: int) -> str:
        """Where a row lies, for messages."""
        group = self._group_of(index)
        number, inside = self.groups[group]
        return f"row {index - self.starts[group]} of row group {inside} of {self.files[number]}"

    def _group_of(self, index: int) -> int:
        return bisect.bisect_right(self.starts, index) - 1

    def order(self, rng: np.random.Generator, processes: int, batch_size: int) -> np.ndarray:
        """The rows in the order of an epoch: groups are shuffled, and the rows of as many as fill
        the buffer.

        Every process has groups of its own: batch i, which goes to process i % processes, is of
        that one's groups. Only the last few batches, when a process has no whole one left, may be
        of any.
        """
        groups = rng.permutation(len(self.groups))
        lanes = [self._shuffled(groups[lane::processes], rng) for lane in range(processes)]
        whole = min(len(lane) for lane in lanes) // batch_size * batch_size
        batches = np.stack(
            [lane[:whole].reshape(-1, batch_size) for lane in lanes], axis=1
        ).reshape(-1)
        return np.concatenate([batches, *(lane[whole:] for lane in lanes)])

    def _shuffled(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        def buffers() -> Iterator[np.ndarray]:
            rows: list[int] = []
            for group in groups:
                rows += range(self.starts[group], self.starts[group + 1])
                if len(rows) >= self.shuffle_buffer:
                    yield rng.permutation(rows)
                    rows = []
            yield rng.permutation(rows).astype(int)

        return np.concatenate(list(buffers()))

    def _forget(self) -> None:
        self._process = os.getpid()
        self._opened: dict = {}
        self._held: OrderedDict = OrderedDict()  # tables by group, the one used longest ago first

    def _file(self, number: int):
        from fsspec.core import url_to_fs
        from pyarrow.parquet import ParquetFile

        if self._process != os.getpid():  # connections and open files do not survive a fork
            self._forget()
        if number not in self._opened:
            filesystem, path = url_to_fs(self.files[number])
            self._opened[number] = ParquetFile(filesystem.open(path))
        return self._opened[number]

    def _group(self, group: int):
        file = self._file(self.groups[group][0])
        if group not in self._held:
            table = file.read_row_group(self.groups[group][1], columns=list(self.columns))
            self._held[group] = table.rename_columns(
                [self.columns[name] for name in table.column_names]
            )
            while len(self._held) > 1 and sum(
                map(len, self._held.values())
            ) > self.shuffle_buffer + len(table):
                self._held.popitem(last=False)
        self._held.move_to_end(group)
        return self._held[group]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_process": None, "_opened": {}, "_held": OrderedDict()}


def _as_file(value: Any) -> dict:
    """An image as {"bytes", "path"}, whichever way a file of Parquet holds it."""
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"it holds a {type(value).__name__} in place of an image")
    return {key: (value or {}).get(key) for key in ("bytes", "path")}
