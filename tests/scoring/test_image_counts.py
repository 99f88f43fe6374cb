"""Counts of single images: what is kept, in which order, and what a file of them says."""

import numpy as np
import pytest
import torch

from ctcl_hf.metrics import confusion_counts
from ctcl_hf.scoring import image_counts
from ctcl_hf.scoring.image_counts import (
    COUNTS_FILE,
    ImageCounts,
    SplitCounts,
    load_counts,
    save_counts,
)


def counted(*predictions, truth=((0, 0, 1, 255),), classes=2):
    counts = ImageCounts(classes)
    for predicted in predictions:
        counts.add(confusion_counts(torch.tensor([predicted]), torch.tensor(truth), 256))
    return counts


def test_pixels_without_a_label_are_left_out_and_all_others_are_kept():
    counts = counted([0, 1, 1, 0], [1, 1, 0, 1])
    assert counts.dense().tolist() == [[[1, 1], [0, 1]], [[0, 2], [1, 0]]]
    assert counts.dense().dtype == np.uint32
    assert counts.labelled_pixels == 6 and len(counts) == 2


def test_the_worst_images_come_first_and_those_without_a_label_not_at_all():
    counts = counted([0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0])
    counts.add(confusion_counts(torch.zeros(1, 4, dtype=torch.long), torch.full((1, 4), 255), 256))
    assert [number for number, _ in counts.worst(10)] == [1, 2, 0]
    assert dict(counts.worst(10))[2] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert counts.worst(1) == [(1, 0.0)]


@pytest.mark.parametrize(("images", "processes"), [(7, 3), (2, 3), (1, 1), (6, 2)])
def test_uneven_shares_are_gathered_in_the_datas_order(images, processes, monkeypatch):
    whole = counted(*np.random.default_rng(0).integers(0, 2, (images, 4)).tolist())
    shares = [whole._images[process::processes] for process in range(processes)]
    monkeypatch.setattr(image_counts, "gather_object", lambda own: shares)
    assert np.array_equal(ImageCounts(2).gather().dense(), whole.dense())


def test_a_file_of_counts_is_read_as_it_was_written(tmp_path):
    tables = {
        name: np.random.default_rng(i).integers(0, 2**32, (3, 2, 2), np.uint32)
        for i, name in enumerate("ab")
    }
    splits = {
        "validation": SplitCounts(("x", "ü", "0003"), tables),
        "test": SplitCounts(("y",), {"a": tables["a"][:1]}),
    }
    path = save_counts(tmp_path, ("sky", "road/kerb"), splits)
    names, found = load_counts(tmp_path)
    assert names == ("sky", "road/kerb") and list(found) == ["validation", "test"]
    for split, counts in splits.items():
        assert found[split].images == counts.images
        assert found[split].students.keys() == counts.students.keys()
        assert all(
            np.array_equal(found[split].students[name], table)
            for name, table in counts.students.items()
        )
    assert [file.name for file in tmp_path.iterdir()] == [path.name] == [COUNTS_FILE]


def test_a_damaged_file_of_counts_is_named_with_what_to_do(tmp_path):
    path = save_counts(
        tmp_path, ("a", "b"), {"test": SplitCounts(("y",), {"cnn": np.ones((1, 2, 2), np.uint32)})}
    )
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"{COUNTS_FILE} is damaged.*Delete it"):
        load_counts(tmp_path)
    save_counts(
        tmp_path,
        ("a", "b"),
        {"test": SplitCounts(("y", "z"), {"cnn": np.ones((1, 2, 2), np.uint32)})},
    )
    with pytest.raises(ValueError, match=r"the counts of test are not of shape \(2, 2, 2\)"):
        load_counts(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_counts(tmp_path / "elsewhere")
