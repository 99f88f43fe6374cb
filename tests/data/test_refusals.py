"""Folders that are not as they are taken to be: the true reason is told, and how to mend it."""

import pytest
from helpers.pictures import NAMES, ids, labels, picture, save

from ctcl_hf.data import build_own


def make_voc(folder, lists, mask="{}", names=("foto 0 ä", "foto 1 ä", "b/foto 0")):
    for i, name in enumerate(names):
        picture(folder / "JPEGImages" / f"{name}.jpg", i)
        save(folder / "SegmentationClass" / f"{mask.format(name)}.png", ids(0, 1, 2))
    for file, text in lists.items():
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Segmentation" / f"{file}.txt").write_bytes(text.encode())


# ---- lists of names ----


@pytest.mark.parametrize("line", ["{}\n", '"{}"\n', "  {} \r\n"])
def test_a_line_of_a_list_is_one_name_with_its_spaces(tmp_path, line):
    """Lines were split at spaces: "names 120 files, of which 120 are missing (foto, 000, ä"."""
    make_voc(tmp_path, {"train": line.format("foto 0 ä"), "val": line.format("b/foto 0")})
    data = build_own(str(tmp_path), class_names=NAMES)
    assert [row["path"].rpartition("/")[2] for row in paths(data, "train")] == ["foto 0 ä.jpg"]
    assert [row["path"][-12:] for row in paths(data, "validation")] == ["b/foto 0.jpg"]
    assert labels(data) == {0, 1, 2}


def paths(data, split):
    samples = data.samples(split, transform=None)
    return [samples.stored(i)["image"] for i in range(len(samples))]


def test_what_a_list_lacks_is_told_with_the_lists_own_name(tmp_path):
    """The message named train.txt, where the file is default.txt."""
    make_voc(tmp_path, {"default": "foto 0 ä\nfoto 7\n"})
    with pytest.raises(
        ValueError, match=r"default\.txt names 2 files, of which 1 is missing \(foto 7\)"
    ):
        build_own(str(tmp_path), class_names=NAMES, validation_share=0.5)


def test_a_list_that_is_not_utf8_is_named(tmp_path):
    """'utf-8' codec can't decode byte 0xe4, and no word of the file."""
    make_voc(tmp_path, {"default": "foto 0 ä\n"})
    (tmp_path / "ImageSets" / "Segmentation" / "default.txt").write_bytes(b"foto 0 \xe4\n")
    with pytest.raises(ValueError, match=r"default\.txt is not UTF-8: save it so"):
        build_own(str(tmp_path), class_names=NAMES, validation_share=0.5)
