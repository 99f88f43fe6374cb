"""Logits of a teacher, computed once and read ever after: of just these pixels, bit for bit."""

import pytest
import torch
from conftest import make_cnn, make_data, make_other, make_vit
from helpers.training import SIZE, assert_equal_weights, comparable, make_trainer, weights

from ctcl_hf import METHODS, OfflineKD, TrainingTransform
from ctcl_hf.students.cached_teacher import CachedTeacher
from ctcl_hf.students.student import StudentOutput
from ctcl_hf.students.teacher import Teacher

TEACHING = [name for name in METHODS if METHODS[name].Options.TEACHERS != "none"]


def make_images(number):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (number, 3, 64, 96), generator=generator).to(torch.uint8)


def files_in(folder):
    return sorted(folder.rglob("*.safetensors"))


class OneByOne(Teacher):
    """A live teacher that sees each image alone: of batches of other sizes the last bits of matrix
    products differ.
    """

    def forward(self, pixel_values):
        logits = [super(OneByOne, self).forward(image[None]).logits for image in pixel_values]
        return StudentOutput(torch.cat(logits))


@pytest.mark.parametrize("make", [make_cnn, make_vit, make_other])
def test_what_is_read_is_what_was_computed_whatever_else_is_in_the_batch(make, tmp_path):
    live = OneByOne(make(), ((2,), (), (0, 1))).eval()
    cached = CachedTeacher(live, tmp_path / "kept").eval()
    images = make_images(4)
    logits = live(images).logits
    assert torch.equal(cached(images[:2]).logits, logits[:2])
    at_once = Teacher(live.model, live.members).eval()(images).logits
    assert torch.allclose(logits, at_once, atol=1e-5)
    assert torch.equal(cached(images[[3, 0, 2]]).logits, logits[[3, 0, 2]])
    cached.model.forward = None  # nothing is computed any more
    again = cached(images.flip(0))
    assert torch.equal(again.logits, logits.flip(0)) and again.logits.dtype == logits.dtype
    assert again.last is None and len(files_in(tmp_path)) == 4


def test_an_image_that_differs_in_one_pixel_or_is_mirrored_is_another(tmp_path):
    cached = CachedTeacher(Teacher(make_vit()), tmp_path).eval()
    image = make_images(1)
    other = image.clone()
    other[0, 0, 5, 7] += 1
    seen = [cached(each).logits for each in (image, other, image.flip(-1))]
    assert len(files_in(tmp_path)) == 3 and not torch.equal(seen[0], seen[1])


def test_precisions_are_kept_apart(tmp_path):
    cached = CachedTeacher(Teacher(make_vit()), tmp_path).eval()
    image = make_images(1)
    with torch.autocast("cpu", torch.bfloat16):
        live = Teacher(cached.model).eval()(image).logits
        assert torch.equal(cached(image).logits, live) and live.dtype == torch.bfloat16
    assert cached(image).logits.dtype == torch.float32
    assert len(files_in(tmp_path)) == 2


def test_it_is_read_within_a_compiled_step(tmp_path):
    cached = CachedTeacher(Teacher(make_vit()), tmp_path).eval()
    images = make_images(2)
    expected = 2 * cached(images).logits
    compiled = torch.compile(lambda pixels: 2 * cached(pixels).logits, backend="eager")
    assert torch.equal(compiled(images), expected)


def test_a_damaged_file_is_told_by_its_name(tmp_path):
    cached = CachedTeacher(Teacher(make_vit()), tmp_path).eval()
    cached(make_images(1))
    (file,) = files_in(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match=rf"{file.name} is damaged .* Delete it"):
        cached(make_images(1))


@pytest.mark.parametrize("name", TEACHING)
def test_every_method_learns_from_what_is_kept_or_says_that_it_reads_features(name, tmp_path):
    cnn, vit = make_cnn(), make_vit()
    teachers = (CachedTeacher(Teacher(make_vit()), tmp_path),) * 2
    if METHODS[name].Options.READS_FEATURES_OF_TEACHERS:
        with pytest.raises(ValueError, match="reads features of its teachers"):
            METHODS[name](cnn, vit, teachers=teachers)
        return
    objective = METHODS[name](cnn, vit, teachers=teachers)
    images = make_images(2)
    seen = objective.teacher_outputs(images)
    objective([cnn(images), vit(images)], torch.zeros(2, 64, 96, dtype=torch.long), seen)


def make_taught(folder, cache=None, **arguments):
    """A trainer of students that learn from two teachers, on images that are mirrored alone."""

    def objective(a, b):
        teachers = [OneByOne(make_vit()), OneByOne(make_cnn())]
        if cache is not None:
            teachers = [CachedTeacher(own, cache / str(i)) for i, own in enumerate(teachers)]
        return OfflineKD(a, b, teachers=teachers)

    trainer = make_trainer(
        folder,
        objective,
        make_data(6, 2),
        max_steps=9,  # of which two see an epoch
        cnn_lr=0.02,
        per_device_train_batch_size=3,
        **arguments,
    )
    trainer.train_dataset.transform = TrainingTransform(SIZE, SIZE, (1.0, 1.0))
    return trainer


@pytest.mark.parametrize(
    "arguments", [{}, {"gradient_accumulation_steps": 2}, {"dataloader_num_workers": 2}]
)
def test_a_run_on_kept_logits_ends_as_one_with_live_teachers_bit_for_bit(arguments, tmp_path):
    ended = []
    for cache in (None, tmp_path / "cache"):
        trainer = make_taught(tmp_path / str(cache is None), cache, **arguments)
        trainer.train()
        ended.append(trainer)
    live, cached = ended
    assert comparable(cached) == comparable(live)
    assert_equal_weights(weights(cached), weights(live))
    # of each teacher: six images, and what was seen of their mirror images
    assert all(6 < len(files_in(tmp_path / "cache" / own)) <= 12 for own in ("0", "1"))


def test_a_run_that_goes_on_and_another_one_read_what_the_first_has_kept(tmp_path):
    saves = {"save_strategy": "steps", "save_steps": 4}
    whole = make_taught(tmp_path / "whole", **saves)
    whole.train()
    first = make_taught(tmp_path / "first", tmp_path / "cache")
    first.train()
    resumed = make_taught(tmp_path / "resumed", tmp_path / "cache")
    for teacher in resumed.model.objective.teachers:
        teacher.model.forward = None  # nothing is computed any more
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_equal_weights(weights(resumed), weights(whole))
