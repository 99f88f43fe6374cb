"""Students as ONNX files."""

import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL.Image
import pytest
import torch
from accelerate import Accelerator
from conftest import CLASSES, make_cnn, make_data, make_deeplabv3plus, make_vit
from helpers.commands import run
from helpers.foreign import small_dpt_config
from transformers import DPTForSemanticSegmentation

from ctcl_hf import __version__
from ctcl_hf.cli import export as command
from ctcl_hf.data import palette_of
from ctcl_hf.publishing import onnx as module
from ctcl_hf.publishing.onnx import export_onnx
from ctcl_hf.scoring.evaluate import evaluate_predictors
from ctcl_hf.scoring.predict import class_map
from ctcl_hf.scoring.protocols import Protocol
from ctcl_hf.scoring.scorer import Scorer
from ctcl_hf.students import as_student
from ctcl_hf.students.loading import image_processor


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_onnxruntime_gives_pytorchs_logits_for_any_batch_and_says_what_it_takes(
    family, tmp_path, request
):
    student = request.getfixturevalue(family)
    difference = export_onnx(student, (64, 96), tmp_path / "deep" / "student.onnx")
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(
        tmp_path / "deep" / "student.onnx", providers=["CPUExecutionProvider"]
    )
    pixels = torch.randn(5, 3, 64, 96)
    logits = session.run(["logits"], {"pixel_values": pixels.numpy()})[0]
    with torch.no_grad():
        assert np.allclose(logits, student.model.eval()(pixel_values=pixels).logits, atol=1e-4)
    told = {
        name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
    }
    processor = student.image_processor
    assert told["classes"] == list(CLASSES)
    assert (told["size"], told["stride"], told["channels"]) == ([64, 96], 4, "RGB")
    assert told["mean"] == pytest.approx([255 * value for value in processor.image_mean], abs=1e-3)
    assert told["std"] == pytest.approx([255 * value for value in processor.image_std], abs=1e-3)
    assert told["version"] == f"ctcl_hf {__version__}"


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_bytes_of_any_size_become_the_class_map_that_evaluation_scores(family, tmp_path, request):
    student = request.getfixturevalue(family)
    export_onnx(
        student, (64, 96), tmp_path / "x.onnx", dynamic=True, with_preprocessing=True, argmax=True
    )
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 96, 3), (2, 75, 131, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        ids = session.run(["class_map"], {"image": images})[0]
        with torch.no_grad():
            logits = student.eval().logits(torch.from_numpy(images).permute(0, 3, 1, 2))
        assert ids.dtype == np.uint8
        assert (ids == class_map(logits, shape[1:3]).numpy()).mean() > 0.999


class Recorded(list):
    """What a metric is given: each image's ids, by predictor."""

    def __call__(self, name, ids, labels):
        self.append((name, ids))


def make_pair_of_habits():
    """Students that normalise differently, of other temperatures, of which the second has the
    classes in another order.
    """
    cnn, vit = make_cnn(size=(64, 96)), make_vit(size=(64, 96))
    vit.image_processor.image_mean, vit.image_processor.image_std = [0.5] * 3, [0.25] * 3
    vit.config.id2label = dict(enumerate([CLASSES[2], CLASSES[0], CLASSES[1]]))
    vit.config.label2id = {name: i for i, name in vit.config.id2label.items()}
    for student in (cnn, vit):  # so that a pixel is of one class or another
        for parameter in student.model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    vit = as_student(vit.model, vit.image_processor)
    cnn.temperature, vit.temperature = 2.0, 0.5
    return cnn.eval(), vit.eval()


def scored_by_the_pair(cnn, vit, images):
    """Class ids of the pair as `ctcl-hf evaluate` scores them, and probabilities by hand."""
    data = dataclasses.replace(make_data(1, 1, images.shape[1:3]), class_names=CLASSES)
    scorer = Scorer({"cnn": cnn, "vit": vit}, data, Accelerator(cpu=True))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    recorded = Recorded()
    evaluate_predictors(
        scorer.predictors,
        [{"pixel_values": pixels, "labels": list(torch.zeros(images.shape[:3]).long())}],
        data.class_names,
        255,
        Protocol(image_size=images.shape[1:3]),
        scorer.accelerator,
        after_image=recorded,
        mean_name=scorer.mean_name,
    )
    with torch.no_grad():
        of_cnn, of_vit = cnn.logits(pixels), vit.logits(pixels)[:, [1, 2, 0]]
    sized = [
        torch.nn.functional.interpolate(
            own, pixels.shape[-2:], mode="bilinear", align_corners=False
        )
        for own in (of_cnn, of_vit)
    ]
    ids = np.stack([ids.numpy() for name, ids in recorded if name == "pair"])
    return ids, sum(own.softmax(1) for own in sized).numpy() / 2


def test_one_file_gives_the_mean_probabilities_by_which_a_pair_is_scored(tmp_path):
    cnn, vit = make_pair_of_habits()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    ids, probabilities = scored_by_the_pair(cnn, vit, images)
    normalised = cnn.normalize(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    export_onnx(cnn, (64, 96), tmp_path / "x.onnx", peers=[vit])
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"pixel_values": normalised})
    assert np.allclose(found, probabilities, atol=1e-4)
    assert (found.argmax(1) == ids).mean() > 0.999
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == list(CLASSES) and json.loads(told["stride"]) == 1


def test_bytes_of_any_size_become_the_pairs_class_map(tmp_path):
    cnn, vit = make_pair_of_habits()
    export_onnx(
        cnn,
        (64, 96),
        tmp_path / "x.onnx",
        dynamic=True,
        with_preprocessing=True,
        argmax=True,
        peers=[vit],
    )
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 96, 3), (2, 75, 131, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        ids, _ = scored_by_the_pair(cnn, vit, images)
        assert len(np.unique(ids)) > 1
        assert (session.run(["class_map"], {"image": images})[0] == ids).mean() > 0.999


def test_the_folder_of_a_run_is_exported_as_its_pair(tmp_path, monkeypatch, capsys):
    for name, make in (("cnn", make_cnn), ("vit", make_vit)):
        make(size=(64, 96)).save_pretrained(str(tmp_path / "run" / name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ctcl-hf export", "run", "--output", "pair.onnx"])
    command.main()
    said = capsys.readouterr().out
    assert "pair.onnx: pixel_values (batch, 3, 64, 96), normalised as in run/cnn" in said
    assert "-> probabilities (batch, classes, 64, 96)" in said
    assert "onnxruntime's probabilities agree with PyTorch's" in said
    assert onnxruntime.InferenceSession("pair.onnx").get_outputs()[0].name == "probabilities"
    assert "will be replaced" not in said
    monkeypatch.setattr("sys.argv", ["ctcl-hf export", "run/vit", "--output", "pair.onnx"])
    command.main()
    assert "ctcl-hf export: pair.onnx is there, and will be replaced." in capsys.readouterr().out
    assert onnxruntime.InferenceSession("pair.onnx").get_outputs()[0].name == "logits"


def test_the_example_needs_numpy_and_onnxruntime_alone(cnn, tmp_path):
    export_onnx(cnn, (64, 96), tmp_path / "cnn.onnx", with_preprocessing=True, argmax=True)
    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # by a quarter
    PIL.Image.new("RGB", (51, 37), (200, 30, 30)).save(tmp_path / "street.png", exif=turned)
    example = Path(module.__file__).with_name("run_onnx.py")  # in the wheel as well
    assert "torch" not in example.read_text() and "ctcl_hf" not in example.read_text()
    done = subprocess.run(
        [sys.executable, example, "cnn.onnx", "street.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *shares, written = done.stdout.splitlines()
    assert [line.split(":")[0] for line in shares] == list(CLASSES)
    picture = PIL.Image.open(tmp_path / written)
    assert (written, picture.size, picture.mode) == ("street-classes.png", (37, 51), "P")
    colours = [channel for colour in palette_of(cnn.config) for channel in colour]
    assert picture.getpalette()[: len(colours)] == colours


def run_example(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["run_onnx.py", *words])
    runpy.run_path(str(Path(module.__file__).with_name("run_onnx.py")), run_name="__main__")


def test_the_example_says_in_a_sentence_what_it_cannot_use(tmp_path, monkeypatch):
    """Each of these ended in a traceback, or was taken for an opaque image."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("no image")
    PIL.Image.new("RGBA", (8, 8)).save(tmp_path / "clear.png")
    plain = onnx.helper.make_tensor_value_info("pixel_values", onnx.TensorProto.FLOAT, [1])
    same = onnx.helper.make_node("Identity", ["pixel_values"], ["logits"])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([same], "plain", [plain], [logits])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "plain.onnx")
    for words, message in (
        ([], r"^usage: run_onnx.py FILE.onnx IMAGE$"),
        (["nofile.onnx", "clear.png"], "error: nofile.onnx: there is no such file.$"),
        (["text.jpg", "clear.png"], "text.jpg is no ONNX file that can be read"),
        (["plain.onnx", "clear.png"], "takes pixel_values and gives logits. Expected a file that"),
    ):
        with pytest.raises(SystemExit, match=message):
            run_example(monkeypatch, *words)
    read = runpy.run_path(str(Path(module.__file__).with_name("run_onnx.py")))["read"]
    with pytest.raises(OSError, match=r"cannot identify image file 'text.jpg'"):
        read("text.jpg")
    with pytest.raises(ValueError, match=r"clear.png: expected 8 bits .* and no transparency"):
        read("clear.png")


def test_a_file_that_fails_the_check_is_not_left_behind(cnn, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="differs from PyTorch's"):
        export_onnx(cnn, (64, 64), tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


def test_any_size_is_refused_for_an_encoder_that_pads_by_the_size(tmp_path):
    """Tracing it went on for hours without a word."""
    student = make_deeplabv3plus("tf_mobilenetv3_small_minimal_100", 16, 3, (64, 64))
    with pytest.raises(ValueError, match="pads by the size of what it is given"):
        export_onnx(student, (64, 64), tmp_path / "x.onnx", dynamic=True)
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_model_cannot_take_is_refused_before_anything_is_traced(tmp_path):
    """The tracer's own error was a page long."""
    config = small_dpt_config()
    student = as_student(DPTForSemanticSegmentation(config), image_processor((32, 32)))
    with pytest.raises(ValueError, match="DPT cannot take images of 32x48 pixels"):
        export_onnx(student, (32, 48), tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told_before_the_model_is_loaded(monkeypatch):
    monkeypatch.setattr(
        "ctcl_hf.base.extras.find_spec", lambda module: None if module == "onnxscript" else module
    )
    monkeypatch.setattr("sys.argv", ["ctcl-hf export", "nowhere", "--output", "x.onnx"])
    message = r"ctcl-hf export: error: onnxscript not installed: pip install 'ctcl-hf\[export\]'"
    with pytest.raises(SystemExit, match=message):
        command.main()


def test_the_example_names_what_it_cannot_load(tmp_path):
    done = run("export.py", tmp_path / "nothing", "--output", tmp_path / "x.onnx")
    assert done.returncode == 1
    assert "nothing: there is no such folder." in done.stderr


def test_transformers_exporter_takes_any_batch_and_size(cnn):
    """With every dimension free, `len(x) == 1` in the image pooling failed the export."""
    from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

    model = cnn.model.eval()
    traced = DynamoExporter().export(
        model, {"pixel_values": torch.randn(2, 3, 64, 96)}, DynamoConfig(dynamic=True)
    )
    for shape in ((2, 3, 64, 96), (3, 3, 64, 96), (5, 3, 96, 128)):
        pixels = torch.randn(shape)
        with torch.no_grad():
            assert torch.allclose(
                traced(pixel_values=pixels).logits, model(pixels).logits, atol=1e-5
            )


def test_torchs_own_exporter_takes_any_batch(cnn):
    """`len(x) == 1` in the image pooling fixed the graph to the batch that it was traced with."""
    from torch.export import Dim, export

    model = cnn.model.eval()
    traced = export(
        model,
        (),
        {"pixel_values": torch.randn(2, 3, 64, 96)},
        dynamic_shapes={"pixel_values": {0: Dim("n")}},
    )
    for batch in (1, 5):
        pixels = torch.randn(batch, 3, 64, 96)
        with torch.no_grad():
            assert torch.allclose(
                traced.module()(pixel_values=pixels).logits, model(pixels).logits, atol=1e-5
            )
