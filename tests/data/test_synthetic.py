"""The synthetic street scenes are reproducible, legal, balanced enough to learn from, and not
solved by colour.
"""

from __future__ import annotations

import subprocess
import sys
import zlib

import datasets
import numpy as np
import pytest

from ctcl_hf.data import IGNORE_INDEX
from ctcl_hf.data.benchmarks import synthetic
from ctcl_hf.data.benchmarks.synthetic import (
    SCENE_CLASSES,
    SCENE_PALETTE,
    build_synthetic,
    draw_scene,
)

NUM_SCENES = 60


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, 3) and labels (N, H, W) of the size of the demo."""
    images, labels = zip(*[draw_scene(seed, 96, 128) for seed in range(NUM_SCENES)], strict=True)
    return np.stack(images), np.stack(labels)


def test_classes_and_palette_match():
    assert (
        len(SCENE_CLASSES)
        == len(set(SCENE_CLASSES))
        == len(SCENE_PALETTE)
        == len(set(SCENE_PALETTE))
    )
    assert all(0 <= channel <= 255 for colour in SCENE_PALETTE for channel in colour)


def test_same_seed_draws_the_same_bytes(scenes):
    for drawn, again in zip(scenes, draw_scene(3, 96, 128), strict=True):
        assert drawn[3].tobytes() == again.tobytes()


def test_a_process_draws_the_same_scenes_once(monkeypatch):
    """Each run of a comparison drew them again, for seconds."""
    size = {"num_train": 3, "num_validation": 2, "height": 64, "width": 72}
    first = build_synthetic(**size)
    monkeypatch.setattr(synthetic, "draw_scene", pytest.fail)
    again = build_synthetic(**size)
    assert again.splits.keys() == first.splits.keys()
    for split, rows in again.splits.items():
        assert rows.data is first.splits[split].data


def test_a_fresh_process_draws_the_same_bytes(scenes):
    code = (
        "import zlib; from ctcl_hf.data.benchmarks.synthetic import draw_scene;"
        "print(*[zlib.crc32(array.tobytes()) for array in draw_scene(3, 96, 128)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(zlib.crc32(drawn[3].tobytes())) for drawn in scenes]


def test_a_folder_is_refused():
    with pytest.raises(ValueError, match=r"--data_dir somewhere: .* reads no folder"):
        build_synthetic("somewhere")


def test_different_seeds_draw_different_scenes(scenes):
    images, labels = scenes
    assert (
        len({image.tobytes() for image in images})
        == len({label.tobytes() for label in labels})
        == NUM_SCENES
    )


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (97, 131), (65, 301), (301, 65), (128, 192)])
def test_shapes_dtypes_and_ids(size):
    image, label = draw_scene(11, *size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert label.shape == size and label.dtype == np.uint8
    assert set(np.unique(label)) <= {*range(len(SCENE_CLASSES)), IGNORE_INDEX}


def test_every_class_appears(scenes):
    _, labels = scenes
    share = np.stack(
        [(labels == class_id).mean(axis=(1, 2)) for class_id in range(len(SCENE_CLASSES))], axis=1
    )
    present = dict(zip(SCENE_CLASSES, (share > 0.001).mean(axis=0), strict=True))
    assert min(present.values()) >= 0.85, (
        f"share of scenes where a class covers 0.1% of the pixels: {present}"
    )
    overall = dict(zip(SCENE_CLASSES, share.mean(axis=0), strict=True))
    assert min(overall.values()) >= 0.005 and max(overall.values()) <= 0.5, overall


def test_some_pixels_are_ignored(scenes):
    _, labels = scenes
    ignored = (labels == IGNORE_INDEX).mean(axis=(1, 2))
    assert ignored.min() > 0 and 0.01 < ignored.mean() < 0.08


def test_scenes_vary_in_layout_and_light(scenes):
    images, labels = scenes
    brightness, road = (
        images.mean(axis=(1, 2, 3)),
        (labels == SCENE_CLASSES.index("Road")).mean(axis=(1, 2)),
    )
    assert brightness.std() > 10 and road.std() > 0.04


def test_colour_alone_does_not_solve_it(scenes):
    """The most likely class of each of 16 x 16 x 16 colours, fitted on 40 scenes, fails on the
    other 20.
    """
    images, labels = scenes
    codes = (images // 16).astype(np.int64) @ np.array([256, 16, 1])
    classes = range(len(SCENE_CLASSES))
    counts = np.stack(
        [np.bincount(codes[:40][labels[:40] == class_id], minlength=16**3) for class_id in classes]
    )
    guess, truth = counts.argmax(axis=0)[codes[40:]], labels[40:]
    seen = truth != IGNORE_INDEX
    ious = [
        ((guess == c) & (truth == c)).sum() / max(1, (((guess == c) | (truth == c)) & seen).sum())
        for c in classes
    ]
    assert np.mean(ious) < 0.30, dict(zip(SCENE_CLASSES, ious, strict=True))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("seed", (-1, 96, 128)),
        ("height", (0, 63, 128)),
        ("width", (0, 96, 0)),
        ("width", (0, 96, 128.5)),
    ],
)
def test_wrong_arguments_say_so(name, arguments):
    value = arguments[("seed", "height", "width").index(name)]
    with pytest.raises(
        ValueError, match=rf"{name} is {value!r}, .* whole number: give \d+ or more"
    ):
        draw_scene(*arguments)


@pytest.mark.parametrize("name", ["num_train", "num_validation", "height", "width"])
def test_build_refuses_wrong_counts_and_sizes(name):
    with pytest.raises(ValueError, match=rf"{name} is 0, "):
        build_synthetic(**{"num_train": 1, "num_validation": 1, name: 0})


def test_build_keeps_images_encoded_until_they_are_read():
    splits = build_synthetic(num_train=3, num_validation=2, height=64, width=80).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 3, "validation": 2}
    for split in splits.values():
        assert split.features == datasets.Features(
            {"image": datasets.Image(), "label": datasets.Image()}
        )
        assert not split.cache_files
        encoded = split.cast_column("image", datasets.Image(decode=False))[0]["image"]
        assert encoded["bytes"].startswith(b"\x89PNG") and encoded["path"] is None
    row, (image, label) = splits["train"][1], draw_scene(1, 64, 80)
    assert (row["image"].mode, row["label"].mode, row["label"].size) == ("RGB", "L", (80, 64))
    assert np.array_equal(np.asarray(row["image"]), image) and np.array_equal(
        np.asarray(row["label"]), label
    )


def test_splits_are_disjoint_and_stable():
    def content(**options: int) -> dict[str, list[bytes]]:
        splits = build_synthetic(height=64, width=64, **options).splits
        return {
            name: [np.asarray(row["image"]).tobytes() for row in split]
            for name, split in splits.items()
        }

    few, many = content(num_train=2, num_validation=3), content(num_train=6, num_validation=3)
    other = content(num_train=2, num_validation=3, seed=1)
    everything = many["train"] + many["validation"] + other["train"] + other["validation"]
    assert len(set(everything)) == len(everything)
    assert few["train"] == many["train"][:2] and few["validation"] == many["validation"]
