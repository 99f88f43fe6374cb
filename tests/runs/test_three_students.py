"""Three students, a CNN, a ViT and a hybrid, from the command line to all that a run leaves."""

import csv
import json
import shutil

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.commands import SMALL, run
from safetensors.torch import load_file

from ctcl_hf.publishing.card import write_cards
from ctcl_hf.publishing.hub import Repository
from ctcl_hf.runs.files import FIGURE_FILE

STUDENTS = ("mobilenetv2_035", "nvidia/mit-b0", "mobilevitv2_050")
NAMES = ("cnn", "vit", "hybrid")
STEPS = ("--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps")
THREE = (*SMALL, *STEPS, "--save_steps", "2", "--students", *STUDENTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four steps, and in `half` the first two of them."""
    folder = tmp_path_factory.mktemp("three")
    done = run("run_ctcl.py", *THREE, "--max_steps", "4", "--output_dir", str(folder / "run"))
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def test_a_run_of_three_ends_as_one_of_two(finished):
    folder, done = finished
    for name in NAMES:
        assert (folder / name / "model.safetensors").is_file() and f"| {name} " in done.stdout
    for picture in (FIGURE_FILE, "curves.png", "extremes.png"):
        assert PIL.Image.open(folder / picture).size[0] > 400
    facts = json.loads((folder / "results.json").read_text())
    assert list(facts["scores"]["validation"]["students"]) == list(NAMES)
    state = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    for term in ("ce", "hfd", "region", "pixel", "teaches_pixels", "groups"):
        assert all(f"{term}_{name}" in state[0] for name in NAMES), term
    (told,) = {tuple(log["class_groups"]) for log in state if "class_groups" in log}
    assert set(told) == {f"{a} from {b}" for a in NAMES for b in NAMES if a != b}
    page = (folder / "report.html").read_text()
    assert all(f"<th>{name}</th>" in page for name in NAMES)
    assert "ctcl-hf review" not in done.stdout  # which ranks by two students' disagreement
    assert "score all students, and their mean" in done.stdout


def test_each_of_three_cards_names_both_siblings_and_their_scores(finished, tmp_path):
    folder, _ = finished
    text = (folder / "vit" / "README.md").read_text()
    assert "mobilenetv2_035" in text and "mobilevitv2_050" in text
    assert "each learning from the others" in text
    assert all(f"| its sibling {name}, validation |" in text for name in ("cnn", "hybrid"))
    copy = shutil.copytree(folder, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    write_cards(copy, record, {"cnn": Repository("me/x-cnn"), "vit": Repository("me/x-vit")})
    assert "](https://huggingface.co/me/x-cnn) and " in (copy / "vit" / "README.md").read_text()


def test_three_students_go_on_from_a_checkpoint_bit_for_bit(finished, tmp_path):
    folder, _ = finished
    arguments = (*THREE, "--output_dir", str(tmp_path / "run"))
    shutil.copytree(folder / "checkpoint-2", tmp_path / "run" / "checkpoint-2")
    shutil.copy(folder / "run.json", tmp_path / "run")
    done = run("run_ctcl.py", *arguments, "--max_steps", "4", "--resume_from_checkpoint", "auto")
    assert done.returncode == 0, done.stderr
    for file in (*(f"{name}/model.safetensors" for name in NAMES), "objective.safetensors"):
        ours, theirs = (load_file(at / file) for at in (tmp_path / "run", folder))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), file


def test_a_run_of_three_is_scored_and_predicts_as_the_mean_of_all(finished, tmp_path):
    folder, _ = finished
    options = ("--use_cpu", "--output_dir", str(tmp_path / "scores"))
    done = run("score.py", str(folder), *options)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} " in done.stdout for name in (*NAMES, "mean"))
    PIL.Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "street.png")
    images = (str(tmp_path / "street.png"), "--model", str(folder), "--save", "mask", "--use_cpu")
    done = run("predict.py", *images, "--output_dir", str(tmp_path / "masks"))
    assert done.returncode == 0, done.stderr
    assert PIL.Image.open(tmp_path / "masks" / "mask" / "street.png").size == (64, 48)


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("review.py", ("RUN",), "expected two students, got 3. Give the folder of a run of two"),
        (
            "push_space.py",
            ("me/x", "RUN/cnn", "RUN/vit", "RUN/hybrid"),
            "expected a run, two students, or a Space and two, got me/x",
        ),
        (
            "run_ctcl.py",
            ("--method", "dml", "--students", "a", "b", "c"),
            "--students a b c: --method dml is defined for two students; vanilla and ctcl",
        ),
        (
            "run_ctcl.py",
            (*THREE, "--teachers", "RUN", "--output_dir", "RUN/x"),
            "holds a teacher for each of two students, and these are 3",
        ),
        (
            "compare.py",
            ("--methods", "dml", "--pair", "a+b", "a+b+c", "--output_dir", "RUN/y"),
            "--method dml is defined for two students",
        ),
    ],
)
def test_what_is_defined_for_two_students_refuses_three_in_a_sentence(
    finished, script, arguments, message
):
    folder, _ = finished
    done = run(script, *(word.replace("RUN", str(folder)) for word in arguments))
    assert done.returncode != 0 and message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_grid_of_three_students_has_tables_and_pictures_of_three(tmp_path):
    pair = "mobilenetv2_035+mit-b0+mobilevitv2_050"
    options = ("--max_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2")
    command = ("--methods", "ctcl", "--pair", pair, *SMALL, *options, "--block_length", "1")
    done = run("compare.py", *command, "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["Vanilla", "CTCL"]
    assert rows[1]["third"] == "hybrid (mobilevitv2_050)" and rows[1]["third_gain"]
    for name, own in zip(NAMES, pair.split("+"), strict=True):
        assert f"{name} ({own})" in (tmp_path / "table.md").read_text()
    for kind in ("curves", "classes", "figure"):
        assert PIL.Image.open(tmp_path / f"{kind}-{pair}.png").size[0] > 400
    assert "the sum of all" in (tmp_path / "report.html").read_text()
