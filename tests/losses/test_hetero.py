"""HeteroAKD's mixed knowledge against a float64 loop, and its edge cases."""

import pytest
import reference_rivals
import torch
from helpers.losses import IGNORE, compare, draw, draw_labels

from ctcl_hf.losses import mixed_knowledge, projection_cross_entropy


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 1, 3), (1, 2, 3, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 3])
def test_mixed_knowledge_equals_the_loop(shape, stride):
    batch, classes, *size = shape
    learner, peer = draw(*shape).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    labels = draw_labels(batch, *(stride * side for side in size), classes=classes)
    theirs = reference_rivals.mixed_knowledge(learner, peer, labels, IGNORE)
    assert theirs > 0
    compare(mixed_knowledge(learner, peer, labels, IGNORE), theirs, learner, peer)


@pytest.mark.parametrize("count", [1, 2])
def test_the_projections_cross_entropy_equals_the_loop_and_moves_all(count):
    projections = [draw(2, 3, 4, 5, seed=seed).requires_grad_() for seed in range(count)]
    labels = draw_labels(2, 12, 10)
    theirs = reference_rivals.projection_cross_entropy(projections, labels, IGNORE)
    compare(projection_cross_entropy(projections, labels, IGNORE), theirs, *projections)


def test_students_that_agree_teach_each_other_nothing():
    learner, labels = draw(2, 3, 4, 5).requires_grad_(), draw_labels(2, 8, 10)
    loss = mixed_knowledge(learner, learner.detach(), labels, IGNORE).value
    (gradient,) = torch.autograd.grad(loss, learner)
    assert loss.abs() < 1e-12 and gradient.abs().max() < 1e-12


def test_a_peer_that_is_wrong_pulls_less_than_one_that_is_right():
    """Mixed by their errors, what is learnt from a peer depends on whether it is right."""
    labels = torch.zeros(1, 1, 1, dtype=torch.long)
    learner = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    right, wrong = (
        mixed_knowledge(learner, learner + lead, labels, IGNORE).value for lead in (3.0, -3.0)
    )
    assert right > 10 * wrong > 0


def test_images_without_a_label_are_left_out_of_the_mean():
    learner, peer, labels = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1), draw_labels(2, 4, 5)
    labels[1] = IGNORE
    both = mixed_knowledge(learner, peer, labels, IGNORE)
    assert torch.allclose(
        both.value, mixed_knowledge(learner[:1], peer[:1], labels[:1], IGNORE).value
    )


def test_without_labels_losses_are_0_and_keep_their_graph():
    learner = draw(2, 3, 4, 5).float().requires_grad_()
    labels = torch.full((2, 8, 10), IGNORE)
    for loss in (
        mixed_knowledge(learner, draw(2, 3, 4, 5, seed=1).float(), labels, IGNORE).value,
        projection_cross_entropy([learner], labels, IGNORE).value,
    ):
        (gradient,) = torch.autograd.grad(loss, learner)
        assert loss == 0 and not gradient.any()


def test_certain_projections_are_finite():
    """Errors of both students were 0, and 0 divided by 0."""
    labels = draw_labels(2, 4, 5)
    certain = torch.nn.functional.one_hot(torch.where(labels == IGNORE, 0, labels), 3)
    learner = (2000.0 * certain - 1000.0).permute(0, 3, 1, 2).requires_grad_()
    for peer in (learner.detach(), -learner.detach()):
        loss = mixed_knowledge(learner, peer, labels, IGNORE).value
        (gradient,) = torch.autograd.grad(loss, learner)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


def test_half_precision_is_compared_in_float32():
    learner, peer = draw(2, 3, 4, 5).bfloat16(), draw(2, 3, 4, 5, seed=1).bfloat16()
    labels = draw_labels(2, 8, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixed_knowledge(learner, peer, labels, IGNORE).value
        projection = projection_cross_entropy([learner], labels, IGNORE).value
    assert found.dtype == projection.dtype == torch.float32
    assert torch.equal(found, mixed_knowledge(learner.float(), peer.float(), labels, IGNORE).value)
