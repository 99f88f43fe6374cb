"""Procedurally drawn street scenes: a segmentation data set that needs no download."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from ..masks import IGNORE_INDEX
from ..segmentation import SegmentationData
from .canvas import Canvas, smooth_noise
from .published import published
from .street import POLE, SCENE_CLASSES, SKY, draw_sky, draw_street

if TYPE_CHECKING:
    import datasets

SCENE_PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (64, 0, 128),
    (64, 64, 0),
)
NUM_TRAIN = 240  # images, unless told otherwise
MIN_SIZE = 64  # pixels; in a smaller picture poles and pedestrians vanish


def develop(canvas: Canvas, label: np.ndarray) -> np.ndarray:
    """The finished picture, uint8 (H, W, 3): surface texture, light of the hour, exposure, blur and
    sensor noise.
    """
    rng, (height, width) = canvas.rng, label.shape
    roughness = rng.uniform(0.02, 0.09, 256).astype(np.float32)
    roughness[SKY] = 0.01
    grain = (
        np.sum([smooth_noise(rng, height, width, cell) for cell in (1, 6, 24)], axis=0)
        * roughness[label]
    )
    light = (canvas.dusk * np.float32((0.98, 0.72, 0.68)) + (1 - canvas.dusk)) * canvas.between(
        0.75, 1.25
    )
    picture = np.asarray(canvas.image.reduce(2), np.float32) * (1 + grain)[..., None] * light
    picture += canvas.between(-0.25, 0.35) * (picture - 110)  # contrast
    photo = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.BoxBlur(canvas.between(0, 0.6))
    )
    noise = rng.standard_normal(picture.shape, np.float32) * np.float32(canvas.between(1, 6))
    return (np.asarray(photo) + noise).clip(0, 255).astype(np.uint8)


def ignore_borders(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """``label`` with a one-pixel band of ignored pixels along some borders; poles are too thin to
    lose any.
    """
    border = smooth_noise(rng, *label.shape, 16) > 0.1
    border[:-1, :-1] &= (label[:-1, :-1] != label[:-1, 1:]) | (label[:-1, :-1] != label[1:, :-1])
    border[-1], border[:, -1] = False, False
    return np.where(border & (label != POLE), np.uint8(IGNORE_INDEX), label)


def draw_scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """One street scene: image uint8 (height, width, 3) in RGB, and label uint8 (height, width).

    The label holds positions in :data:`SCENE_CLASSES`, or 255 where a pixel is to be ignored. Sides
    are 64 pixels or more. The same seed and size always give the same scene.
    """
    _check(seed=(seed, 0), height=(height, MIN_SIZE), width=(width, MIN_SIZE))
    canvas = Canvas(seed, height, width)
    draw_sky(canvas)
    draw_street(canvas)
    label = np.asarray(canvas.label)[::2, ::2]
    return develop(canvas, label), ignore_borders(canvas.rng, label)


@published(NUM_TRAIN, len(SCENE_CLASSES), dict(zip(SCENE_CLASSES, SCENE_PALETTE, strict=True)))
def build_synthetic(
    data_dir: str | None = None,
    *,
    num_train: int = NUM_TRAIN,
    num_validation: int = 60,
    height: int = 96,
    width: int = 128,
    seed: int = 0,
) -> SegmentationData:
    """Splits ``train`` and ``validation`` of scenes, decoded on access.

    The splits share no scene, and a longer split starts with the scenes of a shorter one. All is
    kept in memory, as
    PNG: a cache on disk would go stale whenever the drawing changes. ``data_dir`` must be left out.
    """
    from datasets import DatasetDict  # here, because it takes seconds

    if data_dir is not None:
        raise ValueError(
            f"--data_dir {data_dir}: the synthetic data set is drawn, and reads no folder. Leave "
            "it out."
        )
    _check(num_train=(num_train, 1), num_validation=(num_validation, 1), seed=(seed, 0))
    first = seed * 2**32
    splits = {
        "train": _drawn(first, num_train, height, width),
        "validation": _drawn(first + 2**31, num_validation, height, width),
    }
    return SegmentationData(
        name="synthetic",
        splits=DatasetDict(splits),
        class_names=SCENE_CLASSES,
        palette=SCENE_PALETTE,
        image_size=(height, width),
        title="drawn street scenes (`synthetic`, made by `ctcl_hf`)",
    )


@lru_cache(maxsize=4)
def _drawn(first: int, count: int, height: int, width: int) -> datasets.Dataset:
    """Scenes of the seeds from `first` on: all runs of a process share them, since some hundred
    take seconds to draw.
    """
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    scenes = (draw_scene(first + index, height, width) for index in range(count))
    images, labels = zip(*[map(_png, scene) for scene in scenes], strict=True)
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def _check(**limits: tuple[int, int]) -> None:
    for name, (value, least) in limits.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(
                f"{name} is {value!r}, but has to be a whole number: give {least} or more."
            )


def _png(pixels: np.ndarray) -> dict[str, bytes | None]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
