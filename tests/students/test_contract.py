"""What every family of students must keep to: an entry of STUDENTS is tested by being
registered.
"""

import pytest
import torch
from conftest import CLASSES, make_cnn, make_vit

from ctcl_hf import load_student
from ctcl_hf.students import STUDENTS

# A small student of each family.
SMALL = {"deeplabv3plus": make_cnn, "segformer": make_vit}


def images():
    return torch.randint(
        0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("name", STUDENTS)
def test_a_family_gives_the_features_and_channels_that_it_names(name):
    student = SMALL[name]().eval()
    assert type(student) is STUDENTS[name] and student.config.model_type == name
    assert student.family in ("cnn", "vit", "hybrid") and student.description
    output = student(images())
    assert output.logits.shape[:2] == (2, 3)
    assert (
        output.low.shape[1] == student.low_channels
        and output.last.shape[1] == student.last_channels
    )
    assert torch.equal(student.logits(images()), output.logits)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_borrowed_second_stage_is_the_students_own_and_constant(name):
    student = SMALL[name]().eval()
    output = student(images())
    low = output.low.detach().requires_grad_()
    second = output.second_stage(low)
    assert torch.equal(second, output.second)
    second.sum().backward()
    assert low.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize("name", STUDENTS)
def test_a_saved_student_comes_back_as_one_of_its_family_with_equal_logits(name, tmp_path):
    student = SMALL[name]().eval()
    student.save_pretrained(str(tmp_path))
    again = load_student(str(tmp_path), CLASSES, (64, 64)).eval()
    assert type(again) is type(student)
    assert torch.equal(again.logits(images()), student.logits(images()))
