"""What commands say of folders that hold no student."""

import sys

import PIL.Image
import pytest

from ctcl_hf.cli import evaluate, export, predict, push
from ctcl_hf.cli.students import refuse_without_students


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
    return tmp_path


SAID = {
    "begun": "begun holds no students yet: .* There is no checkpoint either.",
    "half": "half holds no students yet: .* of a checkpoint, such as half/checkpoint-4/cnn.",
    "grid": r"grid is the folder of a comparison: .* such as grid/a\+b/seed-1/dml/cnn\.",
    "new": "new is the folder of a comparison: none of its runs is finished yet.",
}
COMMANDS = {
    evaluate: ["FOLDER"],
    predict: ["street.png", "--model", "FOLDER"],
    export: ["FOLDER", "--output", "a.onnx"],
    push: ["FOLDER"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("folder", SAID)
def test_a_folder_without_students_is_answered_by_what_to_give_instead(
    command, folder, runs, monkeypatch
):
    """They said that it was no model on the Hub either, at length."""
    PIL.Image.new("RGB", (8, 8)).save("street.png")
    words = [folder if word == "FOLDER" else word for word in COMMANDS[command]]
    monkeypatch.setattr(sys, "argv", ["ctcl-hf command", *words])
    with pytest.raises(SystemExit, match=SAID[folder]) as ended:
        command.main()
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize("name", ["done", "done/cnn", "grid/a+b/seed-1/dml", "user/model"])
def test_students_runs_and_names_on_the_hub_pass(name, runs):
    refuse_without_students(name)
