"""`--class_weights`: what each class counts in the cross entropy, and that a run records it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import CLASSES, make_data
from helpers.training import make_trainer

from ctcl_hf import CTCL, Vanilla
from ctcl_hf.data.class_weights import class_weights
from ctcl_hf.publishing.rows import values_of_card
from ctcl_hf.training.record import differences


def test_balanced_weights_give_every_class_that_occurs_the_same_sum():
    data = make_data(3, 1)
    samples = data.samples("train", transform=None)
    pixels = sum(np.bincount(samples.decode(i)[1].ravel(), minlength=256)[:3] for i in range(3))
    weights = np.array(class_weights("balanced", data))
    assert (weights * pixels) == pytest.approx([pixels.sum() / 3] * 3)
    four = dataclasses.replace(
        data, class_names=(*CLASSES, "none"), palette=(*data.palette, (1, 2, 3))
    )
    assert class_weights("balanced", four) == pytest.approx([*weights, 1])
    assert class_weights("sqrt", data) == pytest.approx(weights**0.5)


def test_a_file_holds_a_weight_for_each_class(tmp_path):
    data, file = make_data(1, 1), tmp_path / "weights.json"
    file.write_text(json.dumps({"dot": 5, "left": 0.5, "right": 1}))
    assert class_weights(str(file), data) == (0.5, 1, 5)
    for told, message in (
        ({"left": 1, "right": 1}, "no positive number for dot"),
        ({"left": 1, "right": 1, "dot": 0}, "no positive number for dot"),
        ({"left": 1, "right": 1, "dot": 1, "car": 1}, "car is no class"),
        ({"left": 1, "rihgt": 1, "dot": 1}, "no positive number for right; rihgt is no class"),
    ):
        file.write_text(json.dumps(told))
        with pytest.raises(ValueError, match=message):
            class_weights(str(file), data)


@pytest.mark.parametrize("method", [CTCL, Vanilla])
def test_every_cross_entropy_of_a_method_is_weighted(method, tmp_path):
    """Twice the weight for every class is twice the term, the auxiliary one's too, and no
    other's.
    """
    trainer = make_trainer(tmp_path, method)
    batch = next(iter(trainer.get_train_dataloader()))
    del batch["index"]
    # of a step, whose groups of classes are those of its first
    trainer.model.objective.micro_batch = 1
    torch.manual_seed(0)
    plain = trainer.model.train()(**batch)["terms"]
    trainer.model.objective.weigh_classes([2.0, 2.0, 2.0])
    torch.manual_seed(0)
    weighted = trainer.model(**batch)["terms"]
    assert "aux_cnn" in plain
    for name, value in plain.items():
        factor = 2 if name.startswith(("ce_", "aux_")) else 1
        assert torch.allclose(weighted[name], factor * value), name
    with pytest.raises(ValueError, match="a positive weight for each of 3 classes"):
        trainer.model.objective.weigh_classes([1.0, 0.0, 1.0])


def test_a_run_records_its_class_weights_and_goes_on_with_no_others(tmp_path):
    trainer = make_trainer(tmp_path, Vanilla, max_steps=1)
    trainer.model.objective.weigh_classes([0.5, 1.0, 4.0])
    trainer.train()
    record = trainer.record()
    assert record["method"]["class_weights"] == [0.5, 1.0, 4.0]
    rows = dict(values_of_card(record, "cnn")["training"])
    assert rows["class weights of the cross entropy"] == "left 0.5, right 1, dot 4"
    assert "class_weights" not in make_trainer(tmp_path, Vanilla).record()["method"]
    assert differences(tmp_path, record) == []
    told = differences(tmp_path, make_trainer(tmp_path, Vanilla).record())
    assert told == ["method.class_weights: [0.5, 1.0, 4.0] before, not there now"]
