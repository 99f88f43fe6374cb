"""Plain feature distillation against a float64 loop, and its edge cases."""

import pytest
import reference_rivals
import torch
from helpers.losses import compare, draw

from ctcl_hf.losses import feature_distillation, standardised


@pytest.mark.parametrize("over", ["batch", "image"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 1, 7), (1, 4, 3, 3)], ids=str)
def test_feature_distillation_equals_the_loop(over, shape):
    learner, peer = draw(*shape).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    theirs = reference_rivals.standardised_distance(learner, peer, over == "image")
    compare(feature_distillation(learner, peer, over), theirs, learner, peer)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_it_is_two_minus_twice_the_mean_correlation_of_the_channels(over):
    learner, peer = draw(2, 3, 8, 8), draw(2, 3, 8, 8, seed=1)
    sides = [
        x.transpose(0, 1).reshape(3, -1) if over == "batch" else x.reshape(6, -1)
        for x in (learner, peer)
    ]
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*sides, strict=True)]
    expected = 2 * (1 - sum(correlations) / len(correlations))
    assert torch.allclose(feature_distillation(learner, peer, over).value, expected, atol=1e-4)


def test_scale_and_offset_of_a_channel_do_not_count():
    peer = draw(2, 3, 4, 5, scale=10.0)
    moved = peer * torch.tensor([5.0, 1.0, 7.0]).view(3, 1, 1) + 3.0
    assert feature_distillation(moved, peer, "batch").value < 1e-6


@pytest.mark.parametrize("over", ["batch", "image"])
def test_a_constant_channel_and_a_single_position_are_finite(over):
    """A standard deviation of 0 has no gradient."""
    for learner in (torch.ones(1, 2, 3, 3), torch.ones(1, 2, 1, 1)):
        learner.requires_grad_()
        loss = feature_distillation(learner, torch.randn_like(learner), over).value
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(learner.grad).all()


def test_half_precision_is_compared_in_float32():
    learner, peer = draw(2, 3, 4, 5).bfloat16(), draw(2, 3, 4, 5, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = feature_distillation(learner, peer, "batch").value
    assert found.dtype == torch.float32
    assert torch.equal(found, feature_distillation(learner.float(), peer.float(), "batch").value)
    assert standardised(learner, "batch").dtype == torch.float32


def test_features_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 3, 4, 5\) and \(1, 1, 4, 5\)"):
        feature_distillation(draw(1, 3, 4, 5), draw(1, 1, 4, 5), "batch")
