"""HFD (Eq. 2) and the borrowing of a stage."""

import copy

import pytest
import reference
import torch
from conftest import make_cnn, make_vit
from helpers.losses import assert_same_value_and_gradients, random_logits
from torch import nn

from ctcl_hf.losses import as_constant, hfd


def test_hfd_equals_the_loop():
    transformed, target = random_logits(2, 5, 3, 4), random_logits(2, 5, 3, 4)
    ours, theirs = hfd(transformed, target).value, reference.hfd(transformed, target)
    assert_same_value_and_gradients(ours, theirs, [transformed, target])


def stages():
    return {
        "mobilenetv2": make_cnn().model.second_stage,
        "mit": make_vit().model.segformer.stages[1],
    }


@pytest.mark.parametrize("name", ["mobilenetv2", "mit"])
def test_a_borrowed_stage_equals_a_frozen_copy_and_stays_untouched(name):
    stage = stages()[name].train().double()
    channels = next(p for p in stage.parameters() if p.dim() == 4).shape[1]
    frozen = copy.deepcopy(stage).requires_grad_(False)
    before = copy.deepcopy(stage.state_dict())
    features = torch.randn(2, channels, 8, 8, dtype=torch.float64, requires_grad=True)
    results = []
    for run in (as_constant(stage), frozen):
        torch.manual_seed(3)
        output = run(features)
        results.append((output, torch.autograd.grad((output**2).sum(), features)[0]))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)
    assert all(parameter.grad is None for parameter in stage.parameters())
    for key, value in stage.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_borrowing_moves_no_batchnorm_statistics_where_the_live_stage_would():
    stage = nn.BatchNorm2d(3).train()
    as_constant(stage)(torch.randn(4, 3, 5, 5))
    assert stage.num_batches_tracked == 0
    stage(torch.randn(4, 3, 5, 5))
    assert stage.num_batches_tracked == 1
