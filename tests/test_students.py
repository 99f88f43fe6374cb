"""What the losses read of a student: the paper's feature shapes, for all four encoders, and each family's contract."""

import pytest
import torch
from conftest import CLASSES, make_cnn, make_vit
from torch import nn
from transformers import PreTrainedConfig

from ctcl_hf import CTCL, StudentPair, load_student
from ctcl_hf.students import as_student

# Supplement, Table 1, for 512x512 images: first (stride 4), second and last features as (channels, side).
TABLE_1 = {
    "mobilenetv2_100": ((24, 128), (32, 64), (96, 64)),
    "resnet50": ((256, 128), (512, 64), (2048, 32)),
    "nvidia/mit-b1": ((64, 128), (128, 64), (512, 16)),
    "nvidia/mit-b2": ((64, 128), (128, 64), (512, 16)),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_feature_shapes_are_those_of_the_supplements_table_1(name):
    student = load_student(name, CLASSES, (512, 512), from_scratch=True, aspp_channels=8).eval()
    with torch.no_grad():
        output = student(torch.zeros(1, 3, 512, 512, dtype=torch.uint8))
    for features, (channels, side) in zip((output.low, output.second, output.last), TABLE_1[name], strict=True):
        assert features.shape == (1, channels, side, side)
    assert output.logits.shape == (1, 3, 128, 128)
    assert student.low_channels == TABLE_1[name][0][0]
    assert student.last_channels == TABLE_1[name][2][0]


def test_parameters_are_those_of_the_supplements_table_2():
    counts = {}
    for name in TABLE_1:
        classes = [str(i) for i in range(150)]
        student = load_student(name, classes, (512, 512), from_scratch=True, aspp_channels=512)
        counts[name] = sum(parameter.numel() for parameter in student.parameters()) / 1e6
    assert counts == pytest.approx(
        {"mobilenetv2_100": 15.35, "resnet50": 43.67, "nvidia/mit-b1": 13.72, "nvidia/mit-b2": 27.46}, abs=0.01
    )


def test_regions_and_projections_have_the_supplements_shapes():
    cnn = load_student("mobilenetv2_100", CLASSES, (512, 512), from_scratch=True, aspp_channels=8)
    vit = load_student("mit-b1", CLASSES, (512, 512), from_scratch=True)
    pair = StudentPair({"cnn": cnn, "vit": vit}, CTCL(cnn, vit))
    cnn_own, vit_own = pair.projections("cnn"), pair.projections("vit")
    assert cnn_own["low"](torch.zeros(1, 24, 128, 128), (128, 128)).shape == (1, 64, 128, 128)
    assert vit_own["low"](torch.zeros(1, 64, 128, 128), (128, 128)).shape == (1, 24, 128, 128)
    assert cnn_own["last"](torch.zeros(1, 96, 64, 64), (16, 16)).shape == (1, 96, 16, 16)
    assert vit_own["last"](torch.zeros(1, 512, 16, 16), (16, 16)).shape == (1, 96, 16, 16)


@pytest.mark.parametrize("make", [make_cnn, make_vit])
def test_the_second_stage_maps_the_first_features_to_the_second(make):
    output = make().eval()(torch.randint(0, 256, (2, 3, 64, 96)))
    assert torch.equal(output.second_stage(output.low), output.second)


@pytest.mark.parametrize("make", [make_cnn, make_vit])
def test_a_student_normalises_as_its_own_processor_does(make):
    student = make()
    student.image_processor.image_mean = [0.1, 0.2, 0.3]
    student = type(student)(student.model, student.image_processor)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    theirs = student.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
    assert torch.allclose(student.normalize(images), theirs, atol=1e-5)


def test_logits_for_evaluation_are_those_of_the_training_view():
    for student in (make_cnn().eval(), make_vit().eval()):
        images = torch.randint(0, 256, (2, 3, 64, 96))
        assert torch.equal(student.logits(images), student(images).logits)


def test_the_auxiliary_head_speaks_in_training_only():
    student, images = make_cnn(), torch.randint(0, 256, (2, 3, 64, 96))
    assert student.train()(images).auxiliary_logits.shape[:2] == (2, 3)
    assert student.eval()(images).auxiliary_logits is None
    assert make_cnn(use_auxiliary_head=False).auxiliary_weight is None


def test_an_unknown_family_is_named_with_the_known_ones():
    class Unknown(nn.Module):
        config = PreTrainedConfig()

    with pytest.raises(ValueError, match="expected one of deeplabv3plus, segformer"):
        as_student(Unknown(), None)


def test_a_pair_is_two_students():
    cnn, vit = make_cnn(), make_vit()
    with pytest.raises(ValueError, match="two students, got 1: cnn"):
        StudentPair({"cnn": cnn}, CTCL(cnn, vit))
