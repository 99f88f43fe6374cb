"""What `--cache_teacher` keeps, and what it refuses before a model is loaded."""

import re
from types import SimpleNamespace

import pytest
import torch
from conftest import CLASSES, make_cnn, make_data, make_vit

from ctcl_hf import TrainingTransform
from ctcl_hf.runs import cached_teachers
from ctcl_hf.runs.cached_teachers import cached, check_images
from ctcl_hf.runs.teachers import load_teacher
from ctcl_hf.students.teacher import Teacher

SIZE = (64, 96)


def test_what_is_to_be_kept_is_told_in_bytes_and_what_there_is_already_is_not_counted(
    tmp_path, capsys
):
    teacher = Teacher(make_vit())
    own, same = cached((teacher, teacher), tmp_path, 500, SIZE, tell=True)
    assert own is same
    # 500 images and as many mirrored, of 3 classes, a float of 4 bytes for each 4x4 pixels
    expected = 500 * 2 * 3 * (64 // 4) * (96 // 4) * 4 / 1e6
    assert f"at most {expected:,.0f} MB more, of 500 images" in capsys.readouterr().out
    own.eval()(torch.zeros(1, 3, *SIZE, dtype=torch.uint8))
    (file,) = own.folder.rglob("*.safetensors")
    assert file.stat().st_size < 1.1 * expected * 1e6 / 1000
    file.write_bytes(bytes(1_000_000))
    cached((teacher, teacher), tmp_path, 500, SIZE, tell=True)
    assert f"at most {expected - 1:,.0f} MB more" in capsys.readouterr().out


def test_a_disk_without_room_is_told_before_training(tmp_path, monkeypatch):
    free = SimpleNamespace(free=1000)
    monkeypatch.setattr(cached_teachers.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(OSError, match="at most 5 MB are to be kept, and 0 MB are free"):
        cached((Teacher(make_vit()),), tmp_path, 500, SIZE)


def test_what_decides_a_teachers_logits_decides_the_folder_and_nothing_else_does(tmp_path):
    vit = make_vit()

    def folder(student, *of_teacher):
        (own,) = cached((Teacher(student, *of_teacher),), tmp_path, 1, SIZE)
        return own.folder

    usual = folder(vit)
    vit.save_pretrained(str(tmp_path / "saved"))
    (loaded,) = cached((load_teacher(str(tmp_path / "saved"), CLASSES, SIZE),), tmp_path, 1, SIZE)
    assert loaded.folder == usual
    others = [folder(make_vit()), folder(make_cnn()), folder(vit, ((0,), (2,), (1,)))]
    others.append(folder(vit, None, (32, 32)))
    vit.mean += 1
    others.append(folder(vit))
    assert len({usual, *others}) == 6


def test_images_that_fill_the_crop_whole_are_taken():
    check_images(make_data(2, 1, size=(64, 96)), TrainingTransform((128, 192), (128, 192), (1, 1)))
    check_images(make_data(2, 1, size=(64, 96)), TrainingTransform((64, 96), (32, 48), (0.5, 0.5)))


@pytest.mark.parametrize("crop", [(64, 64), (96, 96)])
def test_crops_of_a_part_of_an_image_or_with_a_border_are_refused_by_the_image(crop):
    told = f"crops are {crop[0]}x{crop[1]}: an embedded image, 64x96 (height x width), is scaled to"
    with pytest.raises(ValueError, match=re.escape(told)):
        check_images(make_data(2, 1), TrainingTransform(SIZE, crop, (1, 1)))
