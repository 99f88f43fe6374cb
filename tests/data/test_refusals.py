"""Folders that are not as they are taken to be: the true reason is told, and how to mend it."""

import json
import shutil

import pytest
from helpers.commands import run
from helpers.pictures import NAMES, ids, labels, picture, save

from ctcl_hf.data import build_own
from ctcl_hf.data.shards import write_shards


@pytest.fixture
def folder(tmp_path):
    """train/ and val/ with images/ and masks/ of the same names."""
    for split in ("train", "val"):
        for i in range(2):
            picture(tmp_path / "photos" / split / "images" / f"{i}.jpg", i)
            save(tmp_path / "photos" / split / "masks" / f"{i}.png", ids(0, 1, 2))
    return tmp_path / "photos"


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


# ---- options that name what is not there ----


def test_an_ending_that_no_mask_has_is_refused(folder):
    """`--mask_ending _m` was accepted, and "masks end in _m" stated as a fact."""
    with pytest.raises(
        ValueError, match=r"--mask_ending _m: no mask in .*train/masks ends so.*0\.png\)\. Leave"
    ):
        build_own(str(folder), class_names=NAMES, mask_ending="_m")


@pytest.mark.parametrize("masks", ["{}.png", "{}_mask.png"])
def test_an_ending_that_no_mask_in_a_folder_of_both_has_is_refused(tmp_path, masks):
    for i in range(3):
        picture(tmp_path / "train" / f"{i}.jpg", i)
        save(tmp_path / "train" / masks.format(i), ids(0, 1, 2))
    with pytest.raises(ValueError, match="--mask_ending _m: no mask in"):
        build_own(str(tmp_path), class_names=NAMES, mask_ending="_m", validation_share=0.4)


@pytest.mark.parametrize("ending", [None, "_m"])
def test_masks_in_lists_like_vocs_may_have_an_ending(tmp_path, ending):
    """`--mask_ending` had no effect there, and no ending was found."""
    make_voc(tmp_path, {"train": "foto 0 ä\nfoto 1 ä\n", "val": "b/foto 0\n"}, mask="{}_m")
    data = build_own(str(tmp_path), class_names=NAMES, mask_ending=ending)
    assert "masks end in _m" in str(data) and labels(data) == {0, 1, 2}
    with pytest.raises(ValueError, match=r"--mask_ending _x: no mask in .*SegmentationClass ends"):
        build_own(str(tmp_path), class_names=NAMES, mask_ending="_x")


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_mistyped_folder_is_answered_with_the_nearest_even_beside_parquet(folder, kind):
    """Shards below the data made of it "--image_folder imgs has no effect: a is Parquet"."""
    write_shards(build_own(str(folder), class_names=NAMES), folder / "shards")
    option = {f"{kind}_folder": f"{kind}z"}
    with pytest.raises(
        ValueError,
        match=rf"--{kind}_folder {kind}z: no folder in .* There are .* Did you mean {kind}s\?",
    ):
        build_own(str(folder), class_names=NAMES, **option)


def test_a_folder_of_parquet_still_has_no_ending_of_masks(folder, tmp_path):
    write_shards(build_own(str(folder), class_names=NAMES), tmp_path / "shards")
    with pytest.raises(ValueError, match=r"--mask_ending _m has no effect: .* is Parquet"):
        build_own(str(tmp_path / "shards"), class_names=NAMES, mask_ending="_m")


def test_shards_are_not_written_into_the_data_that_they_are_made_of(folder):
    """`prepare a --out a/out` was accepted, and the next run found the data twice."""
    prepared = [folder, "--class_names", *NAMES, "--out"]
    refused = run("prepare.py", *prepared, folder / "out" / "parquet")
    assert refused.returncode and f"out/parquet lies in {folder}, which would" in refused.stderr
    assert not (folder / "out").exists()
    done = run("prepare.py", *prepared, f"{folder}-shards")
    assert not done.returncode and "-shards: 2 shards." in done.stdout, done.stderr


# ---- images without masks ----


@pytest.mark.parametrize("place", ["train/_annotations.coco.json", "train/0.json"])
def test_images_with_annotations_in_text_are_told_what_to_export(tmp_path, place):
    """COCO and LabelMe folders full of JPEGs: "found neither Parquet files nor images"."""
    for i in range(3):
        picture(tmp_path / "train" / f"{i}.jpg", i)
    (tmp_path / place).write_text(json.dumps({"shapes": []}))
    with pytest.raises(ValueError) as refused:
        build_own(str(tmp_path), class_names=NAMES)
    told = str(refused.value)
    assert f"{tmp_path}: found 3 images ({tmp_path}/train/0.jpg, ...), and no masks." in told
    assert f"such as {tmp_path}/{place}, are not read" in told and "semantic segmentation" in told
    assert "docs/" not in told and "train/masks/" in told  # a wheel has no docs/


def test_images_alone_are_told_without_a_word_of_annotations(tmp_path):
    picture(tmp_path / "train" / "0.jpg")
    (tmp_path / "classes.txt").write_text("road\n")
    with pytest.raises(ValueError, match=r"found 1 image \(.*0\.jpg\), and no masks\. Expected"):
        build_own(str(tmp_path), class_names=NAMES)


def test_a_folder_of_masks_that_is_empty_is_the_cause_that_is_told(folder):
    """It was told as images without a mask."""
    shutil.rmtree(folder / "train" / "masks")
    (folder / "train" / "masks").mkdir()
    with pytest.raises(ValueError, match=r"The folder of masks, .*train/masks, is empty\.$"):
        build_own(str(folder), class_names=NAMES)
    (folder / "train" / "masks" / "0.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(
        ValueError, match=r"train/masks, holds no image, but 0\.txt\. Annotations in text.*YOLO"
    ):
        build_own(str(folder), class_names=NAMES)
