"""Colours that can be told apart."""

import numpy as np
import pytest

from ctcl_hf.data import palette_for
from ctcl_hf.data.benchmarks.camvid import CAMVID_CLASSES, CAMVID_PALETTE
from ctcl_hf.data.palettes import ALIKE, _lab


@pytest.mark.parametrize(("count", "apart"), [(2, 100), (12, 40), (40, ALIKE), (254, 8)])
def test_classes_of_ones_own_have_colours_that_can_be_told_apart(count, apart):
    """Steps of the golden angle gave two of eight classes nearly the same green."""
    colours = _lab(
        np.array([*palette_for([f"class {i}" for i in range(count)]), (0, 0, 0), (255, 255, 255)])
    )
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1) + 1e3 * np.eye(len(colours))
    assert distances.min() >= apart


def test_known_classes_keep_their_benchmarks_colours_and_others_differ_from_them():
    names = (*CAMVID_CLASSES[:5], "my own", "another")
    palette = palette_for(names)
    assert list(palette[:5]) == [tuple(colour) for colour in CAMVID_PALETTE[:5]]
    colours = _lab(np.array(palette))
    assert np.linalg.norm(colours[5] - np.delete(colours, 5, 0), axis=1).min() > ALIKE
    assert palette_for(names) == palette  # the same at every call


def test_classes_are_known_in_any_case_unless_it_tells_them_apart():
    """README's own tree and sky were drawn in blue and red."""
    sky, tree = (tuple(CAMVID_PALETTE[CAMVID_CLASSES.index(name)]) for name in ("Sky", "Tree"))
    assert palette_for(["ground", "tree", "SKY"])[1:] == [tree, sky]
    one, other, _ = palette_for(["tree", "Tree", "sky"])
    assert other == tree != one


def test_lab_of_known_colours():
    """White, black, and red of sRGB, by the CIE's formulas."""
    lab = _lab(np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0)]))
    assert lab == pytest.approx(np.array([(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.2)]), abs=0.1)
