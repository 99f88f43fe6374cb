"""The canvas of the synthetic scenes: a camera in a small world, which paints picture and label
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

Item = TypeVar("Item")
Pair = tuple[float, float]
Point = tuple[float, float, float]  # x, y, z in metres
Colour = tuple[float, ...]  # red, green, blue in 0..255; a fourth number is an opacity in 0..255


def palette(codes: str) -> tuple[Colour, ...]:
    """The colours of some hexadecimal codes."""
    return tuple(tuple(bytes.fromhex(code)) for code in codes.split())


ZENITHS = palette("5484c4 7896ba 8e949c 5c6896 68707e 465484")  # each with the horizon below it
HORIZONS = palette("bed0e0 d6d6d0 c4c6c6 ecba8e 9ea0a4 dea096")


def shade(colour: Colour, factor: float) -> Colour:
    """``colour`` made darker (``factor`` < 1) or lighter."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Noise in -1..1, float32 (height, width), whose lumps are about ``cell`` pixels wide."""
    grid = rng.integers(0, 256, (height // cell + 2, width // cell + 2), dtype=np.uint8)
    lumps = Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(lumps, dtype=np.float32) / 127.5 - 1.0


class Canvas:
    """Picture and label of one scene at twice its size, the camera that looks at it, and the
    scene's own dice.
    """

    def __init__(self, seed: int, height: int, width: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.height, self.width = 2 * height, 2 * width  # canvas pixels
        self.focal = self.between(0.75, 1.05) * min(self.height, self.width)  # canvas pixels
        self.eye = self.between(1.3, 2.3)  # metres of the camera above the ground
        self.vanish = (self.between(0.3, 0.7) * self.width, self.between(0.36, 0.52) * self.height)
        # metres to the lowest ground in sight
        self.near = 0.9 * self.focal * self.eye / (self.height - self.vanish[1])
        self.tilt = self.between(-0.04, 0.04)
        self.bend = self.between(-0.003, 0.003)  # the street bends sideways by bend * z * z metres
        self.sun = self.pick((-1, 1))  # the side that the light comes from
        self.dusk = self.between(0, 1) ** 2  # 0 is noon
        self.zenith, self.haze = self.pick(tuple(zip(ZENITHS, HORIZONS, strict=True)))
        self.clearness = self.between(90, 320)  # metres at which haze would swallow everything
        self.image = Image.new("RGB", (self.width, self.height))
        self.label = Image.new("L", (self.width, self.height))
        # opaque is faster
        self._solid, self._sheer = ImageDraw.Draw(self.image), ImageDraw.Draw(self.image, "RGBA")
        self._mark = ImageDraw.Draw(self.label)

    def between(self, low: float, high: float) -> float:
        """A random number from ``low`` to ``high``."""
        return low + (high - low) * self.rng.random()

    def pick(self, items: Sequence[Item]) -> Item:
        """One of ``items`` at random."""
        return items[int(self.rng.random() * len(items))]

    def vary(self, colours: Sequence[Colour], amount: float = 0.15) -> Colour:
        """One of ``colours`` at a random brightness, slightly off its hue."""
        colour = shade(self.pick(colours), self.between(1 - amount, 1 + amount))
        return tuple([channel * self.between(0.95, 1.05) for channel in colour])

    def nearest(self, x: float) -> float:
        """Metres ahead from which on the ground at ``x`` is inside the picture."""
        return max(
            self.near,
            abs(x) * self.focal / (self.vanish[0] if x < 0 else self.width - self.vanish[0]),
        )

    def _project(self, point: Point) -> tuple[int, int]:
        x, y, z = point
        across = self.focal * (x / z + self.bend * z)
        down = self.focal * (self.eye - y) / z + self.tilt * across
        return round(self.vanish[0] + across), round(self.vanish[1] + down)

    def _pen(self, colour: Colour, z: float) -> tuple[ImageDraw.ImageDraw, tuple[int, ...]]:
        """A pen and its ink for ``colour`` at ``z`` metres: the farther, the hazier, but for
        translucent ones.
        """
        if len(colour) == 4:
            return self._sheer, colour
        share = min(z / self.clearness, 0.6)
        return self._solid, tuple(
            [int(own + share * (air - own)) for own, air in zip(colour, self.haze, strict=True)]
        )

    def polygon(self, points: Sequence[Point], colour: Colour, class_id: int | None = None) -> None:
        """Fill a polygon of the world; without ``class_id`` it is a detail that leaves the label
        alone.
        """
        pixels = [self._project(point) for point in points]
        pen, ink = self._pen(colour, points[0][2])
        pen.polygon(pixels, ink)
        if class_id is not None:
            self._mark.polygon(pixels, class_id)

    def strip(self, x: Pair, z: Pair, colour: Colour, class_id: int | None = None) -> None:
        """Fill the ground between two ``x`` and two ``z``, following the bend of the street."""
        steps = 1 if z[1] - z[0] < 8 else 9
        depths = [
            1 / (1 / z[0] + (1 / z[1] - 1 / z[0]) * step / steps) for step in range(steps + 1)
        ]
        self.polygon(
            [(x[0], 0, d) for d in depths] + [(x[1], 0, d) for d in reversed(depths)],
            colour,
            class_id,
        )

    def blob(
        self, centre: Point, radius: Pair, colour: Colour, class_id: int | None = None
    ) -> None:
        """Fill an upright ellipse of ``radius`` (across, up) metres that faces the camera."""
        column, row = self._project(centre)
        pen, ink = self._pen(colour, centre[2])
        scale = self.focal / centre[2]
        across, up = max(1, round(radius[0] * scale)), max(1, round(radius[1] * scale))
        frame = (column - across, row - up, column + across, row + up)
        pen.ellipse(frame, ink)
        if class_id is not None:
            self._mark.ellipse(frame, class_id)

    def stroke(
        self, start: Point, stop: Point, metres: float, colour: Colour, class_id: int
    ) -> None:
        """Draw a line ``metres`` thick, and never thinner than one pixel of the finished scene."""
        pixels = [self._project(start), self._project(stop)]
        width = max(2, round(metres * self.focal / start[2]))
        pen, ink = self._pen(colour, start[2])
        pen.line(pixels, ink, width)
        self._mark.line(pixels, class_id, width)
