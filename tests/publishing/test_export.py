"""Students as ONNX files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ctcl_hf.cli import export as command
from ctcl_hf.publishing import onnx as module
from ctcl_hf.publishing.onnx import export_onnx


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_onnxruntime_gives_pytorchs_logits_for_any_batch(family, tmp_path, request):
    model = request.getfixturevalue(family).model
    difference = export_onnx(model, (64, 96), tmp_path / "deep" / "student.onnx")
    assert difference < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "deep" / "student.onnx", providers=["CPUExecutionProvider"])
    pixels = torch.randn(5, 3, 64, 96)
    logits = session.run(["logits"], {"pixel_values": pixels.numpy()})[0]
    with torch.no_grad():
        assert np.allclose(logits, model.eval()(pixel_values=pixels).logits, atol=1e-4)


def test_a_file_that_fails_the_check_is_not_left_behind(cnn, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="differ from PyTorch's"):
        export_onnx(cnn.model, (64, 64), tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_told_before_the_model_is_loaded(monkeypatch):
    monkeypatch.setattr("ctcl_hf.extras.find_spec", lambda module: None if module == "onnxscript" else module)
    monkeypatch.setattr("sys.argv", ["ctcl-hf export", "nowhere", "--output", "x.onnx"])
    message = r"ctcl-hf export: error: onnxscript not installed: pip install 'ctcl-hf\[export\]'"
    with pytest.raises(SystemExit, match=message):
        command.main()


def test_the_example_names_what_it_cannot_load(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "export.py"
    command = [sys.executable, script, tmp_path / "nothing", "--output", tmp_path / "x.onnx"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert run.returncode == 1
    assert "nothing is neither a student's folder nor a model on the Hub" in run.stderr


def test_transformers_exporter_takes_any_batch_and_size(cnn):
    """With every dimension free, `len(x) == 1` in the image pooling failed the export."""
    from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

    model = cnn.model.eval()
    traced = DynamoExporter().export(model, {"pixel_values": torch.randn(2, 3, 64, 96)}, DynamoConfig(dynamic=True))
    for shape in ((2, 3, 64, 96), (3, 3, 64, 96), (5, 3, 96, 128)):
        pixels = torch.randn(shape)
        with torch.no_grad():
            assert torch.allclose(traced(pixel_values=pixels).logits, model(pixels).logits, atol=1e-5)


def test_torchs_own_exporter_takes_any_batch(cnn):
    """`len(x) == 1` in the image pooling fixed the graph to the batch that it was traced with."""
    from torch.export import Dim, export

    model = cnn.model.eval()
    traced = export(
        model, (), {"pixel_values": torch.randn(2, 3, 64, 96)}, dynamic_shapes={"pixel_values": {0: Dim("n")}}
    )
    for batch in (1, 5):
        pixels = torch.randn(batch, 3, 64, 96)
        with torch.no_grad():
            assert torch.allclose(traced.module()(pixel_values=pixels).logits, model(pixels).logits, atol=1e-5)
