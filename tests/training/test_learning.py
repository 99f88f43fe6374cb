"""Both students learn, whatever the method."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from helpers.training import SIZE, general_kdcl, make_trainer, training_logs

from ctcl_hf import (
    BPKD,
    CTCL,
    CWD,
    DIST,
    DML,
    IFVD,
    KDCL,
    FeatureKD,
    HeteroAKD,
    Objective,
    OfflineKD,
    StudentTerms,
    Vanilla,
    build_synthetic,
)
from ctcl_hf.data.benchmarks.synthetic import SCENE_CLASSES
from ctcl_hf.methods.options import DistillationOptions, Share, Weight, option


def test_both_students_learn(tmp_path):
    trainer = make_trainer(
        tmp_path,
        CTCL,
        max_steps=90,
        cnn_lr=0.05,
        vit_lr=2e-3,
        vit_head_lr_multiplier=1.0,
        data=make_data(24, 4),
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    logs = training_logs(trainer)
    for name in ("cnn", "vit"):
        first, last = (
            np.mean([log[f"ce_{name}"] for log in part]) for part in (logs[:5], logs[-5:])
        )
        assert last < 0.7 * first
        # 0 at a step before which its peer could tell no two classes apart.
        assert all(log[f"pixel_{name}"] >= 0 for log in logs)
        assert after[f"eval_{name}_overall_accuracy"] > max(
            0.9, before[f"eval_{name}_overall_accuracy"]
        )


def taught_offline(a, b):
    torch.manual_seed(1)
    return OfflineKD(
        a, b, teachers=(make_vit(len(SCENE_CLASSES), SIZE), make_cnn(len(SCENE_CLASSES), SIZE))
    )


@dataclass(kw_only=True)
class AgreementOptions(DistillationOptions):
    distillation_warmup: Share = option(0.5, "As of all methods.")
    agreement_weight: Weight = option(0.1, "Weight of the agreement.")


class Agreement(Objective):
    """A user's own method: the students' logits approach each other."""

    Options = AgreementOptions
    WEIGHTS: ClassVar = {"agreement": "agreement_weight"}

    def forward(self, students, labels, teachers=()):
        a, b = students
        terms = []
        for learner, peer in ((a, b), (b, a)):
            losses = self.segmentation_terms(learner, labels)
            losses["agreement"] = (learner.logits - peer.logits.detach()).square().mean()
            terms.append(StudentTerms(losses, {}))
        return terms[0], terms[1]


@pytest.fixture(scope="module")
def scenes():
    return build_synthetic(num_train=24, num_validation=4, height=SIZE[0], width=SIZE[1])


@pytest.mark.parametrize(
    ("method", "term"),
    [
        (Vanilla, "ce"),
        (DML, "kl"),
        (KDCL, "kl"),
        (general_kdcl, "kl"),
        (taught_offline, "kl"),
        (IFVD, "ifv"),
        (CWD, "channel"),
        (FeatureKD, "feature"),
        (DIST, "intra"),
        (BPKD, "edge"),
        (HeteroAKD, "hetero"),
        (Agreement, "agreement"),
    ],
)
def test_every_other_method_and_ones_own_lowers_both_cross_entropies_on_street_scenes(
    tmp_path, scenes, method, term
):
    trainer = make_trainer(
        tmp_path,
        method,
        data=scenes,
        max_steps=20,
        cnn_lr=0.1,
        vit_lr=1e-2,
        vit_head_lr_multiplier=1.0,
    )
    trainer.train()
    logs = training_logs(trainer)
    for name in ("cnn", "vit"):
        first, last = (
            np.mean([log[f"ce_{name}"] for log in part]) for part in (logs[:5], logs[-5:])
        )
        assert last < 0.9 * first
        assert all(log[f"{term}_{name}"] >= 0 for log in logs) and logs[-1][f"{term}_{name}"] > 0
