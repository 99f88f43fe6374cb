"""Data of one's own: folders of pairs, Parquet, columns, splits, classes, palettes; and what can be
wrong with it.
"""

import json

import numpy as np
import PIL.Image
import pytest
from datasets import Dataset, Features, Image, Value
from helpers.commands import run
from helpers.pictures import NAMES, SIZE, ids, labels, picture, read, save

from ctcl_hf.arguments.data import DataArguments
from ctcl_hf.arguments.dataset import DatasetArguments
from ctcl_hf.data import BadSample, MaskReader, build_own
from ctcl_hf.data.shards import write_shards


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "meadows"
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            picture(root / split / "images" / f"{i}.jpg", i)
            save(root / split / "masks" / f"{i}.png", ids(0, 1, 2, 255))
    return root


def test_a_folder_of_pairs_is_a_data_set(folder):
    data = build_own(str(folder), class_names=NAMES)
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 4,
        "validation": 2,
    }
    assert data.name == "meadows"
    assert data.image_size == SIZE
    assert labels(data) == {0, 1, 2, 255}
    data.check()


def test_images_and_masks_may_come_before_the_splits(tmp_path):
    for split in ("training", "validation"):
        picture(tmp_path / "images" / split / "city" / "a.png")
        save(tmp_path / "annotations" / split / "city" / "a.png", ids(0, 1, 2))
    assert labels(build_own(str(tmp_path), class_names=NAMES), "validation") == {0, 1, 2}


def test_a_share_of_the_training_images_is_held_out_where_nothing_is_to_validate_on(tmp_path):
    for i in range(10):
        picture(tmp_path / "images" / f"{i}.png", i)
        save(tmp_path / "masks" / f"{i}.png", ids(0, 1, 2))
    with pytest.raises(ValueError, match=r"nothing to validate on.*--validation_share 0\.1"):
        build_own(str(tmp_path), class_names=NAMES)
    data = build_own(str(tmp_path), class_names=NAMES, validation_share=0.2)
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 8,
        "validation": 2,
    }
    again = build_own(str(tmp_path), class_names=NAMES, validation_share=0.2)
    assert data.splits["validation"].data.to_pylist() == again.splits["validation"].data.to_pylist()


def test_classes_and_colours_that_lie_with_the_data_are_used(folder):
    (folder / "id2label.json").write_text(
        json.dumps({str(i): name for i, name in enumerate(NAMES)})
    )
    (folder / "palette.json").write_text(json.dumps({"tree": [0, 200, 0]}))
    data = build_own(str(folder))
    assert data.class_names == NAMES
    assert data.palette[1] == (0, 200, 0)


def test_masks_of_colours_are_read_through_a_palette(folder, tmp_path):
    for path in folder.glob("*/masks/*.png"):
        pixels = np.zeros((*SIZE, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[:8, :, :3], pixels[8:16, :, :3] = (10, 20, 30), (11, 20, 30)
        save(path, pixels)
    palette = tmp_path / "colours.json"
    palette.write_text(
        json.dumps(
            {"ground": [10, 20, 30], "tree": [[11, 20, 30], [9, 9, 9]], "ignored": [0, 0, 0]}
        )
    )
    data = build_own(str(folder), palette=str(palette))
    assert data.class_names == ("ground", "tree")
    assert labels(data) == {0, 1, 255}
    assert data.palette[1] == (11, 20, 30)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"label_map": {3: 255, 2: 0}}, {0, 1, 255}),
        ({"label_map": {2: 0}, "ignore_index": 3}, {0, 1, 255}),
        ({"reduce_labels": True}, {0, 1, 2, 255}),
    ],
)
def test_ids_are_mapped_as_asked(folder, options, expected):
    for path in folder.glob("*/masks/*.png"):
        save(path, ids(0, 1, 2, 3))
    assert labels(build_own(str(folder), class_names=NAMES, **options)) == expected


# ---- Parquet, as on the Hub ----


@pytest.fixture
def rows():
    def encoded(pixels):
        import io

        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": None}

    grey = np.full((*SIZE, 3), 90, dtype=np.uint8)
    return {
        "pixel_values": [encoded(grey)] * 3,
        "label": [encoded(ids(0, 1, 2))] * 3,
        "name": ["a", "b", "c"],
    }


FEATURES = Features(pixel_values=Image(), label=Image(), name=Value("string"))


def parquet(folder, rows, features=FEATURES, splits=("train", "validation")):
    (folder / "data").mkdir(parents=True)
    for split in splits:
        Dataset.from_dict(rows, features=features).to_parquet(
            folder / "data" / f"{split}-00000-of-00001.parquet"
        )
    return str(folder)


def test_parquet_is_read_with_its_columns_found_by_name(tmp_path, rows):
    data = build_own(parquet(tmp_path / "shards", rows), class_names=NAMES)
    assert data.splits["train"].column_names == ["image", "label"]
    assert labels(data) == {0, 1, 2}
    assert data.samples("train", None).paths(0) == "an embedded image and an embedded label"


def test_columns_are_taken_as_told_even_if_their_names_are_swapped(tmp_path, rows):
    swapped = {"label": rows["pixel_values"], "image": rows["label"]}
    name = parquet(tmp_path / "swapped", swapped, Features(label=Image(), image=Image()))
    assert labels(
        build_own(name, class_names=NAMES, image_column="label", label_column="image")
    ) == {0, 1, 2}


def test_splits_are_taken_as_told(tmp_path, rows):
    name = parquet(tmp_path / "named", rows, splits=("train", "held"))
    data = build_own(name, class_names=NAMES, validation_split="held")
    assert set(data.splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_column": "picture"},
            r"--image_column picture: .* has: pixel_values \(Image\), label",
        ),
        ({"label_column": "name"}, "--label_column name: not a column of images"),
        (
            {"validation_split": "held"},
            "--validation_split held: .* has the splits train, validation",
        ),
        ({"class_names": ["a", "a"]}, "--class_names: a is named twice"),
        ({"class_names": None}, "What are the classes of .*--class_names"),
        ({"class_names": ["nowhere.json"]}, "--class_names nowhere.json: there is no such file"),
        ({"label_map": {0: 7}}, r"Mask ids are mapped to \[7\], but classes are 0..2"),
        ({"label_map": {300: 1}}, r"Mask ids \[300\] are mapped"),
        ({"reduce_labels": True, "ignore_index": 0}, "--reduce_labels says what id 0 is"),
    ],
)
def test_what_does_not_fit_the_data_is_said_with_what_it_has(tmp_path, rows, options, message):
    name = parquet(tmp_path / "shards", rows)
    with pytest.raises(ValueError, match=message):
        labels(build_own(name, **{"class_names": NAMES, **options}))


def test_data_without_masks_or_images_is_refused(tmp_path, rows):
    only = {"image": rows["pixel_values"]}
    with pytest.raises(ValueError, match="no masks in train and validation"):
        build_own(parquet(tmp_path / "only", only, Features(image=Image())), class_names=NAMES)
    text = {"name": rows["name"]}
    with pytest.raises(ValueError, match="no column of images by a usual name"):
        build_own(
            parquet(tmp_path / "text", text, Features(name=Value("string"))), class_names=NAMES
        )
    several = {"image": rows["pixel_values"], "one": rows["label"], "two": rows["label"]}
    features = Features(image=Image(), one=Image(), two=Image())
    with pytest.raises(ValueError, match="Which has the masks"):
        build_own(parquet(tmp_path / "several", several, features), class_names=NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a JSON object"),
        ('{"ground": [1, 2]}', r"ground must have \[red, green, blue\]"),
        ('{"ground": [1, 2, 300]}', r"ground must have \[red, green, blue\]"),
        ('{"ground": [1, 2, 3], "tree": [1, 2, 3]}', "two classes have the colour"),
        ('{"water": [1, 2, 3]}', "water, which is no class"),
    ],
)
def test_a_bad_palette_says_what_is_wrong(folder, tmp_path, text, message):
    palette = tmp_path / "bad.json"
    palette.write_text(text)
    with pytest.raises(ValueError, match=message):
        build_own(str(folder), class_names=NAMES, palette=str(palette))


def test_classes_without_a_training_pixel_are_named(folder, caplog):
    with caplog.at_level("WARNING"):
        build_own(str(folder), class_names=NAMES).check()
        assert "has a pixel of" not in caplog.text
        build_own(str(folder), class_names=(*NAMES, "water")).check()
    assert "No training mask of meadows has a pixel of water." in caplog.text


def test_near_misses_are_told_what_was_meant(folder, monkeypatch):
    for name in ("names.txt", "lists/names", "id2label.json"):
        with pytest.raises(ValueError, match=f"--class_names {name}: there is no such file"):
            build_own(str(folder), class_names=[name])
    with pytest.raises(ValueError, match="separate names by spaces"):
        build_own(str(folder), class_names=["ground,tree,sky"])
    with pytest.raises(ValueError, match="is one split of a data set: give the folder above it"):
        build_own(str(folder / "train"), class_names=NAMES)
    monkeypatch.setattr("ctcl_hf.base.hub_access.hub_answers", lambda: True)
    monkeypatch.setattr(
        "datasets.load_dataset", lambda name: (_ for _ in ()).throw(ConnectionError("no network"))
    )
    with pytest.raises(
        OSError, match="meadow: no such folder here, and it cannot be loaded: no network"
    ):
        build_own("meadow", class_names=NAMES)


def test_a_missing_split_and_missing_classes_are_asked_for_at_once(tmp_path):
    """They were asked for one after the other."""
    picture(tmp_path / "train" / "images" / "a.jpg")
    save(tmp_path / "train" / "masks" / "a.png", ids(0, 1))
    with pytest.raises(ValueError, match=r"Give --validation_split.*\nWhat are the classes"):
        build_own(str(tmp_path))


# ---- bad files ----


def test_too_few_images_for_a_batch_and_bad_masks_are_told_at_once(folder, tmp_path):
    """The masks were told once there were enough images."""
    save(folder / "train" / "masks" / "1.png", ids(0, 7))
    options = ["--recipe", "demo", "--report_to", "none", "--output_dir", str(tmp_path / "out")]
    done = run("run_ctcl.py", "--dataset_name", folder, "--class_names", *NAMES, *options)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "4 training images do not fill one batch of 8. Give --per_device_t" in done.stderr
    assert "Bad mask of sample 1 (" in done.stderr and "train/masks/1.png): " in done.stderr


@pytest.mark.parametrize(
    ("odd", "hint"),
    [((3,), "If 3 is what is not scored: --ignore_index 3. If 0 is, and"), ((3, 9), None)],
)
def test_masks_of_one_id_too_many_are_told_with_the_options_that_may_be_meant(
    folder, tmp_path, odd, hint
):
    """`prepare` named none of the options that say what masks hold."""
    for place in ("train/masks/1.png", "train/masks/2.png"):
        save(folder / place, ids(0, 1, *odd))
    classes = ("--dataset_name", folder, "--class_names", *NAMES)
    training = ("--recipe", "demo", "--output_dir", tmp_path / "out", "--report_to", "none")
    for command in (
        run("prepare.py", folder, "--class_names", *NAMES, "--out", tmp_path / "shards"),
        run("run_ctcl.py", *classes, *training),
    ):
        assert command.returncode == 1 and "Traceback" not in command.stderr
        told = command.stdout + command.stderr
        assert (f"{hint}" in told) is (hint is not None)
        assert "What masks hold is said by --class_names, --label_map," in told


@pytest.mark.parametrize(
    ("names", "held", "way", "options"),
    [
        (("Void", "a", "b"), (0, 1, 2), "give --reduce_labels", {"reduce_labels": True}),
        (("a", "b", "unlabelled"), (0, 1, 2), "give --ignore_index 2", {"ignore_index": 2}),
        (
            ("a", "Void", "b", "c"),
            (0, 1, 2, 3),
            "give --label_map 1:255 2:1 3:2",
            {"label_map": {1: 255, 2: 1, 3: 2}},
        ),
    ],
)
def test_a_class_that_is_called_void_is_told_of_with_the_options_that_leave_it_out(
    folder, caplog, names, held, way, options
):
    """It was learnt and scored as any class, without a word."""
    for path in folder.glob("*/masks/*"):
        save(path, ids(*held))
    data = build_own(str(folder), class_names=names)
    with caplog.at_level("WARNING"):
        data.check()
    void = next(name for name in names if name not in "abc")
    assert f"{void} is a class as any other, which is learnt and scored." in caplog.text
    assert f"leave it out of the names, and {way}." in caplog.text
    assert data.remarks_on_names()[0] in write_shards(data, folder.parent / "shards").found()
    caplog.clear()
    data = build_own(str(folder), class_names=[n for n in names if n != void], **options)
    with caplog.at_level("WARNING"):
        data.check()
    assert "is a class as any other" not in caplog.text and "No mask holds" not in caplog.text
    assert labels(data) == {*range(len(names) - 1), 255}


def test_ids_are_not_shifted_under_the_names_of_all_of_them(folder):
    """Void's name went to the first class, that one's to the second, and so on."""
    for names, first in ((("Void", *NAMES), "Void"), (("unlabeled", *NAMES), "unlabeled")):
        with pytest.raises(
            ValueError, match=f"{first}, the first name, would be of id 1: give"
        ) as raised:
            build_own(str(folder), class_names=names, reduce_labels=True)
        assert str(raised.value).endswith(f"--class_names {' '.join(NAMES)}.")


def test_colours_of_no_class_are_told_with_the_file_that_has_them(folder):
    """`--palette` was blamed, which nobody had given."""
    (folder / "class_dict.csv").write_text("name,r,g,b\nroad,9,0,0\ncar,0,9,0\nsky,0,0,9")
    with pytest.raises(ValueError, match=r"class_dict\.csv has colours of sky, which is no class"):
        build_own(str(folder), class_names=("road", "car"))


def test_what_would_leave_nothing_is_not_told_to_be_left_out(folder, tmp_path):
    for path in folder.glob("*/masks/*"):
        save(path, ids(1, 2, 3))
    data = ("--dataset_name", folder, "--class_names", *NAMES)
    training = ("--recipe", "demo", "--output_dir", tmp_path / "out", "--report_to", "none")
    for command, words in (
        (run("run_ctcl.py", *data, *training), "samples, 4 of train and 2 of validation"),
        (run("run_ctcl.py", *data, *training, "--skip_bad"), "No image of train of meadows can be"),
        (run("prepare.py", folder, *data[2:], "--out", tmp_path / "x"), "nothing was written"),
    ):
        told = command.stdout + command.stderr
        assert command.returncode == 1 and words in told and "If 3 is what is not scored" in told
        assert "with --skip_bad" not in told


def test_a_colour_of_no_class_is_told_how_to_be_called(folder, caplog):
    table = np.array([(0, 0, 0), (9, 0, 0), (0, 9, 0)], dtype=np.uint8)
    for path in folder.glob("*/masks/*"):
        save(path, table[ids(0, 1, 2)])
    lines = ["name,r,g,b", "Void,0,0,0", "road,9,0,0", "car,0,9,0"]
    (folder / "class_dict.csv").write_text("\n".join(lines))
    with caplog.at_level("WARNING"):
        build_own(str(folder)).check()
    assert 'call it "ignored" in place of Void where its colour is given.' in caplog.text
    caplog.clear()
    (folder / "class_dict.csv").write_text("\n".join(lines).replace("Void", "ignored"))
    data = build_own(str(folder))
    with caplog.at_level("WARNING"):
        data.check()
    assert "is a class as any other" not in caplog.text
    assert data.class_names == ("road", "car")
    assert labels(data) == {0, 1, 255}


def test_an_empty_split_to_validate_on_is_told_with_the_way_on(folder):
    for path in folder.glob("val*/*/*"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"The folder of images, .*, is empty\. .*delete va.*--validation_share"
    ):
        build_own(str(folder), class_names=NAMES)


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(
        ValueError, match=r"found neither Parquet files nor images. Expected images, and masks"
    ):
        build_own(str(tmp_path), class_names=NAMES)
    (tmp_path / "train" / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no masks beside it"):
        build_own(str(tmp_path), class_names=NAMES)
    (tmp_path / "train" / "masks").mkdir()
    with pytest.raises(ValueError, match=r"The folder of images, .*train/images, is empty\."):
        build_own(str(tmp_path), class_names=NAMES)


def test_images_without_masks_and_masks_without_images_are_named(folder):
    (folder / "train" / "masks" / "1.png").unlink()
    (folder / "train" / "images" / "2.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"1 image without a mask \(.*1\.jpg\) and 1 mask without .*2\.png"
    ):
        build_own(str(folder), class_names=NAMES)


def test_what_does_not_pair_in_any_split_and_missing_classes_are_told_at_once(folder):
    """`prepare` asked for --skip_bad, for the same of the next split, then for class names."""
    (folder / "train" / "masks" / "1.png").unlink()
    (folder / "val" / "images" / "0.jpg").unlink()
    with pytest.raises(
        ValueError,
        match=r"without a mask \(.*train/images/1\.jpg\)\. Leave.*\n.*without an image "
        r"\(.*val/masks/0\.png\)\. Leave.*\nWhat are the classes",
    ):
        build_own(str(folder))


def test_what_lists_name_and_is_not_there_is_told_of_all_lists_at_once(tmp_path):
    """Those of the first list were told alone."""
    picture(tmp_path / "JPEGImages" / "a.jpg")
    save(tmp_path / "SegmentationClass" / "a.png", ids(0, 1))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text(f"a\n{split}-gone\n")
    with pytest.raises(
        ValueError,
        match=r"train\.txt names .*train-gone\)\. Leave .* --skip_bad\.\n.*val\.txt",
    ):
        build_own(str(tmp_path), class_names=NAMES)


def test_an_image_of_a_list_that_has_no_mask_is_told_once_and_as_that(tmp_path):
    """ "names 2 files, of which 1 is missing" came before, as if the image were gone."""
    for name in ("a", "b"):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    save(tmp_path / "SegmentationClass" / "a.png", ids(0, 1))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("a\nb\n" if split == "train" else "a\n")
    with pytest.raises(ValueError, match=r"without a mask") as raised:
        build_own(str(tmp_path), class_names=NAMES)
    assert str(raised.value) == (
        f"train of {tmp_path}: 1 image without a mask ({tmp_path}/JPEGImages/b.jpg). Leave them "
        "out with --skip_bad."
    )
    data = build_own(str(tmp_path), class_names=NAMES, skip_unpaired=True)
    assert data.left_out == ("left out: 1 without a mask (JPEGImages/b.jpg)",)


def test_a_folder_of_whole_data_sets_is_not_taken_for_one(tmp_path):
    """Two exports were called splits of the folder above them, and their own lists dropped."""
    for export in ("one", "two"):
        picture(tmp_path / export / "JPEGImages" / "a.jpg")
        save(tmp_path / export / "SegmentationClass" / "a.png", ids(0, 1))
        lists = tmp_path / export / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"is no data set, but holds \S+/one and \S+/two, with"):
        build_own(str(tmp_path), class_names=NAMES)
    # whereas an export into each split's folder is
    for export, split in (("one", "train"), ("two", "val")):
        (tmp_path / export).rename(tmp_path / split)
    assert set(build_own(str(tmp_path), class_names=NAMES).splits) == {"train", "validation"}


def test_what_lacks_its_counterpart_is_left_out_and_counted_if_asked_for(folder):
    """`--skip_bad` covered files that cannot be read, and neither these nor training."""
    (folder / "train" / "masks" / "1.png").unlink()
    (folder / "train" / "images" / "2.jpg").unlink()
    before = len(list((folder / "train" / "images").iterdir()))
    data = DatasetArguments(dataset_name=str(folder), class_names=list(NAMES), skip_bad=True).load()
    assert len(data.splits["train"]) == before - 1
    assert (
        "left out: 1 without a mask (train/images/1.jpg), 1 without an image (train/masks/2.png)"
        in str(data)
    )


def test_a_split_without_a_pair_is_refused_even_if_bad_ones_may_be_left_out(folder):
    for mask in (folder / "train" / "masks").iterdir():
        mask.rename(mask.with_stem(f"other {mask.stem}"))
    with pytest.raises(
        ValueError, match=r"images without a mask .* and .* masks without an image \("
    ):
        build_own(str(folder), class_names=NAMES, skip_unpaired=True)


def test_training_leaves_out_what_cannot_be_read_and_counts_it_if_asked_for(folder):
    bad = folder / "train" / "images" / "1.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    arguments = DataArguments(dataset_name=str(folder), class_names=list(NAMES), skip_bad=True)
    total = len(list(bad.parent.iterdir()))
    data = arguments.load()
    assert len(data.splits["train"]) == total - 1
    assert f"left out as bad: 1 of {total} of train (Cannot read sample" in str(data)
    assert str(bad) in str(data)
    data.check()
    with pytest.raises(ValueError, match=r"1\.jpg"):
        DataArguments(dataset_name=str(folder), class_names=list(NAMES)).load().check()


def test_each_cause_for_which_files_are_left_out_is_told(folder):
    """Of three bad files of three kinds the first was named."""
    bad = [folder / "train" / "images" / "1.jpg", folder / "train" / "masks" / "2.png"]
    bad[0].write_bytes(b"nothing")
    save(bad[1], ids(0, 77))
    data = DataArguments(dataset_name=str(folder), class_names=list(NAMES), skip_bad=True).load()
    assert all(str(path) in str(data) for path in bad) and "got [77]" in str(data)


def test_masks_of_other_ids_are_the_cause_that_is_told_where_files_are_not_checked(folder):
    """With --no_check_data, "hold no class, of 2 classes: nothing to tell apart"."""
    for mask in (folder / "train" / "masks").iterdir():
        save(mask, ids(0, 1, 5))
    with pytest.raises(ValueError, match=r"No training image .* can be used\.\n.*got \[5\]"):
        build_own(str(folder), class_names=NAMES[:2]).check_classes()
    with pytest.raises(ValueError, match=r"hold ground alone, of 2 .*\n.*got \[5\]"):
        save(mask, ids(0, 0))
        build_own(str(folder), class_names=NAMES[:2]).check_classes()


@pytest.mark.parametrize("options", [{"label_map": {9: 1, 2: 1}}, {"ignore_index": 9}])
def test_an_id_that_is_mapped_and_that_no_mask_holds_is_told(folder, options, caplog, tmp_path):
    """`--label_map 9:1` was passed over without a word where no mask has a 9."""
    data = build_own(str(folder), class_names=NAMES, **options)
    with caplog.at_level("WARNING"):
        data.check()
    told = "No mask holds 9, of which --label_map or --ignore_index says"
    assert told in caplog.text
    assert told in str(write_shards(data, tmp_path / "shards"))
    caplog.clear()
    with caplog.at_level("WARNING"):
        build_own(str(folder), class_names=NAMES, label_map={2: 1}, ignore_index=255).check()
    assert "No mask holds" not in caplog.text


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB"])
def test_the_ids_that_a_mask_holds_are_met_in_every_kind_of_mask(mode):
    values = np.array([[0, 1]], dtype=np.uint16 if mode == "I;16" else np.uint8)
    colours = {(0, 0, 0): 0, (9, 9, 9): 1, (0, 9, 0): 2} if mode == "RGB" else {}
    mask = PIL.Image.fromarray(values)
    if mode == "1":
        mask = PIL.Image.fromarray(values.astype(bool))
    elif mode == "P":
        mask.putpalette([0] * 768)
    elif mode == "RGB":
        mask = PIL.Image.fromarray(np.repeat(9 * values[..., None], 3, axis=2))
    reader = MaskReader(3, {1: 0, 2: 0}, colours)
    reader.watched = {1, 2}
    reader(mask)
    assert reader.watched == {2}


def test_two_images_of_one_name_are_refused(folder):
    picture(folder / "train" / "images" / "1.png")
    with pytest.raises(ValueError, match="have one name"):
        build_own(str(folder), class_names=NAMES)


def wide(*values):
    return np.resize(np.array(values, dtype=np.uint16), SIZE)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (ids(0, 1, 9), r"must hold class ids 0\.\.2 or 255 \(ignored\), got \[9\]"),
        (wide(0, 1, 700), r"got \[700\]"),
        (ids(0, 9)[:, :20], r"got \[9\]\. It has another size than its image, too\."),
        (wide(0, 700)[:20], r"got \[700\]\. It has another size than its image, too\."),
        (np.zeros((*SIZE, 3), dtype=np.uint8), "mode RGB.*--palette"),
        (np.zeros((*SIZE, 4), dtype=np.uint8), "mode RGBA.*--palette"),
        (np.zeros((*SIZE, 2), dtype=np.uint8), "mode LA"),
        (ids(0)[:, :20], "must have its image's size: got mask 24x20 and image 24x32"),
    ],
)
def test_a_mask_that_is_no_map_of_ids_is_named(folder, mask, message):
    path = folder / "train" / "masks" / "2.png"
    if mask.ndim == 3 and mask.shape[2] == 2:
        PIL.Image.fromarray(mask, mode="LA").save(path)
    else:
        save(path, mask)
    data = build_own(str(folder), class_names=NAMES)
    with pytest.raises(BadSample, match=message) as raised:
        read(data, "train", 2)
    assert "train/masks/2.png" in str(raised.value)
    with pytest.raises(ValueError, match=r"2.png"):
        data.check()


def test_masks_of_one_and_of_sixteen_bits_are_read(folder):
    PIL.Image.fromarray(ids(0, 255)).convert("1").save(folder / "train" / "masks" / "0.png")
    save(folder / "train" / "masks" / "1.png", wide(0, 2, 255))
    data = build_own(str(folder), class_names=NAMES)
    assert labels(data, index=0) == {0, 1}
    assert labels(data, index=1) == {0, 2, 255}


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_images_of_other_colour_modes_become_rgb(folder, mode):
    path = folder / "train" / "images" / ("0.jpg" if mode in ("L", "CMYK") else "0.png")
    (folder / "train" / "images" / "0.jpg").unlink()
    picture(path, mode=mode)
    assert read(build_own(str(folder), class_names=NAMES))["pixel_values"].shape == (3, *SIZE)


def test_images_of_sixteen_bits_are_refused(folder):
    (folder / "train" / "images" / "0.jpg").unlink()
    save(folder / "train" / "images" / "0.png", wide(0, 40000))
    with pytest.raises(BadSample, match=r"train/images/0\.png.*8 bits per channel"):
        read(build_own(str(folder), class_names=NAMES))


def test_a_photo_is_turned_as_its_camera_says(folder):
    path = folder / "train" / "images" / "0.jpg"
    turned = PIL.Image.fromarray(np.zeros((32, 24, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(path, exif=exif)
    sample = read(build_own(str(folder), class_names=NAMES))
    assert sample["pixel_values"].shape == (3, *SIZE)  # as its mask


@pytest.mark.parametrize("file", ["images/0.jpg", "masks/0.png"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, None])
def test_a_truncated_or_foreign_file_is_named(folder, file, content):
    path = folder / "train" / file
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=file.replace(".", r"\.")):
        build_own(str(folder), class_names=NAMES).check()


def test_a_data_set_that_the_hub_does_not_give_says_so(monkeypatch):
    from datasets.exceptions import DatasetNotFoundError

    def gated(*args, **kwargs):
        raise DatasetNotFoundError("Dataset 'user/secret' is a gated dataset on the Hub.")

    def script(*args, **kwargs):
        raise RuntimeError("Dataset scripts are no longer supported, but found secret.py")

    monkeypatch.setattr("ctcl_hf.base.hub_access.hub_answers", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", gated)
    with pytest.raises(OSError, match=r"gated or private, ask for access .* hf auth login"):
        build_own("user/secret", class_names=NAMES)
    monkeypatch.setattr("datasets.load_dataset", script)
    with pytest.raises(ValueError, match=r"script .* no longer runs"):
        build_own("user/secret", class_names=NAMES)


def test_the_usual_size_is_that_of_most_images_and_never_huge():
    from ctcl_hf.data.own.build import usual_size

    def images(*sizes):
        return Dataset.from_dict(
            {"image": [PIL.Image.new("RGB", size) for size in sizes]}, Features(image=Image())
        )

    assert usual_size(images((40, 30), (50, 20), (40, 30))) == (30, 40)
    assert usual_size(images((4096, 2048))) == (512, 1024)


def test_the_unused_split_of_a_hub_data_set_does_no_harm(tmp_path, rows):
    name = parquet(tmp_path / "more", rows, splits=("train", "validation", "extra"))
    assert set(build_own(name, class_names=NAMES).splits) == {"train", "validation"}


def shown_in(folder, palette, **told):
    """Data whose masks are PNGs with a palette of the first colours."""
    for path in folder.glob("*/masks/*.png"):
        mask = PIL.Image.fromarray(np.asarray(PIL.Image.open(path)) % 3)
        mask.putpalette([channel for colour in palette for channel in colour])
        mask.save(path)
    return build_own(str(folder), class_names=NAMES, **told).palette


COLOURS = ((0, 0, 0), (10, 200, 30), (90, 90, 250))


def test_classes_are_drawn_in_the_colours_that_masks_with_a_palette_show(folder):
    """They were drawn in colours of our own, whatever an annotator had chosen."""
    assert shown_in(folder, COLOURS) == COLOURS
    assert shown_in(folder, COLOURS, label_map={1: 2, 2: 1}) == (COLOURS[0], COLOURS[2], COLOURS[1])


@pytest.mark.parametrize(
    "palette", [[(i, i, i) for i in range(256)], [(200, 0, 0)] * 256, COLOURS[:2]]
)
def test_a_palette_that_tells_no_classes_apart_is_not_drawn_in(folder, palette):
    without = build_own(str(folder), class_names=NAMES).palette
    assert shown_in(folder, palette) == without


# ---- options that would change nothing ----

LABELMAP = "background:0,0,0::\nSky:128,128,128::\nRoad:128,64,128::\n"
SHOWN = np.array([(0, 0, 0), (128, 128, 128), (128, 64, 128)], dtype=np.uint8)


@pytest.fixture
def exported(folder):
    """An annotation tool's: masks of colours, and its list of them."""
    for path in folder.glob("*/masks/*.png"):
        save(path, SHOWN[ids(0, 1, 2).clip(max=2)])
    (folder / "labelmap.txt").write_text(LABELMAP)
    return folder


@pytest.mark.parametrize("is_palette", [False, True])
def test_label_map_is_of_the_classes_that_colours_mean(exported, is_palette):
    """--label_map 0:255 did nothing to masks of colours, and was recorded as applied."""
    if is_palette:
        for path in exported.glob("*/masks/*.png"):
            mask = PIL.Image.fromarray(ids(0, 1, 2))
            mask.putpalette(SHOWN.ravel().tolist())
            mask.save(path)
    assert labels(build_own(str(exported))) == {0, 1, 2}
    assert labels(build_own(str(exported), label_map={0: 255})) == {255, 1, 2}
    assert labels(build_own(str(exported), label_map={2: 1})) == {0, 1}
    assert labels(build_own(str(exported), ignore_index=1)) == {0, 255, 2}


def test_ids_mapped_to_the_classes_of_their_colours_are_read_once(folder):
    (folder / "labelmap.txt").write_text("ground:9,9,9::\ndisc:200,0,0::\n")
    for path in folder.glob("*/masks/*.png"):
        mask = PIL.Image.fromarray(ids(1, 2))
        mask.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0])
        mask.save(path)
    assert labels(build_own(str(folder), label_map={1: 0, 2: 1})) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduce_labels": True}, "--reduce_labels is for masks of ids, and these are of colours"),
        ({"ignore_index": 11}, r"--ignore_index 11: the masks are of colours, .* 0\.\.2"),
        ({"label_map": {7: 0}}, "--label_map or --ignore_index 7: the masks are of colours"),
        ({"label_map": {2: 0}, "ignore_index": 2}, "both say what id 2 is"),
        ({"validation_share": 0.1}, "--validation_share 0.1 has no effect: .* to validate on, val"),
        ({"label_column": "mask"}, "--label_column mask has no effect: .* folder of image files"),
        ({"class_names": ["Sky", "Road", "background", "Car"]}, "has none for Car: no pixel"),
    ],
)
def test_an_option_without_effect_is_refused(exported, options, message):
    with pytest.raises(ValueError, match=message):
        build_own(str(exported), **options)


def test_folders_of_parquet_have_no_folders_of_masks(tmp_path, rows):
    with pytest.raises(ValueError, match=r"--mask_folder gt has no effect: .* Parquet"):
        build_own(parquet(tmp_path / "shards", rows), class_names=NAMES, mask_folder="gt")


@pytest.mark.parametrize(
    ("palette", "classes", "expected"),
    [
        ({"ignored": [0, 0, 0], "Road": [128, 64, 128], "Sky": [128] * 3}, ("Sky", "Road"), 1),
        ({"rest": [[0, 0, 0], [128] * 3], "road": [128, 64, 128]}, ("rest", "road"), 1),
    ],
)
def test_a_palette_with_all_colours_of_a_list_says_the_classes(
    exported, tmp_path, palette, classes, expected
):
    """ "ignored" for the background's colour left background a class, with an IoU of 0."""
    (tmp_path / "pal.json").write_text(json.dumps(palette))
    data = build_own(str(exported), palette=str(tmp_path / "pal.json"))
    assert data.class_names == classes
    assert labels(data) - {255} == {0, expected}


def test_a_palette_that_lacks_a_class_of_masks_of_colours_is_refused(exported, tmp_path):
    (tmp_path / "pal.json").write_text('{"Road": [128, 64, 128], "Sky": [128, 128, 128]}')
    with pytest.raises(ValueError, match="has none for background"):
        build_own(str(exported), palette=str(tmp_path / "pal.json"))
