"""`prepare.py`: shards that read as the source does, bad files named, and memory that stays
flat.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from helpers.commands import run

from ctcl_hf.data import build_own
from ctcl_hf.data.shards import write_shards

ROOT = Path(__file__).parents[2]
NAMES = ("ground", "tree", "sky")
SIZE = (24, 32)


def make_folder(root, count=5, size=SIZE):
    for split in ("train", "validation"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng(i)
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            ids = np.resize(np.array([0, 1, 2, 7], dtype=np.uint8), size)
            PIL.Image.fromarray(pixels).save(root / split / "images" / f"{i:04}.jpg")
            PIL.Image.fromarray(ids).save(root / split / "masks" / f"{i:04}.png")
    return root


@pytest.fixture
def data(tmp_path):
    return build_own(str(make_folder(tmp_path / "photos")), class_names=NAMES, label_map={7: 255})


def samples(data, split="train"):
    rows = data.samples(split, lambda *pair: pair)
    return [rows[i] for i in range(len(rows))]


def test_shards_read_as_the_source_does(data, tmp_path):
    report = write_shards(data, tmp_path / "shards")
    again = build_own(str(tmp_path / "shards"))
    assert again.class_names == data.class_names
    assert again.palette == data.palette
    assert again.label_map == {}  # mapped once
    for split in data.splits:
        for before, after in zip(samples(data, split), samples(again, split), strict=True):
            assert before["pixel_values"].equal(after["pixel_values"])
            assert before["labels"].equal(after["labels"])
    assert report.written == {"train": 5, "validation": 5}
    assert "| 0 ground " in (tmp_path / "shards" / "report.md").read_text()
    assert not list(tmp_path.glob("*.partial"))


def test_a_benchmark_is_scored_from_its_shards_as_from_its_files(data, tmp_path):
    import dataclasses

    benchmark = dataclasses.replace(
        data, protocol="sliding", prediction_ids=(7, 8, 11), image_size=(48, 64)
    )
    write_shards(benchmark, tmp_path / "shards")
    again = build_own(str(tmp_path / "shards"))
    assert (again.protocol, again.prediction_ids, again.image_size) == (
        "sliding",
        (7, 8, 11),
        (48, 64),
    )


def test_a_split_is_cut_into_shards_and_names_are_kept(data, tmp_path, monkeypatch):
    monkeypatch.setattr("ctcl_hf.data.shards.SHARD_BYTES", 100)
    monkeypatch.setattr("ctcl_hf.data.shards.ROW_GROUP", 2)
    report = write_shards(data, tmp_path / "shards")
    assert report.shards[:3] == [
        "train-00000.parquet",
        "train-00001.parquet",
        "train-00002.parquet",
    ]
    again = build_own(str(tmp_path / "shards"))
    assert len(again.splits["train"]) == 5
    assert again.samples("train", None).paths(4) == "0004.jpg and 0004.png"


def test_resized_shards_have_one_size_and_legal_ids(data, tmp_path):
    write_shards(data, tmp_path / "small", size=(12, 20))
    for sample in samples(build_own(str(tmp_path / "small"))):
        assert sample["pixel_values"].shape == (3, 12, 20)
        assert set(sample["labels"].unique().tolist()) <= {0, 1, 2, 255}


@pytest.fixture
def spoilt(tmp_path):
    root = make_folder(tmp_path / "spoilt")
    (root / "train" / "images" / "0001.jpg").write_bytes(b"nothing")
    PIL.Image.fromarray(np.full(SIZE, 99, dtype=np.uint8)).save(
        root / "train" / "masks" / "0003.png"
    )
    PIL.Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(
        root / "validation" / "masks" / "0002.png"
    )
    return root


BAD = ("train/images/0001.jpg", "train/masks/0003.png", "validation/masks/0002.png")


def test_every_bad_file_is_named_and_nothing_is_written(spoilt, tmp_path):
    report = write_shards(
        build_own(str(spoilt), class_names=NAMES, label_map={7: 255}), tmp_path / "shards"
    )
    assert all(any(name in str(problem) for problem in report.problems) for name in BAD)
    assert len(report.problems) == len(BAD)
    assert not (tmp_path / "shards").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_where_nothing_can_be_read_the_report_says_why_and_nothing_else(tmp_path):
    """Tables of zeros followed, and that masks without a palette hold no class."""
    root = make_folder(tmp_path / "coloured")
    masks = list(root.glob("*/masks/*.png"))
    for path in masks:
        PIL.Image.new("RGB", SIZE[::-1]).save(path)
    found = write_shards(build_own(str(root), class_names=NAMES), tmp_path / "shards").found(2)
    assert "Sizes" not in found and "share of pixels" not in found
    (told,) = (line for line in found.splitlines() if line.startswith("- "))
    assert told.startswith(f"- Bad mask of {len(masks)} samples, ") and told.count(".png") == 2


def test_bad_files_are_left_out_if_asked_and_still_named(spoilt, tmp_path):
    data = build_own(str(spoilt), class_names=NAMES, label_map={7: 255})
    write_shards(data, tmp_path / "shards", skip_bad=True)
    assert {
        split: len(rows) for split, rows in build_own(str(tmp_path / "shards")).splits.items()
    } == {
        "train": 3,
        "validation": 4,
    }
    told = (tmp_path / "shards" / "report.md").read_text()
    assert all(name in told for name in BAD)


def test_what_exists_is_never_overwritten(data, tmp_path):
    (tmp_path / "shards").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        write_shards(data, tmp_path / "shards")


def test_no_folder_of_the_users_is_deleted_or_written_to(data, tmp_path):
    """X.partial was deleted, whoever had made it, and two prepare.py wrote into one."""
    kept = tmp_path / "shards.partial"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    write_shards(data, tmp_path / "shards")
    assert (kept / "thesis.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".shards*"))


def test_of_two_on_one_output_the_second_keeps_what_it_wrote_apart(data, tmp_path, monkeypatch):
    from ctcl_hf.data import shards

    plain = shards._write_facts

    def late(*arguments):
        plain(*arguments)
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / "of-the-other").touch()

    monkeypatch.setattr(shards, "_write_facts", late)
    with pytest.raises(ValueError, match="has appeared meanwhile") as raised:
        write_shards(data, tmp_path / "shards")
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["of-the-other"]
    kept = Path(str(raised.value).rpartition(" ")[2].rstrip("."))
    assert len(build_own(str(kept)).splits["train"]) == 5


def test_what_a_kill_has_left_beside_the_folder_is_told_and_stays(data, tmp_path, caplog):
    """Every kill left a hidden folder, as large as the data, of which nobody was told."""
    left = tmp_path / ".shards-0a1b2c3d"
    for folder in (left, tmp_path / ".shards-of-mine", tmp_path / ".other-0a1b2c3d"):
        folder.mkdir()
    write_shards(data, tmp_path / "shards")
    assert f"{left}: of a `ctcl-hf prepare` of this folder that was killed" in caplog.text
    assert "of-mine" not in caplog.text and "other" not in caplog.text.replace(str(tmp_path), "")
    assert left.is_dir()


def test_a_split_that_would_be_empty_is_refused(data, spoilt, tmp_path):
    for path in spoilt.glob("validation/masks/*"):
        path.write_bytes(b"")
    bad = build_own(str(spoilt), class_names=NAMES, label_map={7: 255})
    with pytest.raises(
        ValueError, match=r"No image of validation can be used\. .*the file is empty"
    ):
        write_shards(bad, tmp_path / "shards", skip_bad=True)
    assert not list(tmp_path.glob("*shards*"))


def test_shards_of_a_palette_with_black_in_it_are_read_by_id(tmp_path):
    """Their colours are for the eye: 255 and a class may both be black."""
    folder = make_folder(tmp_path / "photos")
    (folder / "palette.json").write_text(
        json.dumps({"ground": [0, 0, 0], "tree": [0, 99, 0], "sky": [0, 0, 99]})
    )
    data = build_own(str(folder), label_map={7: 255})
    write_shards(data, tmp_path / "shards")
    again = build_own(str(tmp_path / "shards"))
    assert again.palette == data.palette
    for before, after in zip(samples(data), samples(again), strict=True):
        assert before["labels"].equal(after["labels"])


def test_what_is_to_be_looked_at_is_in_the_report(tmp_path):
    folder = make_folder(tmp_path / "photos")
    for path in folder.glob("train/masks/*"):
        PIL.Image.fromarray(np.resize(np.array([0, 255], dtype=np.uint8), SIZE)).save(path)
    told = str(
        write_shards(
            build_own(str(folder), class_names=NAMES, label_map={7: 255}), tmp_path / "shards"
        )
    )
    assert "5 images of validation are the same files as images of train" in told
    assert "hold ground alone, of 3 classes" in told and "--label_map 255:1" in told


def test_the_example_writes_shards_with_a_report(tmp_path):
    folder = make_folder(tmp_path / "photos")
    done = run(
        "prepare.py",
        folder,
        "--class_names",
        *NAMES,
        "--label_map",
        "7:255",
        "--out",
        tmp_path / "shards",
    )
    assert done.returncode == 0, done.stderr
    assert "| train      |      5 |   0 |" in done.stdout
    assert json.loads((tmp_path / "shards" / "id2label.json").read_text()) == {
        "0": "ground",
        "1": "tree",
        "2": "sky",
    }


def test_the_example_ends_in_one_sentence_if_files_are_bad(spoilt, tmp_path):
    done = run(
        "prepare.py",
        spoilt,
        "--class_names",
        *NAMES,
        "--label_map",
        "7:255",
        "--out",
        tmp_path / "shards",
    )
    assert done.returncode == 1
    assert all(name in done.stdout for name in BAD)
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("prepare.py: error: 3 bad files, listed above")
    )


PEAK = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from ctcl_hf.data import build_own
from ctcl_hf.data.shards import write_shards
data = build_own(sys.argv[1], class_names=["a", "b", "c"], label_map={7: 255})
write_shards(data, Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    """A thousand images take as much as two hundred, to a few megabytes."""
    peaks = []
    for count in (100, 500):
        folder = make_folder(tmp_path / str(count), count, (96, 128))  # in each of two splits
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(folder), str(tmp_path / f"shards-{count}")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    pixels = 800 * 96 * 128 * 4 / 2**20  # what holding the other images would take
    assert pixels > 35
    assert peaks[1] - peaks[0] < 15, peaks


def test_what_does_not_pair_and_what_cannot_be_read_are_told_at_once(tmp_path):
    """The broken file was told in a second round, after the unpaired ones were mended."""
    folder = make_folder(tmp_path / "photos")
    (folder / "train" / "masks" / "0001.png").unlink()
    (folder / "train" / "images" / "0002.jpg").write_bytes(b"no image")
    command = ("prepare.py", folder, "--class_names", *NAMES, "--label_map", "7:255")
    done = run(*command, "--out", tmp_path / "shards")
    assert done.returncode == 1 and not (tmp_path / "shards").exists()
    assert "1 image without a mask" in done.stderr and "0002.jpg" in done.stderr
    kept = run(*command, "--out", tmp_path / "shards", "--skip_bad")
    assert kept.returncode == 0, kept.stderr
    # which the cards of students that are trained on them did not say
    assert build_own(str(tmp_path / "shards")).unusable == 2
    # The card counted the bad one, above a table without it.
    for file in ("README.md", "report.md"):
        told = (tmp_path / "shards" / file).read_text()
        assert "photos: train 3, validation 5 images" in told and "left out as bad: 1 of" in told


def test_files_are_read_though_nothing_names_the_classes(tmp_path):
    """Class names were asked for, and then bad files were told of."""
    folder = make_folder(tmp_path / "photos")
    odd = np.full(SIZE, 9, dtype=np.uint8)
    odd[0] = np.resize([0, 1, 2, 7, 255], SIZE[1])
    PIL.Image.fromarray(odd).save(folder / "train" / "masks" / "0003.png")
    (folder / "train" / "masks" / "0001.png").unlink()
    (folder / "train" / "images" / "0002.jpg").write_bytes(b"no image")
    for leaving_out in ((), ("--skip_bad",)):
        done = run("prepare.py", folder, "--out", tmp_path / "shards", *leaving_out)
        assert done.returncode == 1 and not (tmp_path / "shards").exists()
        assert ("1 image without a mask" in done.stderr) is not bool(leaving_out)
        assert "What are the classes of " in done.stderr and "0002.jpg" in done.stderr
        # by which they can be named
        assert "The masks hold the ids 0, 1, 2, 7, 9 (in " in done.stderr
        assert "0003.png)." in done.stderr


def test_images_without_masks_do_not_count_where_ids_are_told(data):
    """Of an unlabelled split, every id was said to be in some masks alone."""
    unlabelled = data.splits["validation"].remove_columns("label")
    _, ids, masks = replace(data, splits=data.splits | {"test": unlabelled}).told_by_files()
    assert masks == 10 and ids.told(masks) == ["0", "1", "2"]


def test_what_keeps_files_from_being_read_is_told_beside_what_is_lacking(tmp_path):
    """Of masks of colours without a palette, nothing can be said but that."""
    folder = make_folder(tmp_path / "photos")
    for mask in folder.rglob("*.png"):
        PIL.Image.new("RGB", SIZE[::-1], (3, 2, 1)).save(mask)
    done = run("prepare.py", folder, "--out", tmp_path / "shards")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "What are the classes of " in done.stderr
    assert "Say what its colours mean: --palette" in done.stderr


def test_a_folder_called_as_a_benchmark_is_not_taken_for_it(tmp_path):
    """A folder here called voc was answered with "--dataset voc cannot be downloaded"."""
    make_folder(tmp_path / "voc")
    done = run("prepare.py", "voc", "--out", "shards", cwd=tmp_path)
    assert done.returncode == 2 and "say ./voc for the folder, or --data_dir" in done.stderr
    meant = run(
        *("prepare.py", "./voc", "--class_names", *NAMES, "--label_map", "7:255"),
        *("--out", "shards"),
        cwd=tmp_path,
    )
    assert meant.returncode == 0, meant.stderr
    # Cards said that students were trained and scored on voc.
    data = build_own(str(tmp_path / "voc"), class_names=NAMES, label_map={7: 255})
    assert data.name == "own-voc"
