"""What a data set holds, counted in the one pass that checks it."""

import json
from unittest.mock import patch

import numpy as np
import pytest
from conftest import CLASSES, make_data
from datasets import DatasetDict

from ctcl_hf import SegmentationData, SegmentationSamples
from ctcl_hf.data.findings import Finding
from ctcl_hf.data.summary import DataSummary, SplitSummary

IGNORE = 255


def summary_of(*images, names=CLASSES, validation=({0: 1, 1: 1, 2: 1},)):
    """Of training images that have so many pixels by id."""
    splits = {}
    for split, of in {"train": images, "validation": validation}.items():
        splits[split] = SplitSummary(len(names), is_labelled=True)
        for pixels in of:
            splits[split].add(Finding(None, pixels, (30, 40)))
    return DataSummary(names, splits)


def test_the_check_counts_every_pixel_of_every_mask_and_reads_each_once(halves):
    expected = {}
    for split in ("train", "validation"):
        samples = halves.samples(split, transform=None)
        masks = np.stack([samples.read(i)[1].numpy() for i in range(len(samples))])
        expected[split] = [(masks == i).sum() for i in (0, 1, 2, IGNORE)]
    with patch.object(
        SegmentationSamples, "examine", autospec=True, side_effect=SegmentationSamples.examine
    ) as examine:
        found = halves.check()
    assert examine.call_count == sum(len(rows) for rows in halves.splits.values())
    for split, counts in expected.items():
        own = found.splits[split]
        assert [*own.pixels, own.ignored] == counts
        assert own.images == len(halves.splits[split]) and own.sizes == {(64, 96): own.images}
        assert own.ignored_share == pytest.approx(4 / 64)  # the unlabelled band
        assert own.shares.sum() == pytest.approx(1)


def test_the_summary_is_json_that_holds_shares_sizes_and_images_by_class():
    found = json.loads(json.dumps(summary_of({0: 900, 1: 300, IGNORE: 100}, {0: 700}).as_json()))
    train = found["splits"]["train"]
    assert found["classes"] == list(CLASSES)
    assert (train["images"], train["pixels"], train["images_with"]) == (
        2,
        [1600, 300, 0],
        [2, 1, 0],
    )
    assert train["sizes"] == [[30, 40, 2]] and train["ignored_share"] == 100 / 2000
    assert train["absent"] == ["dot"] and found["splits"]["validation"]["absent"] == []


def test_rare_classes_and_imbalance_are_told_with_their_numbers():
    lines = str(summary_of({0: 9000, 1: 900, 2: 20}, {0: 1000})).splitlines()
    assert lines[0] == "train: 2 images of 30x40, 0.0 % of the pixels not scored"
    assert "Rare in train: dot 0.18 % in 1 image." in lines
    assert "left has 500 times the pixels of dot, and mIoU counts both alike." in lines


def test_a_class_in_few_images_is_rare_however_large_it_is_there():
    images = [{0: 100, 1: 100}] * 199 + [{2: 20000}]
    assert summary_of(*images).rare("train") == [2]
    assert summary_of(*images[100:]).rare("train") == []  # in one of 100


def test_even_classes_need_no_note_and_many_rare_ones_are_counted():
    assert summary_of({0: 500, 1: 400, 2: 300}).notes() == []
    names = tuple(f"class {i}" for i in range(20))
    many = summary_of(
        {0: 10**6} | dict.fromkeys(range(1, 20), 10), names=names, validation=({0: 5},)
    )
    assert " and 13 more." in many.notes()[0]
    assert many.notes()[-1].startswith("Not in validation: class 1, ")


def test_a_split_without_masks_is_told_so():
    data = make_data(num_train=3, num_validation=2)
    splits = DatasetDict(data.splits) | {"test": data.splits["validation"].remove_columns("label")}
    found = SegmentationData("halves", splits, CLASSES, data.palette, data.image_size).check()
    assert str(found).splitlines()[2] == "test: 2 images of 64x96, without masks"
    assert not found.as_json()["splits"]["test"]["labelled"]
    assert not any("test" in note for note in found.notes())


def test_images_of_several_sizes_are_told_by_the_smallest_and_the_largest():
    own = SplitSummary(2, is_labelled=True)
    for size in ((30, 40), (60, 80), (30, 40)):
        own.add(Finding(None, {0: 1}, size))
    assert str(own).startswith("3 images of 2 sizes from 30x40 to 60x80, ")
