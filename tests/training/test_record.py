"""run.json: what a run was told, in raw values; a run that goes on must share them, field by
field.
"""

import json

import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from helpers.training import make_trainer

from ctcl_hf import CTCL, CWD, KDCL, SegmentationData, StudentPair
from ctcl_hf.publishing.card import RECORD_FILE, write_record
from ctcl_hf.students.teacher import Teacher
from ctcl_hf.training.checkpoints import complete_checkpoint, find_checkpoint, problem_of
from ctcl_hf.training.record import differences, record_of_inputs


def changed(tmp_path, before, after, objective=CTCL):
    """What a run with other arguments is told, without training."""
    write_record(tmp_path, make_trainer(tmp_path, objective, **before).record())
    return differences(
        tmp_path, make_trainer(tmp_path, **({"objective": objective} | after)).record()
    )


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({}, []),
        ({"max_steps": 9, "dataloader_num_workers": 1, "save_steps": 3}, []),
        ({"seed": 4}, ["training.seed: 3 before, 4 now", "training.data_seed: 3 before, 4 now"]),
        ({"data_seed": 5}, ["training.data_seed: 3 before, 5 now"]),
        ({"max_grad_norm": 1.0}, ["training.max_grad_norm: 0.0 before, 1.0 now"]),
        (
            {"dataloader_drop_last": False},
            ["training.dataloader_drop_last: True before, False now"],
        ),
        (
            {"gradient_accumulation_steps": 2},
            ["training.gradient_accumulation_steps: 1 before, 2 now"],
        ),
        ({"bf16": True}, ["training.precision: no before, bf16 now"]),
        ({"vit_warmup_steps": 1}, ["optimization.vit.warmup_steps: 2 before, 1 now"]),
        ({"crop": (32, 64)}, ["data.train.augmentation.crop_size: [64, 64] before, [32, 64] now"]),
    ],
)
def test_arguments_of_a_run_are_compared_by_name_and_its_length_may_change(tmp_path, after, told):
    assert changed(tmp_path, {}, after) == told


@pytest.mark.parametrize(
    ("objective", "options", "told"),
    [
        (
            CTCL,
            {"kl_direction": "reverse"},
            ["method.options.kl_direction: forward before, reverse now"],
        ),
        (
            CTCL,
            {"distillation_warmup": 0.5},
            ["method.options.distillation_warmup: 0.0 before, 0.5 now"],
        ),
        (
            CTCL,
            {"pixel_divisor": "taught"},
            ["method.options.pixel_divisor: labelled before, taught now"],
        ),
        (CWD, {"temperature": 1.0}, ["method.options.temperature: 4.0 before, 1.0 now"]),
        (
            KDCL,
            {"kdcl_target": "naive"},
            ["method.options.kdcl_target: minlogit before, naive now"],
        ),
    ],
)
def test_every_option_of_a_method_is_compared_through_python_too(
    tmp_path, objective, options, told
):
    """A checkpoint of the one direction of the divergence, or of no warm-up, went on under the
    other.
    """
    assert (
        changed(tmp_path, {}, {"objective": lambda a, b: objective(a, b, **options)}, objective)
        == told
    )


def test_whose_classes_a_teachers_are_is_part_of_a_record():
    def told(members):
        torch.manual_seed(0)
        a, b = make_cnn(), make_vit()
        teacher = Teacher(make_vit(), members)
        pair = StudentPair({"cnn": a, "vit": b}, CWD(a, b, teachers=(teacher, teacher)))
        return record_of_inputs(pair, None, None)["teachers"]

    own, other = told(((0,), (1,), (2,))), told(((0,), (2, 1), ()))
    assert own[0] == own[1] and isinstance(own[0], str)
    assert other == 2 * [{"weights": own[0], "classes": [[0], [2, 1], []]}]


def test_teachers_are_known_by_their_weights(tmp_path):
    def taught(seed):
        def objective(a, b):
            torch.manual_seed(seed)
            return CWD(a, b, teachers=(make_vit(), make_cnn()))

        return objective

    assert changed(tmp_path, {}, {}, taught(1)) == []
    (told,) = changed(tmp_path, {}, {"objective": taught(2)}, taught(1))
    assert told.startswith("method.teachers: [")


# ---- data ----


def test_what_masks_mean_and_which_images_there_are_are_compared(tmp_path):
    data = make_data(12, 5)
    mapped = SegmentationData(**(vars(data) | {"label_map": {7: 255}}))
    assert changed(tmp_path, {"data": data}, {"data": mapped}) == [
        "data.train.label_map.7: not there before, 255 now",
        "data.validation.label_map.7: not there before, 255 now",
    ]
    told = changed(tmp_path, {"data": data}, {"data": make_data(13, 5)})
    assert told[0] == "data.train.images: 12 before, 13 now"
    assert [line.partition(":")[0] for line in told] == [
        "data.train.images",
        "data.train.fingerprint",
    ]


# ---- on disk ----


def test_a_checkpoint_of_an_older_version_is_refused_in_a_sentence(tmp_path):
    now = make_trainer(tmp_path).record()
    with pytest.raises(ValueError, match=r"holds no run\.json.*--students A B"):
        differences(tmp_path, now)
    write_record(tmp_path, now | {"format": 0})
    with pytest.raises(
        ValueError, match=r"is of format 0, and this version of ctcl_hf reads format 1"
    ):
        differences(tmp_path, now)


def test_a_run_is_recorded_at_its_start_and_in_every_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    start, saved = (
        json.loads((folder / RECORD_FILE).read_text())
        for folder in (tmp_path, tmp_path / "checkpoint-1")
    )
    assert (start.pop("steps"), saved.pop("steps")) == (0, 1)
    assert [own["cnn"] for own in (start.pop("weights"), saved.pop("weights"))] == [
        {"step": 0, "chosen": None},
        {"step": 1, "chosen": None},
    ]
    assert start == saved
    assert start["method"]["options"] == trainer.model.objective.options.values()


def test_weights_of_the_right_size_that_are_not_those_saved_are_refused(tmp_path):
    staged, checkpoint = tmp_path / ".saving" / "checkpoint-1", tmp_path / "checkpoint-1"
    (staged / "cnn").mkdir(parents=True)
    (staged / "cnn" / "model.safetensors").write_bytes(bytes(100))
    complete_checkpoint(staged, checkpoint)
    assert problem_of(checkpoint, contents=True) is None
    (checkpoint / "cnn" / "model.safetensors").write_bytes(bytes(99) + b"x")
    assert problem_of(checkpoint) is None  # of the size that it should have
    assert "cnn/model.safetensors is damaged" in problem_of(checkpoint, contents=True)
    assert find_checkpoint(str(tmp_path), "auto") is None


def test_a_manifest_of_sizes_alone_as_older_versions_wrote_it_is_read(tmp_path):
    (tmp_path / "file.pt").write_bytes(bytes(3))
    (tmp_path / "manifest.json").write_text(json.dumps({"file.pt": 3}))
    assert problem_of(tmp_path, contents=True) is None
    (tmp_path / "manifest.json").write_text(json.dumps({"file.pt": 4}))
    assert problem_of(tmp_path) == "file.pt has 3 bytes instead of 4"
