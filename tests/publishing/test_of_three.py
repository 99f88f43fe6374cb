"""What is published of a run of three students: each one's repository, and one ONNX file of all."""

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from helpers.commands import SMALL, run
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

STUDENTS = ("mobilenetv2_035", "nvidia/mit-b0", "mobilevitv2_050")
NAMES = ("cnn", "vit", "hybrid")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three") / "run"
    few = ("--max_steps", "2", "--eval_strategy", "no", "--save_strategy", "no")
    words = (*SMALL, *few, "--students", *STUDENTS, "--method", "vanilla")
    done = run("run_ctcl.py", *words, "--output_dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_of_three_has_a_repository_and_a_card_that_names_the_others(finished, hub):
    done = run("push.py", finished)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        own = f"tester/vanilla-synthetic-{name}"
        assert "model.safetensors" in hub.files(own) and own in done.stdout
        card = hub.files(own)["README.md"].decode()
        others = [other for other in NAMES if other != name]
        assert all(f"/tester/vanilla-synthetic-{other})" in card for other in others)


def test_one_onnx_file_holds_the_mean_of_three(finished, tmp_path):
    target = tmp_path / "all.onnx"
    done = run("export.py", finished, "--output", target, "--size", "48", "64")
    assert done.returncode == 0, done.stderr
    image = torch.randint(256, (1, 3, 48, 64), generator=torch.Generator().manual_seed(0)) / 255
    normalised, every = [], []
    for name in NAMES:
        processor = AutoImageProcessor.from_pretrained(finished / name)
        mean, std = (torch.tensor(of)[:, None, None] for of in moments(processor))
        normalised.append((image - mean) / std)
        model = AutoModelForSemanticSegmentation.from_pretrained(finished / name).eval()
        with torch.no_grad():
            logits = model(normalised[-1]).logits
        every.append(F.interpolate(logits, (48, 64), mode="bilinear").softmax(1))
    # of which each student of the file knows its own
    session = onnxruntime.InferenceSession(target)
    (found,) = session.run(None, {"pixel_values": normalised[0].numpy()})
    np.testing.assert_allclose(found, torch.stack(every).mean(0).numpy(), atol=1e-5)


def moments(processor):
    """Mean and deviation by which images are normalised: of some models 0 and 1, as they say."""
    if not processor.do_normalize:
        return [0.0] * 3, [1.0] * 3
    return processor.image_mean, processor.image_std
