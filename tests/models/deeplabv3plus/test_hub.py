"""DeepLabV3+'s place on the Hub and in the pipeline."""

import importlib
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.deeplabv3plus import build
from PIL import Image
from transformers import AutoConfig, SegformerImageProcessor, pipeline

import ctcl_hf.models
from ctcl_hf.models import DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation


def test_importing_the_package_again_registers_again_without_failing():
    importlib.reload(ctcl_hf.models)
    assert type(AutoConfig.for_model("deeplabv3plus")) is DeepLabV3PlusConfig


@pytest.fixture
def saved_student(tmp_path):
    model = build(
        id2label={0: "sky", 1: "road", 2: "car"},
        label2id={"sky": 0, "road": 1, "car": 2},
        num_labels=3,
    )
    model.save_pretrained(tmp_path)
    SegformerImageProcessor(
        size={"height": 64, "width": 64}, do_reduce_labels=False
    ).save_pretrained(tmp_path)
    return tmp_path


def test_the_segmentation_pipeline_runs_and_logs_nothing_about_support(saved_student):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    try:
        segments = pipeline("image-segmentation", model=str(saved_student))(
            Image.new("RGB", (50, 40), "blue")
        )
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []
    assert {segment["label"] for segment in segments} <= {"sky", "road", "car"}
    assert sum(np.array(segment["mask"]) // 255 for segment in segments).tolist() == [[1] * 50] * 40


def test_the_two_files_work_as_remote_code_without_this_package(monkeypatch, saved_student):
    for cls, auto_class in (
        (DeepLabV3PlusConfig, "AutoConfig"),
        (DeepLabV3PlusForSemanticSegmentation, "AutoModelForSemanticSegmentation"),
    ):
        # so that the registration ends with this test
        monkeypatch.setattr(cls, "_auto_class", None)
        cls.register_for_auto_class(auto_class)
    model = DeepLabV3PlusForSemanticSegmentation.from_pretrained(saved_student)
    model.save_pretrained(saved_student)
    with torch.no_grad():
        expected = model(torch.ones(1, 3, 64, 64)).logits
    torch.save(expected, saved_student / "expected.pt")
    script = """
import sys, torch
from transformers import pipeline
segmenter = pipeline("image-segmentation", model=".", trust_remote_code=True)
with torch.no_grad():
    logits = segmenter.model(torch.ones(1, 3, 64, 64)).logits
torch.testing.assert_close(logits, torch.load("expected.pt"))
assert "ctcl_hf" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(saved_student / "home"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=saved_student,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "not supported" not in run.stderr
