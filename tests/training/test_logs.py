"""What CTCLTrainer logs: every term and rate of the steps, averaged as Trainer does."""

import math

import numpy as np
import pytest
from conftest import make_data
from helpers.training import make_trainer, training_logs
from torch.nn.modules.dropout import _DropoutNd
from transformers.models.segformer.modeling_segformer import SegformerDropPath


def test_every_term_of_both_students_is_logged_under_its_name(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    terms = [
        "ce",
        "hfd",
        "region",
        "pixel",
        "teaches_pixels",
        "teaches_regions",
        "region_spread",
        "lr",
        "grad_norm",
    ]
    for log in training_logs(trainer):
        for key in [f"{term}_{name}" for term in terms for name in ("cnn", "vit")] + [
            "aux_cnn",
            "loss",
        ]:
            assert math.isfinite(log[key]), key
        assert "aux_vit" not in log
        assert "learning_rate" not in log
        assert log["teaches_pixels_cnn"] + log["teaches_pixels_vit"] == pytest.approx(1)
        own = {"ce": 1, "aux": 0.4, "hfd": 0.1, "region": 1, "pixel": 1}
        total = sum(
            w * log.get(f"{term}_{name}", 0) for term, w in own.items() for name in ("cnn", "vit")
        )
        assert log["loss"] == pytest.approx(total, rel=1e-5)


def test_logged_rates_are_those_of_the_step_and_follow_each_students_schedule(tmp_path):
    trainer = make_trainer(tmp_path, cnn_lr=0.1, vit_lr=0.01)
    trainer.train()
    logs = training_logs(trainer)
    assert [log["lr_cnn"] for log in logs] == pytest.approx(
        [0.1 * (1 - step / 4) ** 0.9 for step in range(4)]
    )
    expected = [0.01 * min((step + 1) / 3, 1) * (1 - step / 4) for step in range(4)]
    assert [log["lr_vit"] for log in logs] == pytest.approx(expected)


def drop_nothing(model):
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, SegformerDropPath):
            module.drop_prob = 0.0


def label_all(samples):
    augment = samples.transform

    def labelled(*given, **named):
        image, labels = augment(*given, **named)
        return image, labels.masked_fill(labels == 255, 0)  # padding, too

    samples.transform = labelled


def test_logged_terms_are_means_over_steps_and_accumulation(tmp_path):
    frozen = {"cnn_lr": 0.0, "vit_lr": 0.0, "data": make_data(32, 1)}
    every = make_trainer(tmp_path / "a", max_steps=8, **frozen)
    pooled = make_trainer(
        tmp_path / "b", max_steps=4, logging_steps=2, gradient_accumulation_steps=2, **frozen
    )
    for trainer in (every, pooled):
        # it is keyed by the step, and the two runs would drop other channels
        drop_nothing(trainer.model)
        label_all(trainer.train_dataset)  # so that the micro-batches of a step weigh alike
        trainer.train()
    # The same eight micro-batches: one a step, and two a step with a log every second step.
    logs = training_logs(pooled)
    assert [log["step"] for log in logs] == [2, 4]
    for log, part in zip(logs, (training_logs(every)[:4], training_logs(every)[4:]), strict=True):
        for key in ("ce_cnn", "aux_cnn", "ce_vit", "hfd_vit"):
            assert log[key] == pytest.approx(np.mean([one[key] for one in part]), rel=1e-5), key
        assert log["loss"] == pytest.approx(
            sum(
                weight * log.get(f"{term}_{name}", 0)
                for term, weight in {
                    "ce": 1,
                    "aux": 0.4,
                    "hfd": 0.1,
                    "region": 1,
                    "pixel": 1,
                }.items()
                for name in ("cnn", "vit")
            ),
            rel=1e-5,
        )


def test_logged_losses_are_trainers_own(tmp_path):
    """Our sums, which survive an interruption, replace Trainer's: they must agree where there is
    none.
    """
    options = {"logging_steps": 2, "gradient_accumulation_steps": 2, "data": make_data(16, 3)}
    trainer = make_trainer(tmp_path, max_steps=4, **options)
    theirs = []
    log = trainer.log
    trainer.log = lambda logs, *rest: (theirs.append(logs.get("loss")), log(logs, *rest))[1]
    trainer.train()
    for own, other in zip(training_logs(trainer), theirs, strict=False):
        assert own["loss"] == pytest.approx(other, rel=1e-5)
