"""A model of any kind as a teacher: its classes as the students', its queries as a class map, its
size as theirs.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from conftest import make_cnn, make_other, make_vit
from helpers.foreign import (
    small_dpt_config,
    small_eomt_config,
    small_mask2former_config,
    small_maskformer_config,
)
from transformers import (
    DPTForSemanticSegmentation,
    EomtForUniversalSegmentation,
    Mask2FormerForUniversalSegmentation,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessor,
    SegformerImageProcessor,
)
from transformers.models.maskformer.modeling_maskformer import (
    MaskFormerForInstanceSegmentationOutput,
)

from ctcl_hf.students import as_student
from ctcl_hf.students.loading import image_processor
from ctcl_hf.students.queries import QueryStudent, query_log_probabilities
from ctcl_hf.students.teacher import ABSENT, Teacher, own_size
from ctcl_hf.students.teacher_classes import members_by_map, members_by_name, read_label_map

IMAGES = torch.arange(2 * 3 * 64 * 96).view(2, 3, 64, 96) % 251
UNIVERSAL = {
    "mask2former": lambda: Mask2FormerForUniversalSegmentation(small_mask2former_config()),
    "maskformer": lambda: MaskFormerForInstanceSegmentation(small_maskformer_config()),
    "eomt": lambda: EomtForUniversalSegmentation(small_eomt_config()),
}


# ---- class maps of queries ----


def looped_class_map(class_logits, mask_logits):
    """The probabilities of the classes at each pixel, query by query, in float64."""
    images, queries, classes = class_logits.shape
    height, width = mask_logits.shape[-2:]
    p = torch.zeros(images, classes - 1, height, width, dtype=torch.float64)
    for b in range(images):
        for y in range(height):
            for x in range(width):
                for q in range(queries):
                    exponentials = [torch.exp(z) for z in class_logits[b, q].double()]
                    share = 1 / (1 + torch.exp(-mask_logits[b, q, y, x].double()))
                    for k in range(classes - 1):
                        p[b, k, y, x] += exponentials[k] / sum(exponentials) * share
                p[b, :, y, x] /= p[b, :, y, x].sum()
    return p


def test_the_class_map_of_queries_is_the_sum_over_them_as_a_distribution():
    classes, masks = 3 * torch.randn(2, 4, 6), 3 * torch.randn(2, 4, 3, 5)
    log_p = query_log_probabilities(classes, masks)
    expected = looped_class_map(classes, masks)
    assert torch.allclose(log_p.exp().double(), expected, atol=1e-6)
    # serves as logits: softmax gives it back
    assert torch.allclose(F.softmax(log_p, 1).double(), expected, atol=1e-6)


def test_the_class_map_predicts_what_transformers_own_processor_does():
    output = MaskFormerForInstanceSegmentationOutput(
        class_queries_logits=3 * torch.randn(2, 7, 5),
        masks_queries_logits=3 * torch.randn(2, 7, 6, 8),
    )
    classes = query_log_probabilities(output.class_queries_logits, output.masks_queries_logits)
    theirs = MaskFormerImageProcessor().post_process_semantic_segmentation(output)
    assert torch.equal(classes.argmax(1), torch.stack(theirs))


def test_where_no_query_says_anything_all_classes_are_alike_and_finite():
    log_p = query_log_probabilities(torch.randn(1, 2, 4), torch.full((1, 2, 1, 1), -1e4))
    assert torch.allclose(log_p.exp(), torch.tensor(1 / 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_class_map_is_float32_under_autocast(dtype):
    with torch.autocast("cpu", dtype):
        log_p = query_log_probabilities(torch.randn(1, 2, 4).to(dtype), torch.randn(1, 2, 3, 3))
    assert log_p.dtype == torch.float32


@pytest.mark.parametrize("kind", UNIVERSAL)
def test_a_universal_model_teaches_logits_of_its_classes_and_no_features(kind):
    model = UNIVERSAL[kind]()
    student = QueryStudent(model, image_processor((64, 64))).eval()
    teacher = Teacher(student, size=own_size(student, (64, 96)))
    output = teacher(IMAGES)
    classes = model.config.num_labels
    assert output.logits.shape[:2] == (2, classes)
    assert torch.allclose(output.logits.logsumexp(1), torch.zeros(()), atol=1e-5)
    assert output.last is None
    with pytest.raises(ValueError, match=f"features of a {kind} as a teacher are not known"):
        _ = teacher.last_channels


# ---- its size ----


@pytest.mark.parametrize("kind", ["dpt", "eomt"])
def test_a_teacher_of_one_size_sees_the_image_resized_to_it(kind):
    if kind == "dpt":
        student = as_student(
            DPTForSemanticSegmentation(small_dpt_config()), image_processor((9, 9))
        )
        side = 32
    else:
        student, side = QueryStudent(UNIVERSAL["eomt"](), image_processor((9, 9))), 64
    student.eval()
    size = own_size(student, (64, 96))
    assert size == (side, side)
    shrunk = F.interpolate(IMAGES.float(), size=size, mode="bilinear", antialias=True)
    assert torch.equal(Teacher(student, size=size)(IMAGES).logits, student(shrunk).logits)
    assert own_size(student, size) is None  # nothing is to be resized


@pytest.mark.parametrize("size", [(16, 64), (8, 128)])
def test_an_image_of_another_shape_with_as_many_patches_is_not_taken_for_the_size_it_knows(size):
    """DPT reads 16x64 as 32x32 without a word, every patch at another's position."""
    student = as_student(DPTForSemanticSegmentation(small_dpt_config()), image_processor((9, 9)))
    assert own_size(student, size) == (32, 32)


@pytest.mark.parametrize("make", [make_cnn, make_vit, make_other])
def test_a_teacher_of_any_size_sees_the_image_as_it_is(make):
    student = make().eval()
    assert own_size(student, (64, 96)) is None
    assert torch.equal(Teacher(student)(IMAGES).logits, student(IMAGES).logits)


# ---- its classes ----


def test_classes_are_matched_by_name_whatever_case_spaces_and_order():
    of_teacher = ("Traffic Light", "sky", "ROAD", "traffic sign")
    found = members_by_name(("road", "traffic_light", "Sky"), of_teacher)
    assert found == ((2,), (0,), (1,))


@pytest.mark.parametrize(
    ("of_data", "of_teacher", "message"),
    [
        (
            ("road", "boat", "sea"),
            ("sky", "road"),
            "no class of the name boat, sea; its classes are sky",
        ),
        (("road",), ("road", "Road"), "which of its classes is road is not clear"),
        (("car", "Car"), ("car", "sky"), "which of its classes is car, Car is not clear"),
    ],
)
def test_names_that_do_not_match_one_to_one_are_told(of_data, of_teacher, message):
    with pytest.raises(ValueError, match=message):
        members_by_name(of_data, of_teacher)


def test_a_map_merges_leaves_out_and_takes_names_and_ids():
    of_teacher = ("car", "Bus", "person", "LABEL_3")
    label_map = {"car": "vehicle", "bus": "vehicle", "3": "sky"}
    assert members_by_map(("sky", "Vehicle", "boat"), of_teacher, label_map) == ((3,), (0, 1), ())


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"lorry": "sky"}, "none of its classes has the name or the id 'lorry'"),
        ({"9": "sky"}, "none of its classes has the name or the id '9'"),
        ({"car": "heaven"}, "'heaven', which is to be its 'car', is no class of the data"),
        ({"car": 0}, "0, which is to be its 'car', is no class of the data"),
        ({"car": "sky", "0": "sky"}, "its class '0' is mapped twice"),
        ({}, "the map is empty"),
    ],
)
def test_a_map_that_cannot_be_meant_is_told(label_map, message):
    with pytest.raises(ValueError, match=message):
        members_by_map(("sky", "road"), ("car", "road"), label_map)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[1]", "expected an object"),
        ('{"car": "sky", "car": "road"}', "car is mapped twice"),
    ],
)
def test_a_file_that_is_no_map_is_told(text, message, tmp_path):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_map(str(tmp_path / "map.json"))


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"car": "sky"}))
    assert read_label_map(str(tmp_path / "map.json")) == {"car": "sky"}


def test_probabilities_of_merged_classes_are_summed_given_that_it_is_a_class_of_the_data():
    student = make_vit(num_labels=5).eval()
    teacher = Teacher(student, ((3,), (0, 4), ()))
    found = teacher(IMAGES)
    assert found.logits.shape[:2] == (2, 3) and (found.logits[:, 2] == ABSENT).all()
    own = F.softmax(student(IMAGES).logits.double(), dim=1)
    expected = torch.stack([own[:, 3], own[:, 0] + own[:, 4], 0 * own[:, 0]], dim=1)
    expected = expected / expected.sum(1, keepdim=True)
    assert torch.allclose(F.softmax(found.logits.double(), 1), expected, atol=1e-6)
    assert teacher.num_labels == 3 and teacher.known == (0, 1)
    # its features are what they are
    assert torch.equal(found.last, student(IMAGES).last)


def test_a_teacher_of_the_students_classes_gives_what_the_model_does_bit_for_bit():
    student = make_cnn().eval()
    teacher = Teacher(student, ((0,), (1,), (2,)))
    assert teacher.members is None and teacher.known is None
    for ours, theirs in zip(teacher(IMAGES)[:4], student(IMAGES)[:4], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("rescales", [True, False])
def test_a_model_is_given_what_its_own_processor_makes_of_an_image(rescales):
    """One that does not rescale to 0..1 was given numbers 255 times too small."""
    told = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3, "do_resize": False}
    processor = SegformerImageProcessor(do_rescale=rescales, **told)
    student = as_student(make_vit().model, processor)
    image = IMAGES[0].to(torch.uint8)
    expected = processor(image, return_tensors="pt").pixel_values
    assert torch.allclose(student.normalize(image[None]), expected, atol=1e-5)
