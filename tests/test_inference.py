"""Released students in transformers' own pipeline, which must see what this package evaluates."""

import logging

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import make_cnn, make_vit
from transformers import pipeline

from ctcl_hf import EvaluationTransform, segment
from ctcl_hf.inference import class_map


@pytest.mark.parametrize("make", [make_cnn, make_vit])
def test_pipeline_gives_the_masks_that_evaluation_scores(make, tmp_path, halves, caplog):
    student = make(size=(48, 64)).eval()
    student.save_pretrained(str(tmp_path))
    sample = halves.samples("validation", EvaluationTransform((48, 64)))[0]
    with torch.no_grad():
        evaluated = class_map(student.logits(sample["pixel_values"][None]), sample["labels"].shape)[0].numpy()
    image = halves.splits["validation"][0]["image"]
    assert np.array_equal(segment(student.model, student.image_processor, image), evaluated)
    with caplog.at_level(logging.WARNING):
        found = pipeline("image-segmentation", model=str(tmp_path))(image)
    assert "not supported" not in caplog.text
    painted = np.full(evaluated.shape, 255)
    for part in found:
        painted[np.asarray(part["mask"]) > 0] = student.config.label2id[part["label"]]
    assert np.array_equal(painted, evaluated)


def test_an_image_is_segmented_at_its_own_size():
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (37, 51), dtype=np.uint8))
    for student in (make_cnn(), make_vit()):
        labels = segment(student.model, student.image_processor, image)
        assert labels.shape == (37, 51)
        assert labels.dtype == np.uint8
        assert labels.max() < 3


def test_the_class_map_is_the_argmax_of_the_upsampled_logits():
    logits = torch.randn(2, 5, 4, 6)
    upsampled = torch.nn.functional.interpolate(logits, (9, 13), mode="bilinear")
    assert torch.equal(class_map(logits, (9, 13)), upsampled.argmax(1))
