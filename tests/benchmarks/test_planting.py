"""Planted errors are what their names say, so that `planted_errors.py` measures those; and the
script runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_cnn, make_data, make_vit

from ctcl_hf.data.shards import write_shards

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
spec = importlib.util.spec_from_file_location("planting", BENCHMARKS / "planting.py")
planting = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planting)

SKY, ROAD, CAR, IGNORE = 0, 1, 2, 255


@pytest.fixture
def mask():
    """Sky over a road with two cars, and a column without a label."""
    mask = np.full((60, 80), SKY, dtype=np.uint8)
    mask[30:] = ROAD
    mask[40:50, 10:25] = CAR
    mask[42:52, 50:62] = CAR
    mask[:, 79] = IGNORE
    return mask


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_swapped_class_is_all_of_one_class_called_another(mask, rng):
    changed = planting.swap_class(mask, 4, rng)
    moved = changed != mask
    (found,) = np.unique(mask[moved])
    (called,) = np.unique(changed[moved])
    assert found != called and found != IGNORE and called < 4
    assert np.array_equal(moved, mask == found)


def test_a_shifted_mask_is_the_same_mask_elsewhere_and_unlabelled_where_it_left(mask, rng):
    changed = planting.shift_mask(mask, 4, rng)
    found = [
        (down, right)
        for down in range(-6, 7)
        for right in range(-8, 9)
        if down and right and np.array_equal(changed, moved(mask, down, right))
    ]
    assert len(found) == 1


def moved(mask, down, right):
    height, width = mask.shape
    result = np.full_like(mask, IGNORE)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[y, x] = mask[y - down, x - right]
    return result


def test_a_missing_object_is_one_component_that_became_what_surrounds_it(mask):
    cars = [np.zeros(mask.shape, bool) for _ in range(2)]
    cars[0][40:50, 10:25] = True
    cars[1][42:52, 50:62] = True
    dropped = set()
    for seed in range(20):
        changed = planting.drop_object(mask, 4, np.random.default_rng(seed))
        (which,) = (i for i, car in enumerate(cars) if np.array_equal(changed != mask, car))
        assert (changed[cars[which]] == ROAD).all()
        dropped.add(which)
    assert dropped == {0, 1}


def test_a_coarse_polygon_keeps_what_is_where_and_cuts_its_corners(mask, rng):
    rows, columns = np.ogrid[:60, :80]
    mask[(rows - 15) ** 2 + (columns - 30) ** 2 < 12**2] = CAR
    changed = planting.coarsen(mask, 4, rng)
    assert set(np.unique(changed)) == set(np.unique(mask))
    assert 0.005 < (changed != mask).mean() < 0.1
    for label in (SKY, ROAD, CAR):
        kept = (changed == label) & (mask == label)
        assert kept.sum() > 0.75 * (mask == label).sum()


def test_a_wrong_file_is_another_images_mask_of_the_same_size(mask, rng):
    other = np.full_like(mask, ROAD)
    assert np.array_equal(planting.take_other(mask, [mask, other, other[:5]], rng), other)
    assert planting.take_other(mask, [mask, other[:5]], rng) is None


def test_a_mask_that_offers_nothing_is_left_to_another_image(rng):
    empty = np.full((60, 80), IGNORE, dtype=np.uint8)
    assert planting.swap_class(empty, 4, rng) is None
    assert planting.drop_object(np.full_like(empty, SKY), 4, rng) is None


def test_the_script_prints_a_precision_for_every_ranking_and_kind(tmp_path):
    size = (32, 48)
    for name, make in (("cnn", make_cnn), ("vit", make_vit)):
        make(size=size).save_pretrained(str(tmp_path / "run" / name))
    write_shards(make_data(2, 5, size), tmp_path / "shards")
    (tmp_path / "run" / "run.json").write_text(
        f'{{"command": "ctcl-hf train --dataset_name {tmp_path / "shards"}"}}'
    )
    done = subprocess.run(
        [
            *(sys.executable, str(BENCHMARKS / "planted_errors.py"), str(tmp_path / "run")),
            *("--plantings", "1", "--share", "0.4"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    rankings = {line.split("|")[1].strip() for line in lines[2:-1]}
    assert rankings == {
        *(f"{score}, {name}" for score in ("label quality", "loss") for name in ("cnn", "vit")),
        *("label quality, pair", "loss, pair", "divergence"),
    }
    for line in lines[2:-1]:
        cells = [float(cell) for cell in line.split("|")[2:-1]]
        assert len(cells) == 6 and all(0 <= cell <= 100 for cell in cells)
