"""Cross entropy (Eq. 1) and pixel-wise BSD (Eq. 4) against loops written from the equations."""

import pytest
import reference
import torch
from helpers.losses import IGNORE, assert_same_value_and_gradients, random_labels, random_logits

from ctcl_hf.losses import (
    cross_entropy_loss,
    cross_entropy_map,
    kl_map,
    masked_mean,
    pixel_bsd,
    upsample,
)


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (3, 4)])
def test_upsampling_follows_the_half_pixel_definition(size):
    logits = random_logits(2, 3, 3, 4)
    weights = torch.randn(2, 3, *size, dtype=torch.float64)
    ours, theirs = upsample(logits, size), reference.upsample_bilinear(logits, size)
    assert_same_value_and_gradients((ours * weights).sum(), (theirs * weights).sum(), [logits])


@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_cross_entropy_equals_the_loop(ignored):
    logits = random_logits(2, 4, 3, 4)
    labels = random_labels(2, 9, 13, 4, ignored)
    ours = cross_entropy_loss(logits, labels, IGNORE).value
    full = reference.upsample_bilinear(logits, (9, 13))
    assert_same_value_and_gradients(
        ours, reference.cross_entropy_loss(full, labels, IGNORE), [logits]
    )


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("taught", [0.0, 0.5, 1.0])
def test_pixel_bsd_equals_the_loop(direction, temperature, taught):
    learner, peer = random_logits(2, 4, 5, 6), random_logits(2, 4, 5, 6)
    mask = torch.rand(2, 5, 6) < taught
    ours = pixel_bsd(learner, peer, mask, direction, temperature).value
    theirs = reference.pixel_bsd(learner, peer, mask, direction, temperature)
    assert_same_value_and_gradients(ours, theirs, [learner, peer])


def test_the_two_directions_of_the_divergence_differ():
    learner, peer = random_logits(1, 4, 2, 2), random_logits(1, 4, 2, 2)
    assert not torch.allclose(kl_map(learner, peer, "reverse"), kl_map(learner, peer, "forward"))


def test_an_empty_selection_is_zero_and_has_a_graph():
    values = torch.tensor([1.0, float("inf")], requires_grad=True)
    mean = masked_mean(values, torch.tensor([False, False])).value
    mean.backward()
    assert mean == 0
    assert torch.equal(values.grad, torch.zeros(2))


def test_half_precision_logits_are_scored_in_float32_under_autocast():
    logits = torch.randn(2, 4, 3, 4).bfloat16()
    labels = random_labels(2, 9, 13, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy_loss(logits, labels, IGNORE).value
        divergence = kl_map(logits, logits.roll(1, 0), "reverse")
    assert loss.dtype == divergence.dtype == torch.float32
    assert torch.equal(loss, cross_entropy_loss(logits.float(), labels, IGNORE).value)


def test_confident_and_wrong_students_stay_finite():
    learner = torch.tensor([[[[1e4]], [[-1e4]]]], requires_grad=True)
    peer = -learner.detach()
    for direction in ("reverse", "forward"):
        loss = pixel_bsd(learner, peer, torch.ones(1, 1, 1, dtype=torch.bool), direction).value
        (gradient,) = torch.autograd.grad(loss, learner)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
    assert torch.isfinite(
        cross_entropy_map(learner, torch.ones(1, 1, 1, dtype=torch.long), IGNORE)
    ).all()
