"""Region-wise BSD (Eq. 3) and the directions of both kinds of BSD, against loops written from the
paper.
"""

import pytest
import reference
import torch
from helpers.losses import assert_same_value_and_gradients, random_logits

from ctcl_hf.losses import (
    average_pool,
    cosine_distance,
    region_bsd,
    region_sums,
    spread,
    teaching_directions,
)


@pytest.mark.parametrize("grid", [(2, 3), (4, 5), (3, 2), (1, 1), (8, 12)])
def test_every_pixel_counts_in_exactly_one_region(grid):
    ce_a, ce_b = (
        torch.rand(2, 8, 12, dtype=torch.float64),
        torch.rand(2, 8, 12, dtype=torch.float64),
    )
    labelled = torch.rand(2, 8, 12) < 0.4
    labelled[0, :4] = False
    ce_a, ce_b = ce_a * labelled, ce_b * labelled
    ours = teaching_directions(
        [region_sums(ce, grid) for ce in (ce_a, ce_b)], region_sums(labelled.float(), grid) > 0
    )
    theirs = reference.region_teaching(ce_a, ce_b, labelled, grid)
    for our_mask, their_mask in zip(ours, theirs, strict=True):
        assert torch.equal(our_mask, their_mask)
    assert torch.allclose(region_sums(ce_a, grid).sum(), ce_a.sum())


@pytest.mark.parametrize("grid", [(8, 12), (4, 3), (2, 12), (1, 1), (3, 5), (16, 12)])
def test_pooling_is_adaptive_average_pooling(grid):
    features = torch.randn(2, 3, 8, 12, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *grid, dtype=torch.float64)
    ours, theirs = (
        average_pool(features, grid),
        torch.nn.functional.adaptive_avg_pool2d(features, grid),
    )
    assert torch.allclose(ours, theirs, atol=1e-12)
    for mine, expected in zip(
        *(torch.autograd.grad((y * weights).sum(), features) for y in (ours, theirs)), strict=True
    ):
        assert torch.allclose(mine, expected, atol=1e-12)


def test_b_teaches_on_a_tie_and_nobody_where_nothing_is_labelled():
    ce = torch.tensor([[[1.0, 2.0, 3.0, 0.0]]])
    labelled = torch.tensor([[[True, True, True, False]]])
    other = torch.tensor([[[2.0, 2.0, 1.0, 5.0]]])
    a_teaches, b_teaches = teaching_directions((ce, other), labelled)
    assert a_teaches.tolist() == [[[True, False, False, False]]]
    assert b_teaches.tolist() == [[[False, True, True, False]]]


def test_pixel_directions_equal_the_loop():
    ce_a, ce_b = torch.rand(2, 3, 4).round(decimals=1), torch.rand(2, 3, 4).round(decimals=1)
    labelled = torch.rand(2, 3, 4) < 0.7
    for ours, theirs in zip(
        teaching_directions((ce_a, ce_b), labelled),
        reference.teaching_maps(ce_a, ce_b, labelled),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("taught", [0.0, 0.5, 1.0])
def test_region_bsd_equals_the_loop(taught):
    learner, peer = random_logits(2, 5, 3, 4), random_logits(2, 5, 3, 4)
    mask = torch.rand(2, 3, 4) < taught
    ours, theirs = region_bsd(learner, peer, mask).value, reference.region_bsd(learner, peer, mask)
    assert_same_value_and_gradients(ours, theirs, [learner, peer])


def test_region_bsd_gives_its_peer_no_gradient():
    learner, peer = random_logits(1, 5, 3, 4), random_logits(1, 5, 3, 4)
    region_bsd(learner, peer, torch.ones(1, 3, 4, dtype=torch.bool)).value.backward()
    assert learner.grad.abs().sum() > 0
    assert peer.grad is None


def test_the_distance_of_a_zero_vector_is_finite_and_so_is_its_gradient():
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    distance = cosine_distance(x, torch.randn(1, 4, 2, 2))
    distance.sum().backward()
    assert torch.equal(distance, torch.ones(1, 2, 2))
    assert torch.isfinite(x.grad).all()


def test_region_sums_are_exact_under_autocast():
    ce = torch.rand(1, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        sums = region_sums(ce, (2, 2))
    assert torch.allclose(sums, ce.view(1, 2, 32, 2, 32).sum((2, 4)), rtol=1e-5)


def test_spread_is_zero_for_one_direction_and_near_one_for_random_ones():
    direction = torch.randn(1, 16, 1, 1)
    assert spread(direction * torch.rand(1, 1, 8, 8)).abs() < 1e-5
    assert spread(torch.randn(2, 16, 32, 32)) > 0.9
