"""What CTCL is compared with: losses against float64 loops, value and every gradient, and their
edge cases.
"""

import pytest
import reference
import torch
from helpers.losses import IGNORE, compare, draw, draw_labels

from ctcl_hf.losses import (
    channel_distillation,
    cross_entropy_map,
    error_products,
    general_share,
    intra_class_variation,
    kl_map,
    linear_share,
    masked_mean,
    minimum_target,
    naive_share,
)
from ctcl_hf.losses.variation import nearest_labels


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_to_a_peer_everywhere_equals_the_loop(temperature):
    learner, peer = draw(2, 3, 4, 5).requires_grad_(), draw(2, 3, 4, 5, seed=1).requires_grad_()
    labels = draw_labels(2, 4, 5)
    ours = masked_mean(kl_map(learner, peer, "forward", temperature), labels != IGNORE)
    compare(
        ours, reference.kl_everywhere(learner, peer, labels, IGNORE, temperature), learner, peer
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_channel_distillation_equals_the_loop(temperature):
    learner, peer = draw(2, 3, 4, 5).requires_grad_(), draw(2, 3, 4, 5, seed=1).requires_grad_()
    ours = channel_distillation(learner, peer, temperature)
    compare(ours, reference.channel_kl(learner, peer, temperature), learner, peer)


def test_channel_distillation_brings_a_peer_of_another_stride_to_the_learners_size():
    learner, peer = draw(1, 3, 8, 8).requires_grad_(), draw(1, 3, 4, 5, seed=1).requires_grad_()
    theirs = reference.channel_kl(learner, reference.upsample_bilinear(peer, (8, 8)), 4.0)
    compare(channel_distillation(learner, peer, 4.0), theirs, learner, peer)


def test_intra_class_variation_equals_the_loop():
    learner, peer = draw(2, 6, 3, 4).requires_grad_(), draw(2, 4, 3, 4, seed=1).requires_grad_()
    labels = draw_labels(2, 3, 4)
    ours = intra_class_variation(learner, peer, labels, 3, IGNORE)
    compare(ours, reference.class_variation(learner, peer, labels, IGNORE), learner, peer)


def test_intra_class_variation_meets_on_the_coarser_grid():
    learner, peer, labels = draw(1, 6, 8, 12), draw(1, 4, 4, 6, seed=1), draw_labels(1, 32, 48)
    pooled = reference.adaptive_average_pool(learner, (4, 6))
    expected = reference.class_variation(pooled, peer, nearest_labels(labels, (4, 6)), IGNORE)
    assert torch.allclose(
        intra_class_variation(learner, peer, labels, 3, IGNORE).value, expected, atol=1e-12
    )


def test_nearest_labels_are_those_at_the_centres():
    labels = torch.arange(6 * 9).view(1, 6, 9)
    assert nearest_labels(labels, (2, 3)).tolist() == [[[10, 13, 16], [37, 40, 43]]]
    assert torch.equal(nearest_labels(labels, (6, 9)), labels)
    exact = torch.nn.functional.interpolate(
        labels[:, None].double(), size=(4, 5), mode="nearest-exact"
    )[:, 0]
    assert torch.equal(nearest_labels(labels, (4, 5)).double(), exact)


def target_of(a, b, labels):
    return minimum_target((a, b), torch.where(labels == IGNORE, 0, labels).unsqueeze(1))


def test_minimum_target_equals_the_loop_and_predicts_no_better_than_either():
    a, b, labels = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1), draw_labels(2, 4, 5)
    target, labelled = target_of(a, b, labels), labels != IGNORE
    wanted = reference.minimum_logits(a, b, labels, IGNORE)
    chosen = labelled.unsqueeze(1).expand_as(target)
    assert torch.allclose(target[chosen], wanted[chosen], atol=1e-12)
    # A smaller lead of every other class is a lower cross entropy than each student's.
    maps = [cross_entropy_map(z, labels, IGNORE)[labelled] for z in (target, a, b)]
    assert (maps[0] <= torch.minimum(maps[1], maps[2]) + 1e-12).all()


def test_naive_share_is_all_of_the_better_student_over_the_batch():
    a, labels = draw(2, 3, 4, 5), draw_labels(2, 8, 10)
    better = 2.5 * torch.nn.functional.one_hot(torch.where(labels == IGNORE, 0, labels), 3).permute(
        0, 3, 1, 2
    )
    assert naive_share(a, better.double(), labels, IGNORE) == 0
    assert naive_share(better.double(), a, labels, IGNORE) == 1
    assert naive_share(a, a, labels, IGNORE) == 0


def test_linear_share_is_that_of_the_mixture_of_lowest_cross_entropy():
    labels = draw_labels(2, 4, 5)
    for seed in range(5):
        a, b = draw(2, 3, 4, 5, seed=seed, scale=1.0), draw(2, 3, 4, 5, seed=seed + 10, scale=1.0)

        def loss(share, a=a, b=b):
            z = torch.lerp(b, a, share)
            return masked_mean(cross_entropy_map(z, labels, IGNORE), labels != IGNORE).value

        best = min(loss(share) for share in torch.linspace(0, 1, 201, dtype=torch.float64))
        assert loss(linear_share(a, b, labels, IGNORE)) <= best + 1e-6


def test_linear_share_of_logits_at_their_own_strides_is_that_of_upsampled_ones():
    a, b, labels = draw(2, 3, 4, 6), draw(2, 3, 2, 3, seed=1), draw_labels(2, 16, 24)
    full = [torch.nn.functional.interpolate(z, size=(16, 24), mode="bilinear") for z in (a, b)]
    found = linear_share(a, b, labels.to(torch.uint8), IGNORE)  # labels of any integer type
    assert torch.allclose(found, linear_share(*full, labels, IGNORE), atol=1e-5)


@pytest.mark.parametrize("share", [naive_share, linear_share])
def test_shares_are_constants_and_finite_where_nothing_is_labelled(share):
    a, b = draw(1, 3, 2, 2).requires_grad_(), draw(1, 3, 2, 2, seed=1).requires_grad_()
    found = share(a, b, torch.full((1, 2, 2), IGNORE), IGNORE)
    assert 0 <= found <= 1 and not found.requires_grad


def test_without_labels_losses_are_zero_and_keep_their_graph():
    learner, peer = draw(1, 3, 2, 2).requires_grad_(), draw(1, 3, 2, 2, seed=1)
    ours = intra_class_variation(learner, peer, torch.full((1, 2, 2), IGNORE), 3, IGNORE).value
    ours.backward()
    assert ours == 0 and torch.isfinite(learner.grad).all()


def test_error_products_equal_the_loop():
    a, b, labels = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1), draw_labels(2, 4, 5)
    matrix = reference.error_matrix(a, b, labels, IGNORE)
    assert torch.allclose(
        error_products(a, b, labels, IGNORE), matrix[[0, 1, 0], [0, 1, 1]], atol=1e-12
    )
    assert not error_products(a, b, torch.full_like(labels, IGNORE), IGNORE).any()


@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0])
def test_the_general_share_is_the_papers_and_has_the_least_squared_error(scale):
    a, b, labels = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1, scale=scale), draw_labels(2, 4, 5)
    products = error_products(a, b, labels, IGNORE)
    share = general_share(products)
    inverse = torch.linalg.inv(reference.error_matrix(a, b, labels, IGNORE))
    assert torch.allclose(share, (inverse.sum(1) / inverse.sum())[0].clamp(0, 1), atol=1e-9)

    def squared_error(s):
        return s**2 * products[0] + (1 - s) ** 2 * products[1] + 2 * s * (1 - s) * products[2]

    assert all(squared_error(share) <= squared_error(s) + 1e-12 for s in torch.linspace(0, 1, 101))


def test_the_general_share_of_equal_students_is_a_half():
    a, labels = draw(1, 3, 4, 5), draw_labels(1, 4, 5)
    assert general_share(error_products(a, a, labels, IGNORE)) == 0.5
    assert general_share(torch.zeros(3, dtype=torch.float64)) == 0.5
