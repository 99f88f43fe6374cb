"""`ctcl-hf predict`: what it takes, what it saves, and what it refuses before a model is loaded."""

import shutil
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import make_cnn, make_vit
from transformers import SegformerForSemanticSegmentation

from ctcl_hf.cli import predict as command
from ctcl_hf.cli.predict import named_images
from ctcl_hf.scoring.predict import load_for_inference, segment


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A working folder with three images, in folders, and a student."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (
        ("a.jpg", (40, 30)),
        ("photos/b.png", (51, 37)),
        ("photos/below/c.png", (33, 64)),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(
            tmp_path / name
        )
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    make_vit().save_pretrained("vit")
    return tmp_path


def predict(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ctcl-hf predict", *arguments])
    command.main()


def test_files_folders_and_patterns_are_segmented_and_keep_their_places(photos, monkeypatch):
    (photos / "x1.png").write_bytes((photos / "photos" / "b.png").read_bytes())
    predict(monkeypatch, "a.jpg", "photos", "x*.png", "--model", "vit", "--save", "mask")
    out = photos / "predictions"
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert written == ["mask/a.png", "mask/b.png", "mask/below/c.png", "mask/x1.png"]


def test_masks_hold_class_ids_at_the_images_size_in_the_classes_colours(photos, monkeypatch):
    predict(monkeypatch, "photos/b.png", "--model", "vit", "--save", "overlay", "mask", "figure")
    mask = PIL.Image.open("predictions/mask/b.png")
    assert mask.mode == "P" and mask.size == (51, 37)
    assert len(set(zip(*[iter(mask.getpalette()[:9])] * 3, strict=True))) == 3
    expected = segment(*load_for_inference("vit"), PIL.Image.open("photos/b.png"))
    assert np.array_equal(np.asarray(mask), expected)
    assert PIL.Image.open("predictions/overlay/b.png").size == (51, 37)
    assert PIL.Image.open("predictions/figure/b.png").width > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.jpg"], "gone.jpg: no image there"),
        (["gone*.jpg"], r"gone\*.jpg: no image there"),
        (["vit"], "vit: no image there"),
        (["photos/notes.txt"], "photos/notes.txt: Pillow cannot identify it as an image"),
        (
            ["a.jpg", "photos/a.jpg"],
            "photos/a.jpg and a.jpg are both called a|a.jpg and photos/a.jpg are both called",
        ),
    ],
)
def test_what_is_no_image_is_told_before_the_model_is_loaded(
    photos, monkeypatch, arguments, message
):
    (photos / "photos" / "a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    monkeypatch.setattr("ctcl_hf.scoring.predict.load_for_inference", None)
    with pytest.raises(SystemExit, match=message):
        predict(monkeypatch, *arguments, "--model", "vit")


def test_a_mistyped_kind_is_answered_with_the_nearest(photos, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        predict(monkeypatch, "a.jpg", "--model", "vit", "--save", "maks")
    usage, said = capsys.readouterr().err.strip().splitlines()
    assert usage == "usage: ctcl-hf predict IMAGE ... --model MODEL [options]"
    assert said.endswith("--save maks: expected one of figure, overlay, mask. Did you mean mask?")


def test_two_models_or_a_run_predict_what_is_likeliest_by_their_mean_probabilities(
    photos, monkeypatch
):
    torch.manual_seed(1)
    make_cnn().save_pretrained("run/cnn")
    make_vit().save_pretrained("run/vit")
    logits = []
    for name in ("run/cnn", "run/vit"):
        model, processor = load_for_inference(name)
        pixels = processor(PIL.Image.open("photos/b.png"), return_tensors="pt").pixel_values
        with torch.no_grad():
            logits.append(model(pixel_values=pixels).logits)
    sized = [
        torch.nn.functional.interpolate(own, (37, 51), mode="bilinear", align_corners=False)
        for own in logits
    ]
    expected = sum(own.softmax(1) for own in sized)[0].argmax(0).numpy()
    for names in (["run"], ["run/cnn", "run/vit"]):
        predict(monkeypatch, "photos/b.png", "--model", *names, "--save", "mask")
        found = np.asarray(PIL.Image.open("predictions/mask/b.png"))
        assert (found == expected).mean() > 0.999
    assert any((expected != own[0].argmax(0).numpy()).any() for own in sized)


def test_images_that_the_models_flag_has_taken_are_asked_for_before_it(photos, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        predict(monkeypatch, "--model", "vit", "a.jpg")
    told = "error: expected images, before --model, which takes what follows it"
    said = capsys.readouterr().err.strip()
    assert said.endswith(f"{told}: ctcl-hf predict a.jpg --model vit"), said
    with pytest.raises(SystemExit):
        predict(monkeypatch, "--model", "vit")
    assert capsys.readouterr().err.strip().endswith(f"{told}.")


def test_students_of_other_classes_have_no_mean(photos, monkeypatch):
    make_vit(2).save_pretrained("two")
    with pytest.raises(
        SystemExit, match=r"The models know different classes, .*: give students of"
    ):
        predict(monkeypatch, "a.jpg", "--model", "vit", "two")


def test_one_image_named_twice_is_segmented_once(photos):
    assert list(named_images(["a.jpg", "a.jpg", "*.jpg"], [])) == ["a"]


def test_bad_images_are_left_out_if_asked_for_and_every_one_is_told(photos, monkeypatch, capsys):
    """One broken photo stopped a whole folder, and there was no --skip_bad."""
    (photos / "photos" / "cut.png").write_bytes((photos / "photos" / "b.png").read_bytes()[:200])
    for name in ("x.jpg", "y.jpg"):
        (photos / "photos" / name).write_text("no image")
    with pytest.raises(SystemExit, match=r"(?s)x\.jpg.*y\.jpg.*--skip_bad"):
        predict(monkeypatch, "photos", "--model", "vit")
    predict(monkeypatch, "photos", "--model", "vit", "--save", "mask", "--skip_bad")
    out, said = capsys.readouterr()
    assert "2 images segmented" in out
    for name in ("cut.png", "x.jpg", "y.jpg"):
        assert f"left out as bad: photos/{name}" in said
    with pytest.raises(SystemExit, match=r"x\.jpg: Pillow cannot"):
        predict(monkeypatch, "photos/x.jpg", "--model", "vit", "--skip_bad")


def test_what_was_segmented_and_passed_over_is_told(photos, monkeypatch, capsys):
    """Files of other kinds and hidden ones were passed over without a word."""
    (photos / "photos" / "scan.heic").write_bytes(b"of a phone")
    (photos / "photos" / "._b.png").write_bytes(b"of a Mac")
    predict(monkeypatch, "photos", "--model", "vit", "--save", "mask")
    assert (
        "2 images segmented; left out: 1 hidden (._b.png), 1 of another kind (scan.heic)."
        in capsys.readouterr().out
    )


def test_masks_of_a_data_set_are_told_of(photos, monkeypatch, capsys):
    """`predict DATASET_FOLDER` segmented the masks as well, with no remark."""
    for kind in ("images", "masks"):
        (photos / "data" / "train" / kind).mkdir(parents=True)
        shutil.copy(photos / "a.jpg", photos / "data" / "train" / kind / "a.jpg")
    predict(monkeypatch, "data", "--model", "vit", "--save", "mask")
    assert "data/train/masks: if these are the masks of a data set" in capsys.readouterr().err
    predict(monkeypatch, "data/train/images", "--model", "vit", "--save", "mask")
    assert "masks" not in capsys.readouterr().err
    predict(monkeypatch, "data/train/masks/*.jpg", "--model", "vit", "--save", "mask")
    assert "data/train/masks: if these are the masks of a data set" in capsys.readouterr().err
    (photos / "data" / "train_labels").mkdir()
    shutil.copy(photos / "a.jpg", photos / "data" / "train_labels" / "a.jpg")
    predict(monkeypatch, "data/train_labels/a.jpg", "--model", "vit", "--save", "mask")
    assert "data/train_labels: if these are the masks" in capsys.readouterr().err
    for name in ("a", "b"):
        for ending, suffix in (("", "jpg"), ("_mask", "png")):
            target = photos / "flat" / f"{name}{ending}.{suffix}"
            target.parent.mkdir(exist_ok=True)
            PIL.Image.open(photos / "a.jpg").save(target)
    predict(monkeypatch, "flat", "--model", "vit", "--save", "mask")
    assert "flat/*_mask.*: if these are the masks of a data set" in capsys.readouterr().err
    predict(monkeypatch, "flat/*.jpg", "--model", "vit", "--save", "mask")
    assert "masks" not in capsys.readouterr().err


def test_an_image_that_cannot_be_read_in_full_is_told_once_the_others_are_done(photos, monkeypatch):
    content = (photos / "photos" / "b.png").read_bytes()
    (photos / "photos" / "a_cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit, match=r"(?s)photos/a_cut.png: .*truncated.*with --skip_bad"):
        predict(monkeypatch, "photos", "--model", "vit", "--save", "mask")
    assert (photos / "predictions" / "mask" / "b.png").is_file()


@pytest.mark.parametrize(("flags", "cpu"), [((), False), (("--use_cpu",), True)])
def test_it_computes_on_the_accelerator_if_there_is_one_and_not_told_otherwise(
    photos, monkeypatch, flags, cpu
):
    """It computed on the CPU, beside an idle GPU."""
    asked, moved = [], []

    class State:
        def __init__(self, cpu):
            asked.append(cpu)
            self.device = torch.device("cpu")

    monkeypatch.setattr("accelerate.PartialState", State)
    monkeypatch.setattr(
        SegformerForSemanticSegmentation, "to", lambda self, *args: moved.append(args) or self
    )
    predict(monkeypatch, "a.jpg", "--model", "vit", "--save", "mask", *flags)
    assert asked == [cpu] and moved[-1] == (torch.device("cpu"),)
