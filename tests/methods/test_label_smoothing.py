"""examples/label_smoothing.py: the control that softens labels without a peer."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import make_cnn, make_vit

from ctcl_hf import METHODS, StudentPair
from ctcl_hf.base import registry
from ctcl_hf.losses import upsample

FILE = Path(__file__).parents[2] / "examples" / "label_smoothing.py"
NAME = f"{FILE}:LabelSmoothing"


@pytest.fixture
def smoothing(monkeypatch):
    monkeypatch.setattr(registry, "_FILES", {})
    METHODS.add(NAME)
    return METHODS[NAME]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_both_students_losses_and_gradients_are_pytorchs_label_smoothing(smoothing, share):
    torch.manual_seed(0)
    students = {"cnn": make_cnn().double(), "vit": make_vit().double()}
    pair = StudentPair(students, smoothing(*students.values(), smoothing=share)).double().train()
    images = torch.randint(0, 256, (2, 3, 64, 96))
    labels = torch.randint(0, 3, (2, 64, 96))
    labels[:, :7] = 255
    outputs = [student(images) for student in students.values()]
    terms = [own.of_batch() for own in pair.objective(outputs, labels)]
    for i, (output, own) in enumerate(zip(outputs, terms, strict=True)):
        losses = {name: value for name, value in own.losses.items() if name != "aux"}
        ours = pair.objective.loss(i, losses)
        logits = upsample(output.logits, labels.shape[-2:])
        theirs = F.cross_entropy(logits, labels, ignore_index=255, label_smoothing=share)
        assert torch.allclose(ours, theirs, atol=1e-6)
        gradients = [
            torch.autograd.grad(loss, output.logits, retain_graph=True)[0]
            for loss in (ours, theirs)
        ]
        assert torch.allclose(*gradients, atol=1e-8)
