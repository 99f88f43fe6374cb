"""What the losses read of a student: the paper's feature shapes, for all four encoders, and each
family's contract.
"""

import PIL.Image
import pytest
import torch
from conftest import CLASSES, make_cnn, make_hybrid, make_other, make_vit
from torch import nn
from transformers import (
    AutoModelForSemanticSegmentation,
    BeitConfig,
    Data2VecVisionConfig,
    DPTConfig,
    MobileViTConfig,
    MobileViTImageProcessor,
    PreTrainedConfig,
    SegformerImageProcessor,
    pipeline,
)

from ctcl_hf import CTCL, DML, CTCLArguments, Student, StudentOutput, StudentPair, load_student
from ctcl_hf.methods.feature_kd import FeatureKD
from ctcl_hf.methods.heteroakd import HeteroAKD
from ctcl_hf.methods.ifvd import IFVD
from ctcl_hf.students import LogitStudent, as_student
from ctcl_hf.students.loading import image_processor
from ctcl_hf.students.student import FeaturesUnknown, features_of
from ctcl_hf.training.optim import settings_for

# Supplement, Table 1, for 512x512 images: first (stride 4), second and last features as (channels,
# side).
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
    for features, (channels, side) in zip(
        (output.low, output.second, output.last), TABLE_1[name], strict=True
    ):
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
        {
            "mobilenetv2_100": 15.35,
            "resnet50": 43.67,
            "nvidia/mit-b1": 13.72,
            "nvidia/mit-b2": 27.46,
        },
        abs=0.01,
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
def test_a_student_normalises_as_its_own_processor_does(make):
    student = make()
    student.image_processor.image_mean = [0.1, 0.2, 0.3]
    student = type(student)(student.model, student.image_processor)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    theirs = student.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
    assert torch.allclose(student.normalize(images), theirs, atol=1e-5)


def test_the_auxiliary_head_speaks_in_training_only():
    student, images = make_cnn(), torch.randint(0, 256, (2, 3, 64, 96))
    assert student.train()(images).auxiliary_logits.shape[:2] == (2, 3)
    assert student.eval()(images).auxiliary_logits is None
    assert make_cnn(use_auxiliary_head=False).auxiliary_weight is None


def test_a_model_that_segments_nothing_is_refused_with_those_that_do():
    class Unknown(nn.Module):
        config = PreTrainedConfig()

    with pytest.raises(
        ValueError, match="no model for semantic segmentation: expected one of deeplabv3plus"
    ):
        as_student(Unknown(), None)


def test_a_pair_is_two_students():
    cnn, vit = make_cnn(), make_vit()
    with pytest.raises(ValueError, match="built for 2 students, got 1: cnn"):
        StudentPair({"cnn": cnn}, CTCL(cnn, vit))


# ---- any two students ----

OTHERS = {
    "beit": (BeitConfig, {"out_indices": [1, 2, 3, 4]}),
    "data2vec": (Data2VecVisionConfig, {"out_indices": [1, 2, 3, 4]}),
    "dpt": (
        DPTConfig,
        {
            "neck_hidden_sizes": [16] * 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "fusion_hidden_size": 16,
        },
    ),
    "mobilevit": (
        MobileViTConfig,
        {"hidden_sizes": [12, 16, 20], "neck_hidden_sizes": [8, 8, 16, 16, 32, 32, 32]},
    ),
}


def other_student(name):
    kind, options = OTHERS[name]
    if name != "mobilevit":
        options = options | {"num_hidden_layers": 4, "image_size": 64, "use_auxiliary_head": False}
        options |= {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 37}
    labels = dict(enumerate(CLASSES))
    config = kind(**options, id2label=labels, label2id={label: i for i, label in labels.items()})
    processor = MobileViTImageProcessor if name == "mobilevit" else SegformerImageProcessor
    return as_student(AutoModelForSemanticSegmentation.from_config(config), processor())


@pytest.mark.parametrize("name", OTHERS)
def test_any_segmentation_model_learns_with_a_cnn_from_logits_of_its_own_stride(name):
    cnn, other = make_cnn(), other_student(name)
    assert isinstance(other, LogitStudent)
    pair = StudentPair({"cnn": cnn, "other": other}, DML(cnn, other)).train()
    images, labels = torch.randint(0, 256, (2, 3, 64, 64)), torch.randint(0, 3, (2, 64, 64))
    output = pair(images, labels)
    output.loss.backward()
    assert output.terms["kl_cnn"] > 0 and output.terms["kl_other"] > 0
    assert (
        other.model.get_parameter(next(iter(dict(other.model.named_parameters())))).grad is not None
    )
    with pytest.raises(ValueError, match=r"stages of a .* are not known.*--no_hfd --no_region_bsd"):
        CTCL(cnn, other)


@pytest.mark.parametrize("method", [CTCL, FeatureKD, HeteroAKD, IFVD])
def test_a_method_that_reads_features_says_so_of_a_family_without_them(method):
    """The base class's NotImplementedError ended a run in a traceback."""

    class Tiny(Student):
        family, description, auxiliary_weight = "cnn", "tiny", None

    tiny = Tiny(make_cnn().model, image_processor((64, 64)))
    with pytest.raises(FeaturesUnknown, match=r"^Tiny names no .*--no_hfd --no_region_bsd"):
        method(tiny, make_vit())
    with pytest.raises(FeaturesUnknown, match="lacks low, second, last"):
        features_of(StudentOutput(torch.zeros(1)))


def test_families_decide_on_the_optimizer_and_hybrids_are_neither_cnn_nor_vit(tmp_path):
    students = {
        "cnn": make_cnn(),
        "vit": make_vit(),
        "hybrid": make_hybrid(),
        "upernet": make_other(),
    }
    families = {name: student.family for name, student in students.items()}
    assert families == {"cnn": "cnn", "vit": "vit", "hybrid": "hybrid", "upernet": "cnn"}
    assert other_student("mobilevit").family == "hybrid" and other_student("beit").family == "vit"
    cnn, hybrid = students["cnn"], students["hybrid"]
    pair = StudentPair({"cnn": cnn, "hybrid": hybrid}, DML(cnn, hybrid))
    settings = settings_for(pair, CTCLArguments(str(tmp_path), use_cpu=True))
    assert settings["cnn"].momentum == 0.9 and settings["hybrid"].momentum is None
    heads = {id(p) for p in hybrid.head.parameters()}
    assert heads == {id(p) for name, p in hybrid.model.named_parameters() if "head" in name}


def test_windows_of_attention_fit_images_of_every_size():
    student = load_student(
        "test_maxvit", CLASSES, (64, 96), from_scratch=True, output_stride=32
    ).eval()
    assert student.model.size_multiple > 32
    images = torch.randint(0, 256, (1, 3, 72, 100))
    output = student(images)
    assert output.logits.shape[-2:] == output.low.shape[-2:] == (18, 25)
    assert output.second.shape[-2:] == (9, 13) and output.last.shape[-2:] == (3, 4)
    assert student.borrowed_second_stage(output.low).shape == output.second.shape
    side = student.model.size_multiple
    whole = student(torch.randint(0, 256, (1, 3, side, side)))
    assert torch.allclose(student.borrowed_second_stage(whole.low), whole.second, atol=1e-5)
    student.check_size((72, 100))
    paired = CTCL(student, make_vit())
    outputs = [output, make_vit().eval()(images)]
    terms = paired(outputs, torch.randint(0, 3, (1, 72, 100)))
    assert all(torch.isfinite(value) for own in terms for value in own.of_batch().losses.values())


def test_a_student_of_one_size_says_so_before_training():
    student = other_student("dpt")
    student.train()
    student.check_size((64, 64))
    assert student.training
    with pytest.raises(
        ValueError, match=r"DPT cannot read images of 64x96 pixels.*--crop_size and --image_size"
    ):
        student.check_size((64, 96))


def test_a_model_that_reads_bgr_is_fed_as_its_processor_would():
    student = other_student("mobilevit")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    theirs = student.image_processor(
        images=list(images), do_resize=False, do_center_crop=False, return_tensors="pt"
    )
    assert torch.allclose(student.normalize(images), theirs["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_any_saved_segmentation_model_becomes_a_student_and_a_pipeline_again(name, tmp_path):
    saved = other_student(name)
    saved.model.config.id2label = {i: f"old {i}" for i in range(3)}
    saved.save_pretrained(str(tmp_path / "saved"))
    student = load_student(str(tmp_path / "saved"), CLASSES, (64, 64))
    assert student.config.id2label == dict(enumerate(CLASSES))
    student.save_pretrained(str(tmp_path / "student"))
    found = pipeline("image-segmentation", model=str(tmp_path / "student"))(
        PIL.Image.new("RGB", (40, 30))
    )
    assert {part["label"] for part in found} <= set(CLASSES) and found[0]["mask"].size == (40, 30)
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    read = student.image_processor(images=images[0], return_tensors="pt")["pixel_values"]
    assert torch.allclose(student.normalize(images), read, atol=1e-5)


def test_who_may_read_a_students_configuration_may_read_its_weights(cnn, tmp_path):
    """safetensors leaves a file that its owner alone may read."""
    cnn.save_pretrained(str(tmp_path))
    assert len({path.stat().st_mode for path in tmp_path.glob("*.[js]*")}) == 1


def test_an_impossible_pairing_names_both_shapes():
    cnn, vit = make_cnn(), make_vit()
    images, labels = torch.randint(0, 256, (2, 3, 64, 64)), torch.randint(0, 3, (2, 64, 64))
    wrong = vit(images)._replace(second=torch.zeros(2, 5, 8, 8))
    with pytest.raises(ValueError, match=r"one shape, got \(2, 16, 8, 8\) and \(2, 5, 8, 8\)"):
        CTCL(cnn, vit)([cnn(images), wrong], labels)
