"""What `--teachers` takes: read whole, by transformers' Auto classes, whatever the architecture."""

import json

import pytest
import torch
from conftest import CLASSES, make_cnn, make_other, make_vit
from helpers.foreign import small_beit_config, small_eomt_config, small_mask2former_config
from transformers import (
    BeitForSemanticSegmentation,
    BeitImageProcessor,
    EomtForUniversalSegmentation,
    EomtImageProcessor,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    OneFormerConfig,
)

from ctcl_hf.runs.teachers import load_teacher, load_teachers

IMAGES = torch.arange(3 * 64 * 96).view(1, 3, 64, 96) % 251
OTHER_ORDER = {0: "Dot", 1: "sky", 2: "left", 3: "RIGHT"}
LABELS = {"id2label": OTHER_ORDER, "label2id": {name: i for i, name in OTHER_ORDER.items()}}
MODELS = {
    "beit": lambda: (
        BeitForSemanticSegmentation(small_beit_config(**LABELS)),
        BeitImageProcessor(image_mean=[0.1, 0.2, 0.3]),
    ),
    "mask2former": lambda: (
        Mask2FormerForUniversalSegmentation(small_mask2former_config(**LABELS)),
        Mask2FormerImageProcessor(),
    ),
    "eomt": lambda: (
        EomtForUniversalSegmentation(small_eomt_config(**LABELS)),
        EomtImageProcessor(),
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_of_any_kind_teaches_the_datas_classes_normalised_its_own_way(kind, tmp_path):
    model, processor = MODELS[kind]()
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), CLASSES, (64, 96)).eval()
    assert teacher.members == ((2,), (3,), (0,)) and teacher.known is None
    assert teacher.size == ((64, 64) if kind == "eomt" else None)
    output = teacher(IMAGES)
    assert output.logits.shape[:2] == (1, 3)
    mean, std = (
        torch.tensor(own).view(3, 1, 1) for own in (processor.image_mean, processor.image_std)
    )
    normalised = (IMAGES / 255 - mean) / std
    if kind == "beit":
        expected = model.eval()(pixel_values=normalised).logits[:, [2, 3, 0]]
        assert torch.allclose(output.logits, expected, atol=1e-4)


def test_what_universal_models_need_more_than_an_image_is_refused_by_its_name(tmp_path):
    OneFormerConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a oneformer, of which no class map is made here"):
        load_teacher(str(tmp_path), CLASSES, (64, 96))


def test_classes_that_do_not_match_are_told_with_the_way_on(tmp_path):
    make_vit().save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=r"no class of the name sea; .*--teacher_label_map"):
        load_teacher(str(tmp_path), ("left", "sea"), (64, 96))


def save(student, folder):
    student.save_pretrained(str(folder))
    return str(folder)


def test_of_a_run_each_student_learns_from_the_other_kind_and_of_a_model_both(tmp_path, capsys):
    run = tmp_path / "run"
    for name, student in (("cnn", make_cnn()), ("vit", make_vit())):
        save(student, run / name)
    told = {"students": ("cnn", "vit"), "class_names": CLASSES, "crop_size": (64, 96)}
    a, b = load_teachers([str(run)], None, **told)
    assert (a.model.family, b.model.family) == ("vit", "cnn")
    a, b = load_teachers([str(run / "vit")], None, tell=True, **told)
    assert a is b
    assert f"Teacher of cnn and vit: {run / 'vit'}, a SegFormer" in capsys.readouterr().out
    other = save(make_other(), tmp_path / "other")
    a, b = load_teachers([str(run / "cnn"), other], None, **told)
    assert (a.model.config.model_type, b.model.config.model_type) == ("deeplabv3plus", "upernet")


def test_each_teacher_can_have_a_map_of_its_own_and_what_comes_of_it_is_told(tmp_path, capsys):
    folder = save(make_vit(num_labels=5), tmp_path / "vit")
    maps = []
    for name, told in (("a", {"0": "left", "1": "left", "4": "dot"}), ("b", {"2": "right"})):
        maps.append(str(tmp_path / f"{name}.json"))
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    a, b = load_teachers([folder, folder], maps, ("cnn", "vit"), CLASSES, (64, 96), tell=True)
    assert a.members == ((0, 1), (), (4,)) and b.members == ((), (2,), ())
    told = capsys.readouterr().out
    assert "3 of its 5 classes are the data's. Merged: left is its 0 + 1." in told
    assert "It lacks right: where the label is such, it does not teach." in told
