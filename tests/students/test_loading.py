"""From a name to a student, and what is said when there is none."""

import pytest
import torch
from conftest import CLASSES, make_cnn, make_vit
from transformers import SegformerConfig, SegformerForImageClassification

from ctcl_hf import load_student
from ctcl_hf.data import palette_for, palette_of
from ctcl_hf.students.loading import image_processor

SIZE = (64, 96)


def test_a_saved_student_comes_back_bit_for_bit_with_its_classes(tmp_path):
    for make in (make_cnn, make_vit):
        student = make().eval()
        student.save_pretrained(str(tmp_path / student.family))
        loaded = load_student(
            str(tmp_path / student.family), CLASSES, SIZE, family=student.family
        ).eval()
        images = torch.randint(0, 256, (2, 3, 64, 64))
        assert torch.equal(loaded.logits(images), student.logits(images))
        assert loaded.image_processor.size == {"height": 64, "width": 96}


def test_other_classes_get_a_new_head_on_the_same_encoder(tmp_path):
    make_cnn().save_pretrained(str(tmp_path))
    loaded = load_student(str(tmp_path), ("a", "b", "c", "d", "e"), SIZE)
    assert loaded.config.id2label == dict(enumerate("abcde"))
    assert loaded.model.decode_head.classifier.out_channels == 5


def test_a_published_encoder_becomes_a_segformer_with_its_weights(tmp_path):
    config = SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 2, 3, 4]
    )
    encoder = SegformerForImageClassification(config)
    encoder.save_pretrained(tmp_path)
    student = load_student(str(tmp_path), CLASSES, SIZE, family="vit")
    for name, value in encoder.segformer.state_dict().items():
        assert torch.equal(student.model.segformer.state_dict()[name], value), name


def test_a_saved_processors_normalisation_is_kept(tmp_path):
    make_cnn().model.save_pretrained(tmp_path)
    image_processor((8, 8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)).save_pretrained(tmp_path)
    student = load_student(str(tmp_path), CLASSES, SIZE)
    assert student.mean.flatten().tolist() == [127.5] * 3
    assert student.std.flatten().tolist() == [63.75] * 3


def test_a_folder_gives_its_weights_even_where_names_are_trained_from_scratch(tmp_path):
    original = make_vit()
    original.save_pretrained(str(tmp_path))
    loaded = load_student(str(tmp_path), CLASSES, SIZE, from_scratch=True)
    for name, value in original.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_as_many_but_other_classes_get_new_classifiers_on_the_same_features(tmp_path):
    for make in (make_cnn, make_vit):
        original = make()
        original.save_pretrained(str(tmp_path / original.family))
        loaded = load_student(str(tmp_path / original.family), ("x", "y", "z"), SIZE)
        assert loaded.config.id2label == {0: "x", 1: "y", 2: "z"}
        for name, value in original.model.state_dict().items():
            assert torch.equal(loaded.model.state_dict()[name], value) != ("classifier." in name), (
                name
            )


def test_the_ignore_index_is_the_datas_whatever_the_saved_model_ignored(tmp_path):
    model = make_vit().model
    model.config.semantic_loss_ignore_index = 0
    model.save_pretrained(tmp_path)
    assert load_student(str(tmp_path), CLASSES, SIZE).ignore_index == 255


def test_truncated_weights_are_named(tmp_path):
    make_vit().save_pretrained(str(tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(OSError, match=f"Cannot load '{tmp_path}'"):
        load_student(str(tmp_path), CLASSES, SIZE)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mobilenetv2_10", {"from_scratch": True}, ValueError, "mobilenetv2_100"),
        ("nvidia/mit-b9", {}, OSError, r"known: nvidia/mit-b\d.*\n.*--from_scratch.*local folder"),
        ("nvidia/mit-b1", {}, OSError, r"--from_scratch.*local folder in its place"),
        (
            "mobilenetv2_100",
            {},
            OSError,
            "Cannot load the encoder 'mobilenetv2_100'.*--from_scratch.*--cnn / --vit FOLDER",
        ),
        (
            "mit-b1",
            {"from_scratch": True, "family": "cnn"},
            ValueError,
            r"is a segformer, a student of the 'vit' family",
        ),
    ],
)
def test_what_cannot_be_loaded_names_the_ways_on(name, options, error, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=f"(?s){message}"):
        load_student(name, CLASSES, SIZE, **options)


def test_the_other_students_folder_is_refused(tmp_path):
    make_vit().save_pretrained(str(tmp_path / "vit"))
    with pytest.raises(
        ValueError, match=r"'vit' family; a 'cnn' is wanted here\. Are the two .* swapped"
    ):
        load_student(str(tmp_path / "vit"), CLASSES, SIZE, family="cnn")
    # where there is no folder, none is spoken of
    with pytest.raises(ValueError, match="Give it as --vit, or any two students as --students A B"):
        load_student("nvidia/mit-b0", CLASSES, SIZE, family="cnn", from_scratch=True)


def test_the_folder_of_the_whole_run_points_at_its_students(tmp_path):
    make_vit().save_pretrained(str(tmp_path / "vit"))
    with pytest.raises(
        ValueError, match=r"config\.json is missing\. Did you mean one of its folders: vit"
    ):
        load_student(str(tmp_path), CLASSES, SIZE)


PALETTE = ((0, 0, 90), (200, 200, 0), (255, 0, 0))


@pytest.mark.parametrize("make", [make_cnn, make_vit])
def test_a_students_colours_travel_in_its_configuration(make, tmp_path):
    """They were guessed from the names of its classes wherever it was drawn."""
    make().save_pretrained(str(tmp_path / "new"))
    load_student(str(tmp_path / "new"), CLASSES, SIZE, palette=PALETTE).save_pretrained(
        str(tmp_path / "kept")
    )
    loaded = load_student(str(tmp_path / "kept"), CLASSES, SIZE)
    assert palette_of(loaded.config) == list(PALETTE)
    others = load_student(str(tmp_path / "kept"), ("a", "b", "c"), SIZE)
    assert palette_of(others.config) == palette_for(("a", "b", "c"))


@pytest.mark.parametrize("kept", [None, "red", [[0, 0, 0]], [[0, 0]] * 3, [[0, 0, 300]] * 3])
def test_what_is_no_palette_of_the_classes_is_not_drawn_in(kept, vit):
    vit.config.palette = kept
    assert palette_of(vit.config) == palette_for(CLASSES)
