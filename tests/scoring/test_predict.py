"""Released students in transformers' own pipeline, which must see what this package evaluates."""

import logging

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import make_cnn, make_vit
from transformers import pipeline

from ctcl_hf import EvaluationTransform, segment
from ctcl_hf.cli.predict import predict
from ctcl_hf.scoring.predict import class_map, load_for_inference, sliding_window_logits


@pytest.mark.parametrize("make", [make_cnn, make_vit])
def test_pipeline_gives_the_masks_that_evaluation_scores(make, tmp_path, halves, caplog):
    student = make(size=(48, 64)).eval()
    student.save_pretrained(str(tmp_path))
    sample = halves.samples("validation", EvaluationTransform((48, 64)))[0]
    with torch.no_grad():
        evaluated = class_map(student.logits(sample["pixel_values"][None]), sample["labels"].shape)[
            0
        ].numpy()
    image = halves.splits["validation"][0]["image"]
    assert np.array_equal(segment(student.model, student.image_processor, image), evaluated)
    with caplog.at_level(logging.WARNING):
        found = pipeline("image-segmentation", model=str(tmp_path))(image)
    assert "not supported" not in caplog.text
    painted = np.full(evaluated.shape, 255)
    for part in found:
        painted[np.asarray(part["mask"]) > 0] = student.config.label2id[part["label"]]
    assert np.array_equal(painted, evaluated)


def test_a_picture_is_drawn_in_the_students_own_colours(tmp_path):
    student = make_vit()
    student.config.palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    student.save_pretrained(str(tmp_path / "vit"))
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "street.png")
    predict([str(tmp_path / "street.png")], [str(tmp_path / "vit")], tmp_path / "out", ("mask",))
    (mask,) = (tmp_path / "out").rglob("*.png")
    assert PIL.Image.open(mask).getpalette()[:9] == list(range(1, 10))


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


@pytest.mark.parametrize(("size", "strip"), [((9, 13), 1), ((41, 13), 2 * 5 * 13 * 7), ((3, 5), 1)])
def test_a_class_map_decided_some_rows_at_a_time_is_that_of_all_at_once(size, strip, monkeypatch):
    """12 megapixels of 150 classes took 7 GB."""
    monkeypatch.setattr("ctcl_hf.scoring.predict.STRIP_ELEMENTS", strip)
    logits = torch.randn(2, 5, 4, 6)
    logits[:, 3] = logits[:, 1]  # of equal ones the first wins
    assert torch.equal(class_map(logits, size, elements=1), class_map(logits, size))


def test_images_of_several_sizes_are_segmented_together_as_alone():
    rng = np.random.default_rng(0)
    images = [
        PIL.Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8))
        for h, w in ((37, 51), (60, 40))
    ]
    student = make_vit()
    together = segment(student.model, student.image_processor, images)
    for image, labels in zip(images, together, strict=True):
        assert np.array_equal(labels, segment(student.model, student.image_processor, image))


def pooled(pixels):
    """Logits at stride 4 that depend on their own pixels alone, so that windows can agree."""
    return torch.nn.functional.avg_pool2d(pixels, 4, ceil_mode=True)


def test_a_stride_that_leaves_pixels_out_is_refused():
    with pytest.raises(ValueError, match="stride"):
        sliding_window_logits(pooled, torch.randn(1, 3, 64, 64), (32, 32), (40, 32))


class Written:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_weights_that_are_a_pickle_with_code_do_not_run_it(tmp_path):
    folder, mark = tmp_path / "student", tmp_path / "mark"
    make_vit().save_pretrained(str(folder))
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Written(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="a pickle that holds more than tensors"):
        load_for_inference(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("mode", ["I;16", "F", "RGBA"])
def test_pixels_that_8_bit_rgb_cannot_hold_are_refused(vit, mode):
    """They were clipped to white or black, and every pixel got one class."""
    image = PIL.Image.new(mode, (40, 30))
    with pytest.raises(ValueError, match=r"8 bits per channel|transparent"):
        segment(vit.model, vit.image_processor, image)
