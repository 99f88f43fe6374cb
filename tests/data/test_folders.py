"""Folders as people have them: which files are taken, which are left out, and that both are
told.
"""

import os
import re
import shutil

import numpy as np
import pytest
from data.files import PALETTE, png
from helpers.pictures import NAMES, SIZE, ids, labels, picture, save

from ctcl_hf.data import build_own
from ctcl_hf.data.shards import write_shards


def pair(image, mask, seed=0):
    picture(image, seed)
    save(mask, ids(0, 1, 2))


def counts(data):
    return {split: len(rows) for split, rows in data.splits.items()}


@pytest.fixture
def flat(tmp_path):
    for i in range(8):
        pair(
            tmp_path / "photos" / "images" / f"{i}.png",
            tmp_path / "photos" / "masks" / f"{i}.png",
            i,
        )
    return tmp_path / "photos"


# ---- layouts ----


@pytest.mark.parametrize("ending", ["_mask", "_seg", "-labels"])
def test_images_and_masks_may_lie_in_one_folder_for_each_split(tmp_path, ending):
    for split, count in (("train", 11), ("valid", 2)):
        for i in range(count):
            pair(
                tmp_path / split / f"a{i}_jpg.rf.0{i}.jpg",
                tmp_path / split / f"a{i}_jpg.rf.0{i}{ending}.png",
                i,
            )
        (tmp_path / split / "_classes.csv").write_text(
            "Pixel Value, Class\n0, ground\n1, tree\n2, sky\n"
        )
    data = build_own(str(tmp_path))
    assert (counts(data), data.class_names) == ({"train": 11, "validation": 2}, NAMES)
    assert f"masks end in {ending}" in str(data)
    assert labels(data) == {0, 1, 2}


def test_photos_and_their_masks_may_differ_by_suffix_alone(tmp_path):
    for split in ("train", "val"):
        pair(tmp_path / split / "a.jpg", tmp_path / split / "a.png")
    assert labels(build_own(str(tmp_path), class_names=NAMES)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("folder", "ending"), [("{}_labels", "_L"), ("{}annot", ""), ("{}_masks", "_mask")]
)
def test_masks_may_lie_in_a_folder_beside_their_splits(tmp_path, folder, ending):
    table = np.array([(128, 128, 128), (128, 0, 0), (192, 192, 128)], dtype=np.uint8)
    for split in ("train", "val", "test"):
        for i in range(3):
            picture(tmp_path / split / f"000{i}.png", i)
            save(tmp_path / folder.format(split) / f"000{i}{ending}.png", table[ids(0, 1, 2)])
    (tmp_path / "class_dict.csv").write_text(
        "name,r,g,b\nSky,128,128,128\nBuilding,128,0,0\nPole,192,192,128\n"
    )
    data = build_own(str(tmp_path))
    assert counts(data) == {"train": 3, "validation": 3, "test": 3}
    assert data.class_names == ("Sky", "Building", "Pole") and data.palette[1] == (128, 0, 0)
    assert labels(data, "test", 2) == {0, 1, 2}


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"default": "012345"}, {"train": 4, "validation": 2}),
        ({"train": "0123", "val": "4", "trainval": "01234"}, {"train": 4, "validation": 1}),
    ],
)
def test_an_export_like_vocs_is_split_by_its_lists_and_read_by_its_colours(
    tmp_path, lists, expected
):
    table = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], dtype=np.uint8)
    for i in range(6):
        picture(tmp_path / "JPEGImages" / f"f{i}.jpg", i)
        save(tmp_path / "SegmentationClass" / f"f{i}.png", table[ids(0, 1, 2)])
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for split, numbers in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"f{i}\n" for i in numbers))
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbg:0,0,0::\ndisc:255,0,0::\nbar:0,0,255::\n"
    )
    data = build_own(str(tmp_path), validation_share=None if "val" in lists else 0.25)
    assert (counts(data), data.class_names) == (expected, ("bg", "disc", "bar"))
    assert labels(data) == {0, 1, 2}
    assert ("1 in no list (JPEGImages/f5.jpg)" in str(data)) == ("val" in lists)


def test_a_class_called_ignored_in_a_tools_list_is_left_out(tmp_path):
    """As docs/data.md says of CVAT's background."""
    table = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], dtype=np.uint8)
    for split in ("train", "val"):
        picture(tmp_path / split / "images" / "a.jpg", 0)
        save(tmp_path / split / "masks" / "a.png", table[ids(0, 1, 2)])
    (tmp_path / "labelmap.txt").write_text("ignored:0,0,0::\ndisc:255,0,0::\nbar:0,0,255::\n")
    data = build_own(str(tmp_path))
    assert data.class_names == ("disc", "bar")
    assert labels(data) == {0, 1, 255}


def test_names_of_splits_and_folders_may_be_in_any_case(tmp_path):
    for split in ("Train", "Validation"):
        pair(tmp_path / split / "Images" / "a.png", tmp_path / split / "Masks" / "a.png")
    assert counts(build_own(str(tmp_path), class_names=NAMES)) == {"train": 1, "validation": 1}


def test_other_names_can_be_said(tmp_path):
    for split in ("train", "val"):
        pair(tmp_path / split / "rgb" / "a.png", tmp_path / split / "truth" / "a.gt.png")
    options = {"image_folder": "rgb", "mask_folder": "truth", "mask_ending": ".gt"}
    assert labels(build_own(str(tmp_path), class_names=NAMES, **options)) == {0, 1, 2}


def test_two_folders_of_masks_are_not_chosen_between(flat):
    shutil.copytree(flat / "masks", flat / "labels")
    with pytest.raises(
        ValueError,
        match=r"masks and .*labels hold images: which are the masks\? Give --mask_folder masks",
    ):
        build_own(str(flat), class_names=NAMES, validation_share=0.25)
    assert build_own(str(flat), class_names=NAMES, validation_share=0.25, mask_folder="labels")


def test_lists_of_classes_that_differ_are_not_chosen_between(flat):
    for split, text in (("train", "ground\ntree\nsky\n"), ("valid", "ground\nsky\ntree\n")):
        (flat / split).mkdir()
        (flat / split / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match="differ: which are the classes"):
        build_own(str(flat), validation_share=0.25)


# ---- what is taken and what is left out ----


def test_images_and_masks_win_over_parquet_below_them_and_it_is_told(flat):
    """Shards that an earlier prepare.py wrote into the folder were read in its place: 8 of 40
    images.
    """
    write_shards(build_own(str(flat), class_names=NAMES, validation_share=0.5), flat / "shards")
    (flat / "metadata.parquet").write_bytes(b"of something else")
    data = build_own(str(flat), class_names=NAMES, validation_share=0.25)
    assert counts(data) == {"train": 6, "validation": 2}
    assert "left out: 3 Parquet (metadata.parquet, shards/data/train-00000.parquet" in str(data)
    with pytest.raises(
        ValueError, match=r"--streaming reads Parquet.*give the folder of Parquet in it"
    ):
        build_own(str(flat), class_names=NAMES, streaming=True)


def test_pictures_beside_parquet_do_not_make_it_a_folder_of_images(flat, tmp_path):
    write_shards(build_own(str(flat), class_names=NAMES, validation_share=0.5), tmp_path / "shards")
    picture(tmp_path / "shards" / "images" / "overview.png")
    assert counts(build_own(str(tmp_path / "shards"))) == {"train": 4, "validation": 4}


def test_hidden_files_and_folders_are_left_out_and_told(flat):
    """Copies in .ipynb_checkpoints/ were trained on as further pairs, or validated on."""
    for kind in ("images", "masks"):
        shutil.copytree(flat / kind, flat / kind / ".ipynb_checkpoints")
        (flat / kind / "._0.png").write_bytes(b"of a Mac")
        shutil.copytree(flat / kind, flat / kind / "__MACOSX")
    data = build_own(str(flat), class_names=NAMES, validation_share=0.25)
    assert sum(counts(data).values()) == 8
    assert "left out: 6 hidden (images/._0.png, images/.ipynb_checkpoints, images/__MACOSX" in str(
        data
    )


def test_linked_folders_are_followed_once(flat, tmp_path):
    """They were passed over without a word."""
    for kind in ("images", "masks"):
        (flat / kind).rename(tmp_path / kind)
        (flat / kind).mkdir()
        os.symlink(tmp_path / kind, flat / kind / "linked")
        os.symlink(flat / kind, flat / kind / "linked" / "up")
    (flat / "train").mkdir()
    for kind in ("images", "masks"):
        (flat / kind).rename(flat / "train" / kind)
    data = build_own(str(flat), class_names=NAMES, validation_share=0.25)
    assert sum(counts(data).values()) == 8


def test_files_of_other_kinds_are_told_but_no_lists_and_notes(flat):
    (flat / "images" / "scan.heic").write_bytes(b"of a phone")
    (flat / "images" / "notes.txt").write_text("mine")
    told = str(build_own(str(flat), class_names=NAMES, validation_share=0.25))
    assert "left out: 1 of another kind (images/scan.heic))" in told


def test_a_name_that_is_not_utf8_is_refused_by_itself(flat):
    os.rename(flat / "images" / "0.png", os.fsencode(flat / "images") + b"/0\xff.png")
    with pytest.raises(ValueError, match=r"images/0\\udcff\.png' is not UTF-8"):
        build_own(str(flat), class_names=NAMES, validation_share=0.25)


def test_splits_without_a_use_are_told(flat):
    for split in ("train", "val", "extra"):
        shutil.copytree(flat / "images", flat / split / "images")
        shutil.copytree(flat / "masks", flat / split / "masks")
    shutil.rmtree(flat / "images"), shutil.rmtree(flat / "masks")
    assert "splits without a use: extra (8)" in str(build_own(str(flat), class_names=NAMES))


@pytest.mark.parametrize("name", ["shards [v2]", "a*b", "what?", "{x}", "%s"])
def test_a_folder_whose_name_is_a_pattern_is_read(flat, tmp_path, name):
    """`datasets` took [v2] for a set of letters, and found no data."""
    write_shards(build_own(str(flat), class_names=NAMES, validation_share=0.5), tmp_path / name)
    assert counts(build_own(str(tmp_path / name))) == {"train": 4, "validation": 4}
    assert counts(build_own(str(tmp_path / name), streaming=True)) == {"train": 4, "validation": 4}


def test_turned_images_and_copies_are_counted_and_told(flat, caplog):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: nothing but a person can tell whether the mask is so as well
    Image.open(flat / "images" / "0.png").save(flat / "images" / "0.png", exif=exif)
    shutil.copy(flat / "images" / "1.png", flat / "images" / "2.png")
    data = build_own(str(flat), class_names=NAMES, validation_share=0.25)
    with caplog.at_level("WARNING"):
        data.check()
    assert "1 image of " in caplog.text and "is turned by its EXIF tag: its mask" in caplog.text
    assert "is the same file as one of " in caplog.text


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_a_mask_of_the_unturned_image_is_told_of_the_turn(flat, turn):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = turn
    Image.open(flat / "images" / "0.png").save(flat / "images" / "0.png", exif=exif)
    with pytest.raises(
        ValueError, match=r"turned by its EXIF tag, and the mask was drawn on what is stored"
    ):
        build_own(str(flat), class_names=NAMES, validation_share=0.25).check()


def test_a_colour_that_stands_for_two_ids_is_told(flat, caplog):
    """Colours that a program saved with a palette of each file's own are read by index where no
    --palette is given.
    """
    for i, path in enumerate(sorted(flat.glob("masks/*"))):
        palette = [(0, 0, 0), (200, 0, 0), (0, 0, 200)]
        path.write_bytes(png(ids(0, 1, 2), 8, PALETTE, palette if i % 2 else palette[::-1]))
    with caplog.at_level("WARNING"):
        build_own(str(flat), class_names=NAMES, validation_share=0.25).check()
    assert re.search(
        r"Masks show id [02] and id [02] in one colour, \(0, 0, 200\).*--palette", caplog.text
    )


# ---- what there is to learn ----


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_masks_of_0_and_255_are_refused_before_training_with_the_option_that_reads_them(
    flat, share
):
    """255 was not scored, so that one class was left, and the run reported 100 %."""
    for path in flat.glob("masks/*"):
        save(path, ids(0, 255))
    options = {"class_names": ("ground", "disc"), "validation_share": share}
    with pytest.raises(ValueError, match=r"hold ground alone, of 2 classes.*--label_map 255:1"):
        build_own(str(flat), **options).check()
    data = build_own(str(flat), label_map={255: 1}, **options)
    data.check()
    assert labels(data) == {0, 1}


def test_data_without_a_label_is_refused_by_name(flat):
    for path in flat.glob("masks/*"):
        save(path, ids(255))
    with pytest.raises(ValueError, match="training masks of photos hold no class, of 3"):
        build_own(str(flat), class_names=NAMES, validation_share=0.25).check()


def test_a_data_set_of_what_is_no_image_names_one_and_says_what_it_is(flat):
    for path in flat.glob("*/*"):
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(
        ValueError,
        match=r"None of the training images .* The first: .*\.png\): it is a Git LFS pointer",
    ):
        build_own(str(flat), class_names=NAMES, validation_share=0.25)


def test_sizes_are_those_of_turned_images(flat):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for path in flat.glob("images/*"):
        Image.open(path).save(path, exif=exif)
    assert build_own(str(flat), class_names=NAMES, validation_share=0.25).image_size == SIZE[::-1]
