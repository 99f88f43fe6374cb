"""What a resumed run may not change is told by the flags that the user has typed."""

import pytest

from ctcl_hf.training.flags import by_flag

OPTIMIZATION = {"cnn": {"momentum": 0.9}, "vit": {"momentum": None}}


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("optimization.cnn.lr", "--cnn_lr"),
        ("optimization.vit.head_lr_multiplier", "--vit_head_lr_multiplier"),
        ("method.name", "--method"),
        ("method.options.alpha", "--alpha"),
        ("method.class_weights", "--class_weights"),
        ("training.seed", "--seed"),
        ("training.precision", "--bf16 or --fp16"),
        ("data.train.augmentation.crop_size", "--crop_size"),
        ("data.train.label_map.7", "--label_map"),
        ("data.train.fingerprint", "data.train.fingerprint"),
    ],
)
def test_a_field_is_called_as_the_flag_that_sets_it(field, flag):
    assert by_flag([f"{field}: 1 before, 2 now"], OPTIMIZATION) == [f"{flag}: 1 before, 2 now"]


def test_a_flag_that_changed_two_fields_is_told_once():
    changed = [f"data.{split}.label_map.7: 255 before, 0 now" for split in ("train", "validation")]
    assert by_flag(changed, OPTIMIZATION) == ["--label_map: 255 before, 0 now"]
