"""`ctcl-hf evaluate`: any model on any data by any protocol, what it writes, and that it hides no
library.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from accelerate import Accelerator
from conftest import CLASSES, make_cnn, make_data, make_other, make_vit
from helpers.commands import run

from ctcl_hf.cli import evaluate as command
from ctcl_hf.data.shards import write_shards
from ctcl_hf.scoring.protocols import Protocol
from ctcl_hf.scoring.scorer import Scorer, class_order, saved_students

ROOT = Path(__file__).parents[2]
SIZE = (64, 96)


@pytest.fixture(scope="module")
def data():
    return make_data(2, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    """Two students, one of which numbers its classes otherwise, and the data as shards."""
    torch.manual_seed(0)  # before a test's own seed: made for the module
    root = tmp_path_factory.mktemp("evaluate")
    make_cnn(size=SIZE).save_pretrained(str(root / "cnn"))
    make_vit(size=SIZE).save_pretrained(str(root / "vit"))
    make_other(size=SIZE).save_pretrained(str(root / "other"))
    write_shards(data, root / "shards")
    return root


def test_it_prints_and_writes_what_was_evaluated_and_how(folder, tmp_path):
    done = run(
        "score.py",
        folder / "vit",
        "--dataset_name",
        folder / "shards",
        "--workers",
        0,
        "--use_cpu",
        "--output_dir",
        tmp_path / "out",
        "--predictions",
        tmp_path / "png",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["images"] == 5
    assert told["labelled_pixels"] == 5 * 60 * 96  # a band of 4 rows has no label
    assert told["protocol"] == "whole images at 64x96"
    assert told["classes"] == "matched by name"
    assert told["split"] == "validation"
    text = (tmp_path / "out" / "results.md").read_text()
    assert (
        "validation: 5 images, 28800 labelled pixels. Scored: whole images at 64x96, in float32."
        in text
    )
    assert f"{100 * told['scores']['vit']['mean_iou']:.2f}" in text
    assert text[text.index("| validation (%)") :] in done.stdout
    assert PIL.Image.open(tmp_path / "out" / "worst.png").size[0] > 500
    assert len(list((tmp_path / "png").glob("*.png"))) == 5


@pytest.fixture(scope="module")
def run_folder(folder, tmp_path_factory):
    """A run's two students, that number their classes otherwise."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(folder / "vit", root / "vit")
    shutil.copytree(folder / "cnn", root / "cnn")
    config = json.loads((root / "cnn" / "config.json").read_text())
    config |= {
        "id2label": {"0": "right", "1": "left", "2": "dot"},
        "label2id": {"right": 0, "left": 1, "dot": 2},
    }
    (root / "cnn" / "config.json").write_text(json.dumps(config))
    return root


def test_a_runs_folder_scores_both_students_and_the_mean_of_their_probabilities(
    run_folder, data, tmp_path
):
    students = saved_students(str(run_folder))
    protocol = Protocol(image_size=SIZE)
    scorer = Scorer(students, data, Accelerator(cpu=True))
    # others round otherwise
    scored = scorer.score("validation", protocol, batch_size=1, predictions=tmp_path)
    assert list(scored) == ["cnn", "vit", "pair"]
    samples = data.samples("validation", protocol.transform)
    right = total = 0
    for number in range(len(samples)):
        pixels, labels = samples[number]["pixel_values"], samples[number]["labels"].long()
        with torch.no_grad():
            own = [students[name].logits(pixels[None]) for name in ("cnn", "vit")]
        own[0] = own[0][:, [1, 0, 2]]
        mean = sum(
            torch.nn.functional.interpolate(logits, SIZE, mode="bilinear").softmax(1)
            for logits in own
        )
        ids = mean.argmax(1)[0]
        right += int((ids == labels)[labels != 255].sum())
        total += int((labels != 255).sum())
        assert np.array_equal(
            np.asarray(PIL.Image.open(tmp_path / "pair" / f"{number:06}.png")), ids
        )
    assert scored["pair"].scores.overall_accuracy == pytest.approx(right / total)
    for name in ("cnn", "vit"):
        alone = Scorer({name: students[name]}, data, Accelerator(cpu=True))
        assert scored[name].scores == alone.score("validation", protocol, batch_size=1)[name].scores


@pytest.mark.parametrize(
    ("recorded", "given", "named"),
    [
        ("--recipe demo", "", "drawn street scenes"),
        ("--recipe demo --dataset_name shards --students a b", "", "shards"),
        ("--recipe demo", "--dataset_name shards", "shards"),
        ("--recipe demo", "--dataset-name=shards", "shards"),
        ("--dataset fields.py:Fields", "", "say --dataset fields.py:Fields"),
    ],
)
@pytest.mark.parametrize("part", ["", "cnn"])
def test_what_a_run_has_trained_is_scored_on_its_own_data_unless_others_are_named(
    run_folder, folder, tmp_path, monkeypatch, recorded, given, named, part
):
    """`ctcl-hf evaluate RUN` asked for CamVid, whatever the run had been trained on."""
    asked = []

    def load(self, names=(), needs_validation=True):
        asked.append(self.dataset_name or {"synthetic": "drawn street scenes"}[self.dataset])
        raise OSError("enough")

    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "run.json").write_text(json.dumps({"command": f"ctcl-hf train {recorded} --seed 1"}))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(command.DatasetArguments, "load", load)
    argv = ["ctcl-hf", str(run / part), *given.split(), "--use_cpu"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert asked == [named] or (not asked and named in str(ended.value))


def test_it_is_said_where_the_run_had_scored_a_part_of_the_images(
    run_folder, tmp_path, monkeypatch, capsys
):
    run = shutil.copytree(run_folder, tmp_path / "run")
    command_line = "ctcl-hf train --recipe demo --max_eval_samples 12"
    (run / "run.json").write_text(json.dumps({"command": command_line}))
    monkeypatch.setattr(sys, "argv", ["ctcl-hf", str(run), "--use_cpu", "--split", "none"])
    with pytest.raises(SystemExit):
        command.main()
    assert "The run scored a part of the images (--max_eval_samples)" in capsys.readouterr().out


def test_a_runs_folder_has_one_table_and_data_without_names_take_the_models(
    run_folder, data, tmp_path, monkeypatch, capsys
):
    for split in ("train", "validation"):
        for kind, column in (("images", "image"), ("masks", "label")):
            (tmp_path / "photos" / split / kind).mkdir(parents=True)
            for number, row in enumerate(data.splits[split]):
                row[column].save(tmp_path / "photos" / split / kind / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        ["score.py", str(run_folder), "--dataset_name", "photos", "--use_cpu", "--workers", "0"],
    )
    command.main()
    said = capsys.readouterr().out
    assert "classes as the model names them" in said
    header = next(line for line in said.splitlines() if line.startswith("| validation (%)"))
    assert header.replace(" ", "") == "|validation(%)|cnn|vit|pair|"
    assert "| right" in said
    assert said.count("photos: ") == 1, "what data it is was said twice"
    (out,) = (run_folder / "evaluation").iterdir()
    assert out.name == "photos-validation"
    assert {path.name for path in out.iterdir()} == {
        *("results.json", "results.md", "worst-cnn.png", "worst-vit.png", "worst-pair.png")
    }


def test_a_protocol_given_on_the_command_line_is_used_in_bfloat16(folder, tmp_path):
    done = run(
        "score.py",
        folder / "cnn",
        "--dataset_name",
        folder / "shards",
        "--workers",
        0,
        "--use_cpu",
        "--bf16",
        "--protocol",
        "sliding",
        "--window",
        32,
        "--scales",
        0.5,
        1.0,
        "--flip",
        "--output_dir",
        tmp_path,
        "--worst",
        0,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["protocol"] == (
        "sliding window of 32x32, stride 22x22, over images at 64x96, scales 0.5, 1, mirrored too"
    )
    assert told["precision"] == "bfloat16 autocast"
    assert not (tmp_path / "worst.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [".", "--dataset", "synthetic"],
            ". holds 3 models (cnn, other, vit), which are not the students of one run.",
        ),
        (
            ["nowhere", "--dataset", "synthetic"],
            "nowhere is neither a student's folder nor a model on the Hub",
        ),
        (
            ["cnn", "--dataset_name", "shards", "--split", "test"],
            "--split test: shards has train, validation.",
        ),
        (
            ["cnn", "--dataset", "synthetic"],
            "The model knows 3 classes, the data has 8: left, right, dot in the model alone; Sky, "
            "Building, Pole, Road, ... 8 in all in the data alone. A model is scored on its own "
            "classes. Where these are data of your own, name the model's (--class_names)",
        ),
        (
            [
                "cnn",
                "--dataset_name",
                "shards",
                "--protocol",
                "centre_crop",
                "--predictions",
                "png",
            ],
            "--predictions wants whole images",
        ),
        (
            ["cnn", "--dataset_name", "shards", "--stride", "8"],
            "--stride has no effect on --protocol whole",
        ),
        (
            ["cnn", "--batch_size", "0", "--protocol", "middle"],
            "--batch_size 0: expected at least 1.",
        ),
    ],
)
def test_what_cannot_be_evaluated_ends_in_one_sentence(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["score.py", *arguments, "--use_cpu", "--workers", "0"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert message in f"{ended.value}{capsys.readouterr().err}"


@pytest.mark.parametrize("make", [make_cnn, make_vit, make_other])
def test_scores_are_those_of_the_trainers_evaluation(folder, data, make):
    """The same images, the same path: a student's released folder scores what its run reported."""
    from ctcl_hf import CTCLArguments, CTCLTrainer, StudentPair, Vanilla, load_student

    name = make.__name__.removeprefix("make_")
    students = {
        n: load_student(str(folder / n), CLASSES, SIZE)
        for n in (name, "vit" if name != "vit" else "cnn")
    }
    protocol = Protocol("sliding", SIZE, (48, 64))
    trainer = CTCLTrainer(
        StudentPair(students, Vanilla(*students.values())),
        CTCLArguments(str(folder / "run"), use_cpu=True, report_to=[]),
        eval_dataset=data.samples("validation", protocol.transform),
        protocol=protocol,
    )
    expected = trainer.evaluate()
    scorer = Scorer(saved_students(str(folder / name)), data, Accelerator(cpu=True))
    scores, images = scorer.score("validation", protocol)[name]
    assert scores.mean_iou == pytest.approx(expected[f"eval_{name}_mean_iou"], abs=1e-12)
    assert len(images) == 5


def test_classes_are_brought_into_the_datas_order(folder, data):
    turned = dataclasses.replace(
        data, class_names=("dot", "LEFT", "right"), label_map={2: 0, 0: 1, 1: 2}
    )
    accelerator = Accelerator(cpu=True)
    students, protocol = saved_students(str(folder / "vit")), Protocol(image_size=SIZE)
    straight, _ = Scorer(students, data, accelerator).score("validation", protocol)["vit"]
    scores, _ = Scorer(students, turned, accelerator).score("validation", protocol)["vit"]
    for name in CLASSES:
        other = "LEFT" if name == "left" else name
        assert scores.ious.get(other) == pytest.approx(straight.ious.get(name))


def test_how_classes_were_matched_is_said():
    assert class_order(["b", "A"], ["a", "b"]) == ([1, 0], "matched by name")
    order, note = class_order(["a", "c"], ["a", "b"])
    assert order == [0, 1]
    assert note == "matched by number, since the model has other names (1: c for b)"
    with pytest.raises(
        ValueError, match="The model knows b by another number than the data, but lacks other names"
    ):
        class_order(["b", "c"], ["a", "b"])
    with pytest.raises(ValueError, match="The model knows 1 classes"):
        class_order(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("model", "data", "order"),
    [
        (["Ground", "Sign", "sign"], ["Ground", "Sign", "sign"], [0, 1, 2]),
        (["Ground", "sign", "Sign"], ["Ground", "Sign", "sign"], [0, 2, 1]),
        (["Ground", "Sign", "sign"], ["ground", "Sign", "sign"], [0, 1, 2]),
    ],
)
def test_names_that_differ_by_case_alone_are_classes_of_their_own(model, data, order):
    """Both read one output of the model, and one of its outputs was never read."""
    assert class_order(model, data)[0] == order


def test_a_name_that_only_case_tells_apart_is_not_guessed():
    with pytest.raises(ValueError, match="The model knows Sign, sign by another number"):
        class_order(["Ground", "sign", "Sign"], ["ground", "Sign", "sign"])


def test_predictions_are_written_as_the_benchmark_wants_them(folder, data, tmp_path):
    accelerator, protocol = Accelerator(cpu=True), Protocol(image_size=SIZE)
    students = saved_students(str(folder / "vit"))
    Scorer(students, data, accelerator).score("validation", protocol, predictions=tmp_path / "ours")
    ids = dataclasses.replace(data, prediction_ids=(7, 11, 33))
    Scorer(students, ids, accelerator).score(
        "validation", protocol, predictions=tmp_path / "theirs"
    )
    for number in range(5):
        ours = PIL.Image.open(tmp_path / "ours" / f"{number:06}.png")
        assert ours.mode == "P"
        assert ours.getpalette()[:9] == [channel for colour in data.palette for channel in colour]
        theirs = np.asarray(PIL.Image.open(tmp_path / "theirs" / f"{number:06}.png"))
        assert np.array_equal(np.array([7, 11, 33])[np.asarray(ours)], theirs)


def test_predictions_never_overwrite_each_other(folder, data, tmp_path, monkeypatch):
    monkeypatch.setattr("ctcl_hf.data.SegmentationSamples.name", lambda samples, number: "street")
    with pytest.raises(ValueError, match="Two images are named street"):
        Scorer(saved_students(str(folder / "vit")), data, Accelerator(cpu=True)).score(
            "validation", Protocol(image_size=SIZE), predictions=tmp_path
        )


def test_a_split_without_labels_is_predicted(folder, data, tmp_path):
    data.splits["test"] = data.splits["validation"].remove_columns("label")
    try:
        scorer = Scorer(saved_students(str(folder / "vit")), data, Accelerator(cpu=True))
        scores, images = scorer.score("test", Protocol(image_size=SIZE), predictions=tmp_path)[
            "vit"
        ]
    finally:
        del data.splits["test"]
    assert len(list(tmp_path.glob("*.png"))) == 5
    assert images.labelled_pixels == 0
    assert scores is None
    assert images.worst(4) == []


def test_scripts_beside_the_example_still_find_the_library_of_its_name():
    """A file examples/evaluate.py was found before the library `evaluate` by every script in its
    folder.
    """
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import evaluate
assert evaluate.__version__, evaluate
from ctcl_hf import MeanIoU
print(issubclass(MeanIoU, evaluate.Metric))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_the_old_spelling_of_the_script_names_the_new_one():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "evaluate.py", "cnn"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "examples/score.py now" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("runs/a", "runs/a/evaluation/camvid-test"),
        ("runs/a/cnn", "runs/a/evaluation/cnn-camvid-test"),
        ("runs/a/checkpoint-6/cnn", "runs/a/evaluation/checkpoint-6-cnn-camvid-test"),
        ("alone/vit", "evaluation/alone-vit-camvid-test"),
        ("nvidia/segformer", "evaluation/nvidia-segformer-camvid-test"),
    ],
)
def test_scores_go_beside_the_run_that_they_are_of(model, expected, tmp_path, monkeypatch):
    """They went into ./evaluation whatever was scored, far from the run."""
    monkeypatch.chdir(tmp_path)
    for student in ("runs/a/cnn", "runs/a/checkpoint-6/cnn", "alone/vit"):
        folder = tmp_path / student
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    for recorded in ("runs/a", "runs/a/checkpoint-6"):
        (tmp_path / recorded / "run.json").write_text("{}")
    assert command._default_folder(model, "camvid", "test") == Path(expected)
