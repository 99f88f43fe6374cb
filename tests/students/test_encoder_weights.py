"""Encoders that start from a local file: which files are taken, and what is said of others."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from ctcl_hf import load_student
from ctcl_hf.arguments.pair import StudentArguments
from ctcl_hf.runs.run import _weights_of
from ctcl_hf.students.encoder_weights import read_encoder_weights

CLASSES, SIZE = ("road", "sky"), (64, 96)
ENCODER = "mobilenetv2_035"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = timm.create_model(ENCODER, pretrained=False)
    with torch.no_grad():
        for value in model.buffers():
            value.add_(torch.rand_like(value.float()).to(value.dtype))
    return model.state_dict()


def student(source, name=ENCODER, **options):
    return load_student(
        name,
        CLASSES,
        SIZE,
        encoder_weights=str(source),
        aspp_channels=16,
        output_stride=16,
        **options,
    )


def assert_holds(model, network):
    own = model.encoder.state_dict()
    for name, value in own.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, network[name]), name


@pytest.mark.parametrize("from_scratch", [False, True])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "pth of a training", "folder", "local-dir"])
def test_a_file_of_timms_names_is_the_encoder_bit_for_bit(tmp_path, network, kind, from_scratch):
    path, name = tmp_path / "model.safetensors", ENCODER
    if kind == "pth":
        torch.save(network, path := tmp_path / "weights.pth")
    elif kind == "pth of a training":
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in network.items()}},
            path,
        )
        path = path.rename(tmp_path / "weights.pth")
    else:
        save_file(network, path)
    if kind == "folder":
        path = tmp_path
    if kind == "local-dir":
        told = {
            "architecture": ENCODER,
            "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        }
        (tmp_path / "config.json").write_text(json.dumps(told))
        loaded = load_student(
            f"local-dir:{tmp_path}", CLASSES, SIZE, from_scratch=from_scratch, aspp_channels=16
        )
        assert (
            loaded.mean.flatten().tolist() == [127.5] * 3
            and loaded.std.flatten().tolist() == [63.75] * 3
        )
    else:
        loaded = student(path, name, from_scratch=from_scratch)
    assert_holds(loaded.model, network)
    assert loaded.origin.startswith(ENCODER) and "SHA-256" in loaded.origin
    assert loaded.family == "cnn" and loaded.config.encoder == ENCODER


def test_a_file_of_other_names_in_timms_order_is_taken_and_told(tmp_path, network, caplog):
    others = {
        f"layer{i}.{name.rpartition('.')[2]}": value
        for i, (name, value) in enumerate(network.items())
    }
    torch.save(others, tmp_path / "weights.pth")
    with caplog.at_level("WARNING"):
        loaded = student(tmp_path / "weights.pth")
    assert_holds(loaded.model, network)
    assert "matched by order and shape" in caplog.text


def reordered(network):
    """BatchNorm's weight and bias, which have one shape, in each other's place."""
    names = list(network)
    i = names.index("bn1.weight")
    names[i], names[i + 1] = names[i + 1], names[i]
    return {f"layer{i}.{name.rpartition('.')[2]}": network[name] for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n: timm.create_model("mobilenetv2_050").state_dict(),
            "is .* there, not .*another shape",
        ),
        (
            lambda n: {name: value for name, value in n.items() if "blocks.6" not in name},
            "no blocks.6.0",
        ),
        (reordered, "the file's order does not agree either"),
        (
            lambda n: {**n, "conv_stem.weight": n["conv_stem.weight"] * float("nan")},
            "conv_stem.weight is not finite",
        ),
        (lambda n: {"weight": torch.ones(2)}, "Name the encoder that the file is of"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(tmp_path, network, change, message):
    save_file(change(network), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=message):
        read_encoder_weights(str(tmp_path / "weights.safetensors"), ENCODER)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01."])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_holds_no_weights_is_told(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=f"{name} cannot be read as weights"):
        read_encoder_weights(str(tmp_path / name), ENCODER)


def test_a_missing_file_an_empty_folder_and_a_folder_without_a_config_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        student(tmp_path / "none.pth")
    with pytest.raises(OSError, match="cannot be read as weights"):
        student(tmp_path)
    with pytest.raises(ValueError, match=r"config.json that names its architecture"):
        load_student(f"local-dir:{tmp_path}", CLASSES, SIZE)
    for content in ("[]", '{"architecture": 3}', "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(
            ValueError, match=r"config.json that names its architecture|no encoder of timm's"
        ):
            load_student(f"local-dir:{tmp_path}", CLASSES, SIZE)
    with pytest.raises(ValueError, match="is a whole model or a Hub id"):
        student(tmp_path / "none.pth", "nvidia/mit-b0")


def test_each_timm_encoder_gets_a_file_of_its_own():
    both = ("mobilenetv2_035", "nvidia/mit-b0")
    assert _weights_of(both, StudentArguments(encoder_weights=["a.pth"])) == ["a.pth", None]
    assert _weights_of(both[::-1], StudentArguments(encoder_weights=["a.pth"])) == [None, "a.pth"]
    assert _weights_of(both, StudentArguments()) == [None, None]
    two = ("resnet18", "mobilenetv2_035")
    assert _weights_of(two, StudentArguments(encoder_weights=["a.pth", "b.pth"])) == [
        "a.pth",
        "b.pth",
    ]
    with pytest.raises(
        ValueError,
        match="a file for each timm encoder among the students, which are mobilenetv2_035",
    ):
        _weights_of(both, StudentArguments(encoder_weights=["a.pth", "b.pth"]))
