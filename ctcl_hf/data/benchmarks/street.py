"""What stands in a drawn street: each thing a function that draws it on a canvas, image and label
at once.

The farthest things are drawn first. The classes share their colours on purpose (grey cars on grey
roads, autumn trees before brick walls), so that a model has to learn from shape, texture and
context. There are no fonts and no antialiased lines, so that a seed draws the same scene on every
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from ..masks import IGNORE_INDEX
from .canvas import Canvas, Colour, Pair, palette, shade, smooth_noise

SCENE_CLASSES: tuple[str, ...] = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "Car",
    "Pedestrian",
)
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, CAR, PEDESTRIAN = range(len(SCENE_CLASSES))
END = 90.0  # metres at which the street stops, before a backdrop

STONES = palette("988e82 a87660 beb4a2 7a726e ccc4b6 8a5446 747e68 929cac b09670 626062")
PAINTS = palette("c8c8ca 707276 3a3c42 8e302c 3e5484 607054 aea08a")  # of cars, clothes and metal
LEAVES = palette("3e5c2e 546834 606e4a 966a3a 807c3e 465442")
SKINS = palette("deb498 b48464 785440")
ASPHALT = palette("66666a")
GLASS = palette("343c48")
LIT = palette("ecc46e")
MARKS = palette("e1e1da d6ba60")
LAMPS, SIGNS = palette("ece8d6 b0241e"), palette("c83c32 465aaa 282c2a")
# of radius 1
OCTAGON = ((1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.7, -0.7))
SHADOW, JOINT, RUBBER, PLATE = palette("0c0e1a64 0000002d 1c1c1e dcdcd2")


def draw_sky(canvas: Canvas) -> None:
    """A gradient from the zenith to the haze at the horizon, with clouds."""
    height = canvas.height // 4
    width = canvas.width // 4  # clouds are soft: a quarter of the size will do
    fall = np.linspace(0, canvas.height / canvas.vanish[1], height, dtype=np.float32)[
        :, None, None
    ].clip(0, 1)
    banks, wisps = (smooth_noise(canvas.rng, height, width, height // parts) for parts in (3, 14))
    cover = ((banks + wisps / 2) * canvas.between(0.4, 1.2) + canvas.between(-0.4, 0.3)).clip(
        0, 0.85
    )[..., None]
    sky = np.float32(canvas.zenith) * (1 - fall) + np.float32(canvas.haze) * fall
    sky = sky + cover * (np.float32(canvas.between(170, 245)) - sky)
    canvas.image.paste(
        Image.fromarray(sky.astype(np.uint8)).resize(canvas.image.size, Image.Resampling.BILINEAR)
    )


def draw_ground(canvas: Canvas, left: float, right: float) -> None:
    """Paving up to the backdrop and on it a road between ``left`` and ``right`` (metres), with
    kerbs and marks.
    """
    whole = (canvas.near, END)
    reach = 2 * END * canvas.width / canvas.focal
    canvas.strip((-reach, reach), whole, canvas.vary(STONES), PAVEMENT)
    for z in np.arange(canvas.near, 25, 1.5).tolist():
        canvas.strip((-reach, reach), (z, z * 1.015), JOINT)
    canvas.strip(
        (left, right), whole, canvas.vary(canvas.pick((ASPHALT, ASPHALT, STONES)), 0.25), ROAD
    )
    for _ in range(4):  # mended and worn patches
        x = canvas.between(left, right - 1)
        z = canvas.between(canvas.near, 25)
        ink = canvas.pick((0, 255))
        canvas.strip(
            (x, x + 1), (z, z + canvas.between(1, 7)), (ink, ink, ink, int(canvas.between(8, 40)))
        )
    kerb = canvas.vary(STONES)
    mark = (*canvas.pick(MARKS), int(canvas.between(70, 230)))
    middle = (left + right) / 2
    for edge, side in ((left, -1), (right, 1)):
        canvas.strip((edge, edge + 0.25 * side), whole, kerb, PAVEMENT)
        canvas.strip((edge + 1.6 * side, edge + 1.65 * side), whole, JOINT)
        canvas.strip((edge - 0.45 * side, edge - 0.3 * side), whole, mark)
    for z in np.arange(canvas.near * canvas.between(1, 1.5), 60, 5.5).tolist():
        canvas.strip((middle - 0.08, middle + 0.08), (z, z + 2.5), mark)
    if canvas.rng.random() < 0.35:  # a zebra crossing
        z = canvas.near * canvas.between(1.3, 4)
        for x in np.arange(left + 0.6, right - 0.9, 1.1).tolist():
            canvas.strip((x, x + 0.5), (z, z + 3), mark)


def draw_house(canvas: Canvas, side: int, x: float, near: float, far: float) -> None:
    """A house on the left (``side`` -1) or right (1), its front at ``x`` along the street from
    ``near`` to ``far``.
    """

    def patch(
        start: float,
        stop: float,
        low: float,
        high: float,
        colour: Colour,
        class_id: int | None = None,
    ) -> None:
        """Fill a part of the front, from ``start`` to ``stop`` of its length and between two
        heights in metres.
        """
        one = near + start * (far - near)
        other = near + stop * (far - near)
        canvas.polygon(
            [(x, low, one), (x, low, other), (x, high, other), (x, high, one)], colour, class_id
        )

    height = canvas.between(4.5, 15)
    wall = canvas.vary(STONES)
    glass = canvas.vary(GLASS, 0.5)
    front, gable = (
        (shade(wall, 0.7), wall) if side == canvas.sun else (shade(wall, 1.1), shade(wall, 0.8))
    )
    if side == canvas.sun and canvas.dusk < 0.7:
        canvas.strip((x - side * canvas.between(2, 7), x), (near, far), SHADOW)
    ridge = (x + side * 4.5, height + (canvas.between(1.5, 3.5) if height < 9 else 0))
    back = x + side * 9
    roof = [(x, height, near), (x, height, far), (*ridge, far), (*ridge, near)]
    canvas.polygon(roof, canvas.vary(STONES), BUILDING)
    canvas.polygon(
        [(x, 0, near), roof[0], roof[3], (back, height, near), (back, 0, near)], gable, BUILDING
    )
    patch(0, 1, 0, height, front, BUILDING)
    if near > 45:
        return  # its windows would be smaller than a pixel
    columns = round((far - near) / canvas.between(2, 3.4))
    storey = canvas.between(2.8, 3.6)
    sill = canvas.between(0.6, 1)
    pier = canvas.between(0.2, 0.34) / columns
    # Bands of glass with piers of wall painted over them look like single windows at a fraction of
    # their cost.
    for floor in np.arange(0, height - storey, storey).tolist():
        patch(0, 1, floor + sill, floor + 2.4, shade(glass, canvas.between(0.7, 1.5)))
        room = int(canvas.between(0, columns))
        light = LIT[0] if canvas.dusk > 0.5 else shade(glass, 1.8)
        patch(room / columns, (room + 1) / columns, floor + sill, floor + 2.4, light)
    for column in range(columns + 1):
        patch(max(0, column / columns - pier), min(1, column / columns + pier), 0, height, front)
    if canvas.rng.random() < 0.4:  # a shop window under its awning
        patch(0.06, 0.94, 0.3, 2.3, shade(glass, 0.8))
        patch(0.03, 0.97, 2.3, 2.9, canvas.vary(PAINTS))
    patch(0, 1, height - 0.35, height, shade(front, 0.8))


def draw_tree(canvas: Canvas, x: float, z: float) -> None:
    """A tree whose leaves are dabs, the lighter the higher they hang and the nearer to the sun; or
    a bush.
    """
    height = 1.5 if canvas.rng.random() < 0.2 else canvas.between(4, 8)
    colour = canvas.vary(LEAVES)
    canvas.blob((x, 0, z), (0.18 * height, 0.25), SHADOW)
    canvas.stroke(
        (x, 0, z), (x, 0.6 * height, z), canvas.between(0.2, 0.4), canvas.vary(STONES[3:6]), TREE
    )
    wide = canvas.between(0.2, 0.36) * max(height, 4)
    high = 0.34 * height
    dabs = int(min(44, max(8, wide * canvas.focal / z)))
    for right, up, size, light in canvas.rng.uniform(-0.8, 0.8, (dabs, 4)).tolist():
        size = (0.3 + 0.15 * size) * (1 if right * right + up * up < 0.7 else 0.5)
        leaves = shade(colour, 0.85 + 0.35 * up + 0.2 * right * canvas.sun + 0.25 * light)
        canvas.blob(
            (x + right * wide, 0.66 * height + up * high, z),
            (size * wide, size * high),
            leaves,
            TREE,
        )


def draw_car(canvas: Canvas, x: float, z: float, crossing: bool = False) -> None:
    """A car, seen along the street from behind or ahead, or from its side where it crosses."""
    length = canvas.between(3.6, 4.8)
    half = 0.85
    waist = canvas.between(0.8, 0.95)
    roof = canvas.between(1.4, 1.8)
    paint = canvas.vary(PAINTS, 0.25)
    glass = canvas.vary(GLASS, 0.4)
    lamp = canvas.vary(LAMPS)
    # In sight are the flank towards the middle of the street, or of a car that crosses the nearer
    # one, and one end.
    flank = -1 if crossing or x + canvas.bend * z * z > 0 else 1
    tip = length if crossing and x < 0 else 0.0

    def face(
        colour: Colour, along: Sequence[float], across: Sequence[float], up: Sequence[float]
    ) -> None:
        """Fill a face, given where its corners are along, across and above the car, in metres."""
        corners = zip(along, across, up, strict=True)
        turned = [
            (x + a - length / 2, y, z + half + b) if crossing else (x + b, y, z + a)
            for a, b, y in corners
        ]
        canvas.polygon(turned, colour, CAR)

    def box(
        base: Pair, top: Pair, y: Pair, slim: float, lid: Colour, end: Colour, side: Colour
    ) -> None:
        """Fill a box that tapers from ``base`` to ``top`` along the car, and to ``slim`` metres
        across it.
        """
        rise = (y[0], y[0], y[1], y[1])
        low = base[tip > 0]
        high = top[tip > 0]
        face(lid, (*top, *top[::-1]), (-slim, -slim, slim, slim), y[1:] * 4)
        face(end, (low, low, high, high), (-half, half, slim, -slim), rise)
        face(side, (*base, *top[::-1]), [flank * b for b in (half, half, slim, slim)], rise)

    reach, depth = (length / 2, 2 * half) if crossing else (half, length)
    canvas.strip((x - reach - 0.3, x + reach + 0.3), (z - 0.2, z + depth), SHADOW)
    bright = shade(paint, 1.15)
    dull = shade(paint, 0.9)
    side = shade(paint, 1 if flank == canvas.sun else 0.75)
    box((0.1, length - 0.1), (0.1, length - 0.1), (0, 0.3), half, RUBBER, RUBBER, RUBBER)
    box((0, length), (0.05, length - 0.05), (0.22, waist), half, bright, dull, side)
    tail = canvas.between(0.05, 1)
    nose = length - canvas.between(0.05, 1)
    box(
        (tail, nose),
        (tail + 0.4, nose - 0.6),
        (waist, roof),
        half - 0.15,
        bright,
        shade(glass, 1.25),
        glass,
    )
    for hub in (0.75, length - 0.8):
        for radius, ink in ((0.33, RUBBER), (0.17, STONES[0])):
            rim = [(hub + radius * a, flank * half, 0.33 + radius * b) for a, b in OCTAGON]
            face(ink, *zip(*rim, strict=True))
    for left, right, y, ink in (
        (-0.8, -0.45, 0.6, lamp),
        (0.45, 0.8, 0.6, lamp),
        (-0.25, 0.25, 0.4, PLATE),
    ):
        face(ink, [tip] * 4, (left, right, right, left), (y, y, y + 0.15, y + 0.15))


def draw_pedestrian(canvas: Canvas, x: float, z: float) -> None:
    """Someone who stands or walks, in any clothes, some with a bag."""
    size = canvas.between(0.85, 1.1)
    stride = canvas.between(0.05, 0.28)
    skin = canvas.pick(SKINS)
    coat = canvas.vary(PAINTS + STONES)
    trousers = canvas.vary(PAINTS, 0.3)
    canvas.blob((x, 0, z), (0.4, 0.08), SHADOW)
    for foot, arm in ((-stride, x - 0.27), (stride, x + 0.27)):
        canvas.stroke((x + foot, 0, z), (x + foot / 3, 0.85 * size, z), 0.17, trousers, PEDESTRIAN)
        hand = (arm + stride / 2, 0.8 * size, z)
        canvas.stroke((arm, 1.38 * size, z), hand, 0.11, shade(coat, 0.8), PEDESTRIAN)
    canvas.stroke((x, 0.75 * size, z), (x, 1.43 * size, z), 0.45, coat, PEDESTRIAN)
    if canvas.rng.random() < 0.3:
        canvas.stroke((x + 0.33, 0.5, z), (x + 0.33, 0.8, z), 0.25, canvas.vary(PAINTS), PEDESTRIAN)
    # hair around the face
    canvas.blob((x, 1.6 * size, z), (0.12, 0.15), shade(skin, 0.4), PEDESTRIAN)
    canvas.blob((x + 0.02, 1.57 * size, z), (0.09, 0.11), skin, PEDESTRIAN)


def draw_pole(canvas: Canvas, x: float, z: float) -> None:
    """A street lamp, or a post with a sign, which no class covers: the sign is ignored."""
    paint = canvas.vary(PAINTS[:3] + STONES)
    thick = canvas.between(0.16, 0.3)
    top = canvas.between(2.4, 3.4)
    if canvas.rng.random() < 0.4:
        centre, radius = (x, top + 0.3, z), canvas.between(0.25, 0.4)
        canvas.blob(centre, (radius, canvas.between(0.25, 0.6)), canvas.vary(SIGNS), IGNORE_INDEX)
        canvas.blob(centre, (radius / 2, 0.15), PLATE, IGNORE_INDEX)
    else:
        top *= 2.2
        arm = x - 1.7 if x > 0 else x + 1.7
        canvas.stroke((x, top, z), (arm, top + 0.3, z), thick, paint, POLE)
        canvas.blob((arm, top + 0.25, z), (0.4, 0.12), canvas.vary(STONES), POLE)
    canvas.stroke((x, 0, z), (x, top, z), thick, paint, POLE)


def draw_bin(canvas: Canvas, x: float, z: float) -> None:
    """A bin or cabinet on the pavement, which no class covers: it is ignored."""
    canvas.stroke(
        (x, 0, z),
        (x, canvas.between(0.8, 1.5), z),
        canvas.between(0.4, 1.2),
        canvas.vary(PAINTS),
        IGNORE_INDEX,
    )


def draw_street(canvas: Canvas) -> None:
    """Ground, houses, and all that stands between them, the farthest first so that the near hides
    the far.
    """
    left = -canvas.between(2.4, 4.8)
    right = canvas.between(2.4, 4.8)  # metres of the kerbs
    things: list[tuple[float, Callable[[], None]]] = []  # how far it is, and what draws it

    def put(draw: Callable[..., None], chance: float, x: float, low: float, high: float) -> None:
        """Perhaps queue a thing at ``x``, from ``low`` to ``high`` times as far as where ``x``
        enters the picture.
        """
        z = canvas.nearest(x) * canvas.between(low, high)
        if z < END and canvas.rng.random() < chance:
            things.append((z, partial(draw, canvas, x, z)))

    for side, kerb in ((-1, left), (1, right)):
        front = kerb + side * canvas.between(2.6, 6.5)
        near = 0.6 * canvas.nearest(front)
        gaps = canvas.between(0.1, 0.6)
        while near < END - 12:
            far = near + canvas.between(7, 16)
            if canvas.rng.random() < gaps:
                for z in (0.8 * near + 0.2 * far, 0.3 * near + 0.7 * far):
                    things.append(
                        (z, partial(draw_tree, canvas, front + side * canvas.between(0.5, 8), z))
                    )
            else:  # queued by its far end, as whatever stands along its front hides it
                things.append((far, partial(draw_house, canvas, side, front, near, far)))
            near = far
        for stage in range(3):
            walk = canvas.between(kerb + side * 0.7, front - side * 0.5)
            put(draw_pedestrian, 0.9, walk, 1 + 0.5 * stage, 1.4 + stage)
            put(draw_pole, 0.9, kerb + side * 0.4, 1.1 + 1.3 * stage, 2.2 + 1.3 * stage)
            put(
                draw_car,
                0.6,
                kerb - side * canvas.between(1.2, 1.6),
                1.3 + 1.6 * stage,
                2.6 + 1.6 * stage,
            )
            put(draw_tree, 0.5, walk, 1.4 + 2 * stage, 3.4 + 2 * stage)
            put(draw_bin, 0.25, walk, 1, 4)
    put(partial(draw_car, crossing=True), 0.4, canvas.between(left, right), 2.5, 6)
    put(draw_pedestrian, 0.6, canvas.between(left, right), 1.5, 4)
    for column in range(-10, canvas.width, 20):  # the backdrop, along the whole horizon
        x = (column - canvas.vanish[0]) * END / canvas.focal - canvas.bend * END * END
        house = partial(draw_house, canvas, 1, x, END, END + 9)
        tree = partial(draw_tree, canvas, x, END)
        things.append((END, canvas.pick((house, tree))))
    draw_ground(canvas, left, right)
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()
