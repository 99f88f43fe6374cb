"""`ctcl-hf review`: whom it asks about which images, and what it refuses in a sentence."""

import csv
import json
import sys

import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from helpers.pictures import picture

from ctcl_hf.cli import review as command
from ctcl_hf.data.shards import write_shards

SIZE = (32, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run on data of its own, a student alone, and images without labels."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("review")
    for folder, make in (("run/cnn", make_cnn), ("run/vit", make_vit), ("other/vit", make_vit)):
        make(size=SIZE).save_pretrained(str(root / folder))
    make_vit(2, size=SIZE).save_pretrained(str(root / "two_classes"))
    write_shards(make_data(2, 3, SIZE), root / "shards")
    recorded = {"command": f"ctcl-hf train --dataset_name {root / 'shards'} --seed 1"}
    (root / "run" / "run.json").write_text(json.dumps(recorded))
    for number in range(3):
        picture(root / "photos" / "below" / f"{number}.jpg", number, (40, 50))
    (root / "notes.txt").write_text("no image")
    return root


def review(monkeypatch, root, *arguments):
    monkeypatch.chdir(root)
    argv = ["ctcl-hf review", *map(str, arguments), "--use_cpu", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", argv)
    command.main()


def images(table):
    return sorted(row["image"] for row in csv.DictReader(table.read_text().splitlines()))


def test_a_run_is_asked_about_its_own_data_and_the_review_lies_beside_it(root, monkeypatch, capsys):
    review(monkeypatch, root, "run")
    assert images(root / "run" / "review" / "review.csv") == ["000000", "000001", "000002"]
    said = capsys.readouterr().out
    assert "shards: train 2, validation 3" in said and "Looked at: whole images at 32x48" in said
    assert "run/review/review.html" in said


def test_two_students_that_are_called_alike_are_asked_about_a_split(root, monkeypatch, tmp_path):
    review(
        monkeypatch,
        root,
        "--model",
        "run/vit",
        "other/vit",
        "--dataset_name",
        "shards",
        *("--split", "train", "--output_dir", tmp_path, "--top", "1"),
    )
    assert images(tmp_path / "review.csv") == ["000000", "000001"]
    assert "1 of 2 images" in (tmp_path / "review.html").read_text()


def test_images_without_labels_need_no_cleanlab(root, monkeypatch, tmp_path):
    monkeypatch.setattr("ctcl_hf.base.extras.find_spec", lambda module: None)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    review(
        monkeypatch,
        root,
        "run",
        "--images",
        "photos",
        "photos/below/1.jpg",
        *("--output_dir", tmp_path),
    )
    assert images(tmp_path / "review.csv") == ["0", "1", "2"]


def test_a_missing_cleanlab_is_told_before_a_student_is_loaded(root, monkeypatch):
    monkeypatch.setattr("ctcl_hf.base.extras.find_spec", lambda module: None)
    monkeypatch.setattr("ctcl_hf.scoring.predict.load_for_inference", None)
    with pytest.raises(SystemExit, match=r"error: cleanlab not installed: pip install 'ctcl-hf\["):
        review(monkeypatch, root, "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either the folder of a run, or --model CNN VIT."),
        (["run", "--model", "run/cnn", "run/vit"], "expected either the folder of a run, or"),
        (["--model", "run/cnn"], "--model run/cnn: expected two students."),
        (["run/cnn"], "run/cnn: expected two students, got 1."),
        (
            ["--model", "run", "run/vit"],
            "run run/vit: expected a student each, and no run.",
        ),
        (["--model", "run/vit", "run/vit"], "run/vit is given twice: give each model once"),
        (["run", "--split", "test"], "--split test: shards has train, validation."),
        (["run", "--top", "0"], "--top 0: expected at least 1."),
        (["run", "--image_size", "3"], "--image_size 3: expected HEIGHT WIDTH,"),
        (["run", "--images", "gone"], "gone: no image there."),
        (["run", "--images", "notes.txt"], "notes.txt: Pillow cannot identify it as an image"),
        (["run", "--images", "photos", "--split", "test"], "--split is of a data set"),
        (["run", "--images", "photos", "--dataset", "synthetic"], "--images are no data set"),
        (["--model", "run/vit", "two_classes", "--images", "photos"], "The model knows 2 classes"),
        (["nowhere"], "nowhere is neither a student's folder nor a model on the Hub"),
    ],
)
def test_what_cannot_be_reviewed_ends_in_one_sentence(
    root, monkeypatch, capsys, arguments, message
):
    with pytest.raises(SystemExit) as ended:
        review(monkeypatch, root, *arguments)
    assert message in f"{ended.value}{capsys.readouterr().err}"
