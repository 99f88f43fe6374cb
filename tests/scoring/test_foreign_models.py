"""Models that others saved: read whole or refused, shown whole images, and none of their code is
run.
"""

import contextlib
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import CLASSES, make_cnn, make_vit
from helpers.foreign import small_dpt_config
from safetensors.torch import load_file, save_file
from transformers import (
    DPTForSemanticSegmentation,
    MobileViTConfig,
    MobileViTForSemanticSegmentation,
    MobileViTImageProcessor,
)

from ctcl_hf import load_student, segment
from ctcl_hf.cli.export import export
from ctcl_hf.scoring.predict import load_for_inference, load_whole_model

SPACE, NO_SPACE = "ctcl_hf.publishing.space.app", "pip install 'ctcl-hf[space]'"


@pytest.fixture
def mobilevit():
    """A tiny MobileViT and a processor that keeps the aspect and then cuts out the middle, as the
    published one's.
    """
    config = MobileViTConfig(
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        num_attention_heads=2,
        num_labels=3,
    )
    model = MobileViTForSemanticSegmentation(config).eval()
    # else the drawn weights are so small that all pixels are of one class
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.3)
    processor = MobileViTImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    return model, processor


def test_a_whole_image_is_segmented_where_the_processor_would_cut_out_its_middle(mobilevit):
    """The logits of the middle third were stretched over the image, whatever the outer thirds
    showed.
    """
    pixels = np.random.default_rng(0).integers(0, 255, (64, 192, 3), dtype=np.uint8)
    repainted = pixels.copy()
    repainted[:, :64], repainted[:, 128:] = 255 - pixels[:, :64], 255 - pixels[:, 128:]
    model, processor = mobilevit
    before, after = segment(
        model, processor, [PIL.Image.fromarray(image) for image in (pixels, repainted)]
    )
    with torch.no_grad():
        # it reads BGR
        whole = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None].flip(1)
        logits = model(pixel_values=whole).logits
    expected = torch.nn.functional.interpolate(logits, size=(64, 192), mode="bilinear").argmax(1)[0]
    assert np.array_equal(before, expected.numpy())
    assert (before != after)[:, :64].any()


def test_images_that_a_processor_resizes_to_several_sizes_are_segmented_together(mobilevit):
    images = [PIL.Image.new("RGB", size) for size in ((192, 64), (64, 80))]
    assert [ids.shape for ids in segment(*mobilevit, images)] == [(64, 192), (80, 64)]


def test_the_space_shows_a_model_the_whole_image_too(mobilevit):
    app = pytest.importorskip(SPACE, reason=NO_SPACE)
    image = PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (64, 192, 3), dtype=np.uint8)
    )
    shown, _ = app.segment([app.logits_of(*mobilevit, image)], (64, 192))
    assert np.array_equal(shown, segment(*mobilevit, image))


def test_an_export_asks_for_the_size_that_a_processor_does_not_say(mobilevit, tmp_path):
    """It ended in `TypeError: randn() received NoneType`."""
    for part in mobilevit:
        part.save_pretrained(tmp_path / "model")
    with pytest.raises(
        ValueError, match="model resizes to is no one size: give --size HEIGHT WIDTH"
    ):
        export(Namespace(models=[str(tmp_path / "model")], output=tmp_path / "x.onnx", size=None))


def spoil(folder: Path, change) -> None:
    """Writes the folder's weights again as `change(weights)` leaves them."""
    path = folder / "model.safetensors"
    weights = {key: value.clone() for key, value in load_file(path).items()}
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def fill(key, value):
    return lambda weights: weights[key].view(-1)[:1].fill_(value)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (
            "cnn",
            lambda w: w.pop("decode_head.classifier.weight"),
            r"lacks decode_head\.classifier\.weight",
        ),
        ("cnn", lambda w: w.pop("encoder.conv_stem.weight"), r"lacks encoder\.conv_stem\.weight"),
        ("cnn", lambda w: w.pop("encoder.bn1.running_mean"), r"lacks encoder\.bn1\.running_mean"),
        ("vit", lambda w: [w.pop(key) for key in list(w)[::2]], r"lacks .* in all"),
        (
            "cnn",
            lambda w: w.update(more=torch.ones(2)),
            "also holds, without a place for them, more",
        ),
        (
            "cnn",
            fill("encoder.conv_stem.weight", float("nan")),
            r"not finite in encoder\.conv_stem\.weight",
        ),
        (
            "cnn",
            fill("encoder.bn1.running_var", float("inf")),
            r"not finite in encoder\.bn1\.running_var",
        ),
        (
            "vit",
            lambda w: w.update({"decode_head.classifier.bias": torch.ones(5)}),
            r"other sizes of .*classifier\.bias",
        ),
    ],
)
def test_weights_that_are_not_the_whole_model_are_refused(
    family, change, message, tmp_path, request
):
    """What was missing was drawn, what was left over was dropped, NaN was one class: and each had a
    score.
    """
    request.getfixturevalue(family).save_pretrained(str(tmp_path))
    spoil(tmp_path, change)
    with pytest.raises(OSError, match=message):
        load_for_inference(str(tmp_path))


def test_truncated_weights_are_told_in_a_sentence(vit, tmp_path):
    """A SafetensorError went through as a traceback."""
    vit.save_pretrained(str(tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(OSError, match=f"The weights of {tmp_path} cannot be read"):
        load_for_inference(str(tmp_path))


def test_weights_that_no_logit_depends_on_may_be_missing(tmp_path):
    """As they are in the published DPT: its first fusion layer has no other feature to refine."""
    config = small_dpt_config()
    model = DPTForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    unused = "neck.fusion_stage.layers.0.residual_layer1.convolution1.weight"
    spoil(tmp_path, lambda weights: weights.pop(unused))
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            load_whole_model(str(tmp_path)).eval()(pixels).logits, model(pixels).logits
        )


@pytest.mark.parametrize(
    "load", [load_whole_model, lambda folder: load_student(folder, CLASSES, (64, 64)).model]
)
def test_weights_saved_in_half_precision_compute_in_float32(load, tmp_path):
    """They computed in bfloat16, and the score was recorded as float32's."""
    student = make_vit()
    student.model.bfloat16()
    student.save_pretrained(str(tmp_path))
    model = load(str(tmp_path))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(
        model.decode_head.classifier.weight, student.model.decode_head.classifier.weight.float()
    )


ENTRIES = {
    "load_for_inference": load_for_inference,
    "load_student": lambda folder: load_student(folder, CLASSES, (64, 64)),
    "the Space": lambda folder: pytest.importorskip(SPACE, reason=NO_SPACE).load(folder, False),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "where", ["a model of an unknown type", "a processor beside a known model"]
)
def test_no_code_beside_a_model_is_run_whatever_standard_input_answers(
    entry, where, tmp_path, monkeypatch
):
    """transformers asked on standard input whether to run it, and `yes |` did."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, ran = tmp_path / "model", tmp_path / "ran"
    make_cnn().save_pretrained(str(folder))
    (folder / "code.py").write_text(
        f"open({str(ran)!r}, 'w')\nclass Config: pass\nModel = Processor = Config\n"
    )
    model = {"AutoConfig": "code.Config", "AutoModelForSemanticSegmentation": "code.Model"}
    name, told = {
        "a model of an unknown type": ("config.json", {"auto_map": model, "model_type": "unknown"}),
        "a processor beside a known model": (
            "preprocessor_config.json",
            {
                "auto_map": {"AutoImageProcessor": "code.Processor"},
                "image_processor_type": "Unknown",
            },
        ),
    }[where]
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | told))
    with contextlib.suppress(OSError, ValueError):  # refused, or done without that code
        ENTRIES[entry](str(folder))
    assert not ran.exists()
