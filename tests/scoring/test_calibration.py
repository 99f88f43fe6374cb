"""How sure models are of what they get right, and the temperature that mends it: against loops, and
wherever probabilities are made.
"""

import dataclasses
import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from datasets import DatasetDict
from transformers import AutoConfig

from ctcl_hf.cli import evaluate as command
from ctcl_hf.data.shards import write_shards
from ctcl_hf.scoring.mean import mean_probabilities
from ctcl_hf.scoring.predict import load_for_inference
from ctcl_hf.scoring.reliability import Reliability
from ctcl_hf.scoring.temperature import best_temperature
from ctcl_hf.students import as_student
from ctcl_hf.students.loading import load_student

SIZE = (32, 48)


def looped_error(probabilities, labels, ignore):
    """Expected calibration error pixel by pixel, Guo et al. 2017, Eqs. 2, 3 and 5."""
    bins = [[] for _ in range(15)]
    for p, label in zip(probabilities, labels, strict=True):
        if label == ignore:
            continue
        confidence = max(p)
        (place,) = (m for m in range(15) if m / 15 < confidence <= (m + 1) / 15)
        bins[place].append((confidence, list(p).index(confidence) == label))
    total, error = sum(map(len, bins)), 0.0
    for own in filter(None, bins):
        accuracy = sum(right for _, right in own) / len(own)
        confidence = sum(confidence for confidence, _ in own) / len(own)
        error += len(own) / total * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("seed", range(3))
def test_the_expected_calibration_error_is_that_of_a_loop_over_pixels(seed):
    rng = np.random.default_rng(seed)
    reliability, all_probabilities, all_labels = Reliability(255), [], []
    for _ in range(2):
        logits = torch.from_numpy(rng.normal(0, 2, (1, 4, 9, 11))).float()
        labels = rng.integers(0, 4, (9, 11))
        labels[rng.random(labels.shape) < 0.2] = 255
        confidences, ids = logits[0].softmax(0).max(0)
        reliability.add(ids, confidences, torch.from_numpy(labels.astype(np.uint8)))
        exponentials = np.exp(logits[0].double().numpy()).reshape(4, -1).T
        all_probabilities += list(exponentials / exponentials.sum(1, keepdims=True))
        all_labels += list(labels.flatten())
    expected = looped_error(all_probabilities, all_labels, 255)
    assert reliability.expected_calibration_error == pytest.approx(expected, abs=1e-6)


def test_who_is_sure_and_always_right_has_no_calibration_error_and_always_wrong_all_of_it():
    ids, sure = torch.zeros(3, 3, dtype=torch.int64), torch.ones(3, 3)
    for label, expected in ((0, 0.0), (1, 1.0)):
        reliability = Reliability(255)
        reliability.add(ids, sure, torch.full((3, 3), label))
        assert reliability.expected_calibration_error == expected
    assert math.isnan(Reliability(255).expected_calibration_error)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_the_least_loss_on_a_grid(true):
    rng = np.random.default_rng(0)
    calibrated = rng.normal(0, 2, (4000, 5))
    exponentials = np.exp(calibrated)
    shares = exponentials / exponentials.sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=share) for share in shares])
    logits = calibrated * true

    def loss(temperature):
        scaled = logits / temperature
        return np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(labels)), labels])

    grid = true * np.exp(np.linspace(-0.5, 0.5, 1001))
    expected = grid[np.argmin([loss(temperature) for temperature in grid])]
    found = best_temperature(torch.from_numpy(logits).float(), torch.from_numpy(labels))
    assert found == pytest.approx(expected, rel=2e-3) and found == pytest.approx(true, rel=0.1)


def test_a_temperature_changes_what_the_pair_says_and_never_what_a_student_says():
    torch.manual_seed(0)
    students = [make_cnn(size=SIZE).eval(), make_vit(size=SIZE).eval()]
    pixels = torch.randint(0, 256, (2, 3, *SIZE))
    for student, temperature in zip(students, (5.0, 0.2), strict=True):
        with torch.no_grad():
            before = student.logits(pixels)
            student.temperature = temperature
            after, raw = student.logits(pixels), student.raw_logits(pixels)
        assert torch.equal(before, raw) and torch.allclose(after, raw / temperature)
        assert torch.equal(before.argmax(1), after.argmax(1))
    drawn = [torch.randn(1, 3, 8, 8) for _ in students]
    tempered = [student.calibrated(own) for student, own in zip(students, drawn, strict=True)]
    pairs = [mean_probabilities(own).argmax(1) for own in (drawn, tempered)]
    assert not torch.equal(*pairs)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A run of two students on data with two splits beside training."""
    torch.manual_seed(0)
    for name, make in (("cnn", make_cnn), ("vit", make_vit)):
        student = make(size=SIZE)
        for parameter in student.model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        student.save_pretrained(str(tmp_path / "run" / name))
    data = make_data(2, 4, SIZE)
    rows = data.splits["validation"]
    splits = DatasetDict(
        train=data.splits["train"],
        validation=rows.select([0, 1]),
        test=rows.select([2, 3]),
    )
    write_shards(dataclasses.replace(data, splits=splits), tmp_path / "shards")
    recorded = {"command": f"ctcl-hf train --dataset_name {tmp_path / 'shards'}"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(recorded))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(monkeypatch, *words):
    argv = ["ctcl-hf evaluate", *words, "--use_cpu", "--workers", "0", "--worst", "0"]
    monkeypatch.setattr(sys, "argv", argv)
    command.main()


def test_students_are_calibrated_on_one_split_and_scored_on_another(root, monkeypatch, capsys):
    results = {}
    for words in (("--calibration",), ("--calibrate_on", "validation")):
        evaluate(monkeypatch, "run", "--split", "test", *words, "--output_dir", "out")
        results[words[0]] = json.loads((root / "out" / "results.json").read_text())
        assert (root / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    before, after = results.values()
    assert before["temperatures"] == {"cnn": 1, "vit": 1}
    said = capsys.readouterr().out
    for name in ("cnn", "vit"):
        temperature = after["temperatures"][name]
        assert f"Temperature of {name}, fitted on validation: {temperature:.3f}" in said
        # transformers keeps it, whoever saves the model next
        folder = root / "run" / name
        AutoConfig.from_pretrained(folder).save_pretrained(root / "again")
        kept = json.loads((root / "again" / "config.json").read_text())
        assert kept["calibration_temperature"] == temperature != 1
        assert as_student(*load_for_inference(str(folder))).temperature == temperature
        scores = [own["scores"][name] for own in (before, after)]
        assert scores[0]["mean_iou"] == pytest.approx(scores[1]["mean_iou"], abs=1e-3)
        assert scores[0]["loss"] > scores[1]["loss"]
        assert scores[0]["calibration_error"] > scores[1]["calibration_error"]
    assert 0 <= after["scores"]["pair"]["calibration_error"] <= 1
    assert "| calibration error |" in (root / "out" / "results.md").read_text()
    fitted_again = after["temperatures"]
    evaluate(monkeypatch, "run", *("--split", "test", "--calibrate_on", "validation"))
    assert json.loads((root / "run" / "cnn" / "config.json").read_text())[
        "calibration_temperature"
    ] == pytest.approx(fitted_again["cnn"])


def test_a_student_that_trains_on_forgets_the_temperature_of_its_old_weights(tmp_path):
    student = make_vit(size=SIZE)
    student.temperature = 3.0
    student.save_pretrained(str(tmp_path))
    assert as_student(*load_for_inference(str(tmp_path))).temperature == 3
    trained = load_student(str(tmp_path), student.class_names, SIZE)
    assert trained.temperature == 1
    assert "calibration_temperature" not in trained.config.to_dict()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--calibrate_on", "validation"], "--calibrate_on validation: the same images are"),
        (["run", "--calibrate_on", "train"], "--calibrate_on train: students are too sure of what"),
        (["run", "--calibrate_on", "dev"], "--calibrate_on dev: .* has labels in val"),
    ],
)
def test_students_are_not_calibrated_on_what_they_are_scored_on(
    root, monkeypatch, capsys, words, message
):
    with pytest.raises(SystemExit) as ended:
        evaluate(monkeypatch, *words)
    said = f"{ended.value}{capsys.readouterr().err}"
    assert re.search(message, said), said
    assert "calibration_temperature" not in (root / "run" / "cnn" / "config.json").read_text()


def test_a_copy_of_the_scored_split_is_no_other_images(tmp_path):
    data = make_data(2, 2, SIZE)
    splits = DatasetDict(data.splits) | {"copy": data.splits["validation"]}
    copied = dataclasses.replace(data, splits=splits)
    arguments = command.EvaluationArguments(split="copy", calibrate_on="validation")
    message = "--calibrate_on validation: its images are those of copy, which is scored"
    with pytest.raises(ValueError, match=message):
        command.check_calibration(str(tmp_path), arguments, copied)
