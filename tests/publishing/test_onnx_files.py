"""The ONNX files of a released student, and what its card says of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image
import pytest
from conftest import make_data
from huggingface_hub import ModelCard
from publishing.test_card import make_trainer

from ctcl_hf.cli import release as command
from ctcl_hf.data.shards import write_shards
from ctcl_hf.publishing.onnx_files import PRECISIONS
from ctcl_hf.publishing.onnx_scores import drop_stale, read_scores
from ctcl_hf.training.record import hash_of_weights

SIZE = (64, 64)
NODE = Path(__file__).parents[2] / ".node"  # of `make node`


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run on data of its own, released."""
    root = tmp_path_factory.mktemp("release")
    write_shards(make_data(6, 5, SIZE), root / "shards")
    trainer = make_trainer(root / "run")
    trainer.facts.command = f"ctcl-hf train --dataset_name {root / 'shards'}"
    trainer.train()
    trainer.save_model()
    words = ["run", "--workers", "0", "--calibration_images", "3", "--most_loss", "100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["ctcl-hf release", *words])
        command.main()
    return root


@pytest.mark.parametrize(
    ("name", "tags"), [("cnn", {"onnx"}), ("vit", {"onnx", "transformers.js"})]
)
def test_each_student_has_three_files_whose_scores_stand_on_its_card(root, name, tags):
    folder = root / "run" / name
    assert {path.name for path in (folder / "onnx").iterdir()} == {*PRECISIONS, "scores.json"}
    facts = read_scores(folder)
    files = facts["files"]
    assert list(files) == ["PyTorch", *PRECISIONS] and facts["images"] == 5
    assert files["model.onnx"]["mean_iou"] == pytest.approx(files["PyTorch"]["mean_iou"], abs=1e-3)
    sizes = [(folder / "onnx" / file).stat().st_size for file in PRECISIONS]
    assert [files[file]["bytes"] for file in PRECISIONS] == sizes
    card = ModelCard.load(folder / "README.md")
    assert {"onnx", "transformers.js"} & set(card.data.tags) == tags
    row = files["model_quantized.onnx"]
    assert (
        f"| model_quantized.onnx | 8-bit integers | {row['bytes'] / 2**20:.1f} | "
        f"{100 * row['mean_iou']:.2f} |" in card.text
    )


@pytest.mark.parametrize("file", PRECISIONS)
@pytest.mark.parametrize("size", [SIZE, (96, 128)])
def test_every_file_takes_float32_images_of_any_size(root, file, size):
    session = onnxruntime.InferenceSession(
        root / "run" / "vit" / "onnx" / file, providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    (logits,) = session.run(["logits"], {"pixel_values": pixels})
    assert logits.dtype == np.float32
    assert logits.shape == (2, 3, size[0] // 4, size[1] // 4)


def test_a_file_that_loses_more_than_is_allowed_is_left_out(tmp_path):
    (tmp_path / "model_fp16.onnx").touch()
    (tmp_path / "model_quantized.onnx").touch()
    scores = {"PyTorch": 0.5, "model_fp16.onnx": 0.4951, "model_quantized.onnx": 0.489}
    facts = {"files": {file: {"mean_iou": value} for file, value in scores.items()}}
    left_out = command._leave_out(tmp_path, facts, most_loss=1.0)
    assert left_out == {"model_quantized.onnx": pytest.approx(1.1)}
    assert list(facts["files"]) == ["PyTorch", "model_fp16.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["model_fp16.onnx"]


def test_files_of_other_weights_go_when_the_students_are_saved(tmp_path):
    """They would have been published beside weights that they were not made of."""
    trainer = make_trainer(tmp_path)
    for name, student in trainer.model.students.items():
        (tmp_path / name / "onnx").mkdir(parents=True)
        weights = hash_of_weights(student.model) if name == "cnn" else "of another training"
        (tmp_path / name / "onnx" / "scores.json").write_text(
            json.dumps({"weights": weights, "model_type": "x", "files": {}} | OF_NOTHING)
        )
    trainer.save_model()
    assert (tmp_path / "cnn" / "onnx").is_dir() and not (tmp_path / "vit" / "onnx").exists()


OF_NOTHING = {"data": "halves", "split": "validation", "images": 5, "protocol": "whole images"}


def test_a_folder_without_files_is_left_alone(tmp_path):
    drop_stale(tmp_path, "weights")
    assert read_scores(tmp_path) is None


def test_what_is_no_folder_is_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ctcl-hf release", "user/model", "--dataset", "synthetic"])
    with pytest.raises(SystemExit, match="user/model: there is no such folder"):
        command.main()


def test_tags_that_a_tracker_put_on_the_model_stand_on_both_cards(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.model.model_tags = ["trackio", "trackio:https://space"]
    trainer.save_model()
    for name in ("cnn", "vit"):
        assert {"trackio", "trackio:https://space"} <= set(
            ModelCard.load(tmp_path / name / "README.md").data.tags
        )


SCRIPT = """
import { pipeline, env } from '@huggingface/transformers';
env.allowRemoteModels = false;
env.localModelPath = process.argv[2];
const how = { dtype: process.argv[3], device: 'cpu' };
const segment = await pipeline('image-segmentation', 'vit', how);
const found = await segment(process.argv[4]);
console.log(JSON.stringify(found.map((one) => [one.label, one.mask.width, one.mask.height])));
"""


@pytest.mark.skipif(
    not (NODE / "node_modules").is_dir() or shutil.which("node") is None,
    reason="needs node and transformers.js: make node",
)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "q8"])
def test_transformers_js_segments_with_the_segformer(root, tmp_path, dtype):
    image = PIL.Image.fromarray(np.asarray(make_data(1, 1, SIZE).splits["train"][0]["image"]))
    image.resize((80, 48)).save(tmp_path / "image.png")
    script = NODE / "segment.mjs"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["node", script, f"{root / 'run'}/", dtype, tmp_path / "image.png"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found and {tuple(size) for _, *size in found} == {(80, 48)}
    assert {label for label, *_ in found} <= {"left", "right", "dot"}
