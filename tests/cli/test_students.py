"""What commands say of folders that hold no student, and of what else they cannot use."""

import re
import sys

import PIL.Image
import pytest

from ctcl_hf.cli import compare, evaluate, export, predict, prepare, push, release, review, space
from ctcl_hf.cli.ending import told_with_data
from ctcl_hf.cli.students import named_students, refuse_without_students
from ctcl_hf.data import BadSample


def make(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "begun", "run.json", "data.json")
    make(tmp_path / "half", "run.json", "checkpoint-4/run.json", "checkpoint-9/broken")
    make(tmp_path / "half", "checkpoint-4/cnn/config.json", "checkpoint-4/vit/config.json")
    make(tmp_path / "grid", "grid.json", "a+b/seed-1/dml/cnn/config.json")
    make(tmp_path / "new", "grid.json", "a+b/seed-1/dml/run.json")
    make(tmp_path / "done", "run.json", "cnn/config.json", "vit/config.json")
    make(tmp_path / "several", "first/run.json", "first/cnn/config.json", "second/run.json")
    make(tmp_path / "copied", "config.json")
    make(tmp_path / "other", "notes.txt")
    make(tmp_path, "file")
    (tmp_path / "empty").mkdir()
    return tmp_path


SAID = {
    "begun": "begun holds no students yet: .* There is no checkpoint either.",
    "half": "half holds no students yet: .* of a checkpoint: give half/checkpoint-4.",
    "grid": r"grid is the folder of a comparison: .* such as grid/a\+b/seed-1/dml/cnn\.",
    "new": "new is the folder of a comparison: none of its runs is finished yet.",
    "several": "several holds runs, and is none: give one, such as several/first, or",
    "empty": "empty is an empty folder: give the folder of a student, such as .* of its run.",
    "other": "other holds no config.json: give the folder of a student, such as .* of its run.",
    "file": "file is a file: give the folder of a student.",
}
COMMANDS = {
    evaluate: ["FOLDER"],
    predict: ["street.png", "--model", "FOLDER"],
    export: ["FOLDER", "--output", "a.onnx"],
    push: ["FOLDER"],
    release: ["FOLDER"],
    review: ["FOLDER"],
    space: ["FOLDER"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("folder", SAID)
def test_a_folder_without_students_is_answered_by_what_to_give_instead(
    command, folder, runs, monkeypatch
):
    """They said that it was no model on the Hub either, or lacked a model_type, at length."""
    PIL.Image.new("RGB", (8, 8)).save("street.png")
    words = [folder if word == "FOLDER" else word for word in COMMANDS[command]]
    monkeypatch.setattr(sys, "argv", ["ctcl-hf command", *words])
    with pytest.raises(SystemExit, match=SAID[folder]) as ended:
        command.main()
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (push, ["copied"], "copied is one student: give the folder of the run above it, /"),
        (push, ["done/cmn"], "done/cmn: there is no such folder. Did you mean done/cnn?"),
        (evaluate, ["copied"], "copied: no run lies beside it .* Give --dataset NAME, or"),
        (
            space,
            ["me/x", "done/cnn", "done/vit"],
            "done/cnn is no USER/STUDENT .* ctcl-hf space done/cnn done/vit",
        ),
        (space, ["me/x", "../cnn", "../vit"], "../cnn is no USER/STUDENT of the Hub"),
        (space, ["copied"], "copied: expected the folder of a run of two students."),
        (space, ["done/cnn", "../none"], "../none: there is no such folder"),
        (export, ["copied", "--output", "x.txt"], "--output x.txt: .* ends in .onnx."),
        (export, ["copied", "--output", "file/x.onnx"], "--output file/x.onnx: file is a file"),
        (predict, ["street.png", "--model", "copied", "--output_dir", "file"], "is a file: give a"),
        (evaluate, ["copied", "--output_dir", "file"], "--output_dir file is a file: give a f"),
        (evaluate, ["copied", "--predictions", "file"], "--predictions file is a file: give a f"),
        (review, ["done", "--output_dir", "file"], "--output_dir file is a file: give a folder."),
        (
            compare,
            ["--table", "3", "--output_dir", "file"],
            "--output_dir file is a file: give a folder.",
        ),
        (compare, ["--report_only", "--output_dir", "done"], "is the folder of a run: ctcl-hf rep"),
        (prepare, ["copied", "--out", "file/x"], "--out file/x: file is a file, and no folder."),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_loaded_or_asked(
    command, words, message, runs, monkeypatch
):
    """Some logged in first, downloaded CamVid, or worked for minutes."""
    PIL.Image.new("RGB", (8, 8)).save("street.png")
    # first, lest it be imported below and keep what stands there meanwhile
    monkeypatch.setattr("ctcl_hf.scoring.scorer.load_for_inference", None)
    monkeypatch.setattr("ctcl_hf.scoring.predict.load_for_inference", None)
    monkeypatch.setattr("ctcl_hf.arguments.data.DatasetArguments.load", None)
    monkeypatch.setattr("ctcl_hf.publishing.hub.check_access", None)
    monkeypatch.setattr(sys, "argv", ["ctcl-hf command", *words])
    with pytest.raises(SystemExit, match=message) as ended:
        command.main()
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize("name", ["done", "done/cnn", "grid/a+b/seed-1/dml", "user/model"])
def test_students_runs_and_names_on_the_hub_pass(name, runs):
    refuse_without_students(name)


def test_a_model_that_is_named_twice_is_no_pair(runs):
    """Its probabilities were averaged with themselves."""
    with pytest.raises(ValueError, match="done/cnn is given twice: give each model once"):
        named_students(["done/cnn", "./done/../done/cnn"])


def test_ids_that_the_model_does_not_know_are_told_with_the_way_to_say_what_they_are():
    """--skip_bad alone was named, which would leave out nearly all of data with other classes."""
    with pytest.raises(SystemExit) as end, told_with_data():
        raise BadSample("Bad mask of sample 0 (a.png): Masks must hold class ids 0..7, got [8].")
    assert re.search(
        r"got \[8\]\. If these are data .* --label_map .* bad file: --skip_bad\.$", end.value.code
    )
