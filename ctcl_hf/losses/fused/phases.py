"""Bilinear upsampling by integer factors, one phase at a time, and its transpose.

With half-pixel centres (`align_corners=False`), upsampling by a factor S knows only S different
pairs of weights in each dimension. The pixels (r + S i, c + S j) of one phase (r, c) all lie at one
offset from the grid point (i, j): a phase is one weighted sum of shifted views of the grid, and its
transpose adds to the same views.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of one grid in a strip. On a CPU the dozen tensors of a strip should live in the cache:
# of 2^15 to 2^21, 2^19 was the fastest at 150 classes and 3 % behind 2^21 at 11, on two cores. An
# accelerator wants to be filled by each: on an H100, 150 classes, 2^24 and 2^26 take half of 2^22's
# time.
STRIP_ELEMENTS_CPU = 2**19
STRIP_ELEMENTS_ACCELERATOR = 2**26


class Taps(NamedTuple):
    """Between which points of a padded line the pixels of a phase lie: `first + step i` and the
    point after it.
    """

    first: int
    step: int
    weight: float  # of the point after it

    @classmethod
    def of(cls, phase: int, period: int, factor: int) -> "Taps":
        """Taps of the pixels phase + period i of a line that is upsampled by `factor`, a divisor of
        `period`.
        """
        offset = (phase + 0.5) / factor - 0.5
        before = int(offset // 1)  # -1 in the first half of the first cell; the padding makes it 0
        return cls(before + 1, period // factor, offset - before)

    def slices(self, start: int, stop: int) -> tuple[slice, slice]:
        """Both points of the pixels start..stop of this phase, as slices of the padded line."""
        begin, end = self.first + self.step * start, self.first + self.step * (stop - 1) + 1
        return slice(begin, end, self.step), slice(begin + 1, end + 1, self.step)


class Grid:
    """Values (B, K, h, w) seen at the size to which they are upsampled, with room for gradients of
    several terms.

    Args:
        values: of any floating dtype; read, never differentiated.
        size: (H, W) of the pixels, multiples of (h, w).
        periods: vertical and horizontal distance between the pixels of a phase, multiples of (H /
            h, W / w).
        terms: how many gradients are collected.
    """

    def __init__(self, values: Tensor, size: Sequence[int], periods: Sequence[int], terms: int):
        self.padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
        self.gradients = [torch.zeros_like(self.padded) for _ in range(terms)]
        self.rows, self.columns = (
            [Taps.of(phase, period, pixels // points) for phase in range(period)]
            for period, pixels, points in zip(periods, size, values.shape[-2:], strict=True)
        )
        self.width = size[1] // periods[1]  # pixels of a phase in a row

    def gradient(self, term: int) -> Tensor:
        """What was collected for a term, (B, K, h, w); to be asked for once, at the end."""
        padded = self.gradients[term]
        for lines in (padded, padded.transpose(-1, -2)):  # the transpose of repeating the edges
            lines[..., 1, :] += lines[..., 0, :]
            lines[..., -2, :] += lines[..., -1, :]
        return padded[..., 1:-1, 1:-1]


class Rows:
    """Rows start..stop of one vertical phase of some images of a grid, upsampled vertically."""

    def __init__(self, grid: Grid, images: slice, start: int, stop: int, phase: int):
        self.grid, self.taps = grid, grid.rows[phase]
        self.near, self.far = (
            (images, slice(None), rows) for rows in self.taps.slices(start, stop)
        )
        # (b, K, n, w + 2)
        self.values = torch.lerp(grid.padded[self.near], grid.padded[self.far], self.taps.weight)
        self.gradients = [torch.zeros_like(self.values) for _ in grid.gradients]

    def pixels(self, phase: int) -> Tensor:
        """The upsampled values of one horizontal phase: (b, K, n, m)."""
        taps = self.grid.columns[phase]
        near, far = taps.slices(0, self.grid.width)
        return torch.lerp(self.values[..., near], self.values[..., far], taps.weight)

    def add_gradient(self, term: int, gradient: Tensor, phase: int) -> None:
        """Collects a term's gradient to `pixels(phase)`."""
        taps = self.grid.columns[phase]
        near, far = taps.slices(0, self.grid.width)
        self.gradients[term][..., near].add_(gradient, alpha=1 - taps.weight)
        self.gradients[term][..., far].add_(gradient, alpha=taps.weight)

    def finish(self) -> None:
        """Hands what was collected to the grid."""
        for total, own in zip(self.grid.gradients, self.gradients, strict=True):
            total[self.near].add_(own, alpha=1 - self.taps.weight)
            total[self.far].add_(own, alpha=self.taps.weight)


class Phase(NamedTuple):
    """The pixels of one phase in a strip."""

    place: tuple[slice, slice, slice]  # where they are in (B, H, W)
    rows: list[Rows]  # of each grid
    column: int  # the horizontal phase

    def pixels(self) -> list[Tensor]:
        """Each grid's upsampled values, (b, K, n, m)."""
        return [rows.pixels(self.column) for rows in self.rows]

    def add_gradient(self, grid: int, term: int, gradient: Tensor) -> None:
        """Collects a term's gradient to one of `pixels()`."""
        self.rows[grid].add_gradient(term, gradient, self.column)


class PhasedUpsampling:
    """Some grids (B, K, h, w), each of its own (h, w), upsampled together to one size that all
    their sides divide.

    Args:
        grids: values of the same B and K.
        size: (H, W) of the pixels.
        terms: how many gradients are collected, for each grid.
    """

    def __init__(self, grids: Sequence[Tensor], size: Sequence[int], terms: Sequence[int]):
        sides = zip(size, *(values.shape[-2:] for values in grids), strict=True)
        self.periods = [math.lcm(*(pixels // points for points in own)) for pixels, *own in sides]
        self.steps = [pixels // period for pixels, period in zip(size, self.periods, strict=True)]
        self.images, self.channels = grids[0].shape[:2]
        self.strip_elements = (
            STRIP_ELEMENTS_CPU if grids[0].device.type == "cpu" else STRIP_ELEMENTS_ACCELERATOR
        )
        self.grids = [
            Grid(values, size, self.periods, own) for values, own in zip(grids, terms, strict=True)
        ]

    def gradients(self, term: int) -> list[Tensor]:
        """What was collected for a term, (B, K, h, w), of each grid that has it; to be asked for
        once, at the end.
        """
        return [grid.gradient(term) for grid in self.grids if term < len(grid.gradients)]

    def __iter__(self) -> Iterator[Phase]:
        """Every pixel of (B, H, W) in exactly one phase."""
        (row_period, column_period) = self.periods
        for images, start, stop in self._strips():
            for row in range(row_period):
                rows = [Rows(grid, images, start, stop, row) for grid in self.grids]
                lines = slice(start * row_period + row, stop * row_period, row_period)
                for column in range(column_period):
                    yield Phase((images, lines, slice(column, None, column_period)), rows, column)
                for own in rows:
                    own.finish()

    def _strips(self) -> Iterator[tuple[slice, int, int]]:
        """Images, first and last row in a phase: some rows of an image, or if those of an image are
        few, of several.
        """
        height, width = self.steps
        rows = min(max(self.strip_elements // (self.channels * width), 1), height)
        images = max(self.strip_elements // (self.channels * width * height), 1)
        for image in range(0, self.images, images):
            for start in range(0, height, rows):
                yield slice(image, image + images), start, min(start + rows, height)
