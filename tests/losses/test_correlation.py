"""DIST's two relations against float64 loops, and their edge cases."""

import pytest
import reference
import reference_rivals
import torch
from helpers.losses import compare, draw

from ctcl_hf.losses import class_correlation, position_correlation

FLOOR = 0.02
RELATIONS = {
    "inter": class_correlation,
    "intra, batch": lambda learner, peer, floor: position_correlation(
        learner, peer, "batch", floor
    ),
    "intra, image": lambda learner, peer, floor: position_correlation(
        learner, peer, "image", floor
    ),
}


@pytest.fixture(params=RELATIONS)
def relation(request):
    return RELATIONS[request.param]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 5, 1, 3), (1, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("floor", [1e-6, 0.1])
def test_the_correlation_over_classes_equals_the_loop(shape, floor):
    learner, peer = draw(*shape).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    theirs = reference_rivals.inter_class_distance(learner, peer, floor)
    compare(class_correlation(learner, peer, floor), theirs, learner, peer)


@pytest.mark.parametrize("over", ["batch", "image"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 1, 3), (1, 3, 3, 3)], ids=str)
@pytest.mark.parametrize("floor", [1e-6, 0.1])
def test_the_correlation_over_positions_equals_the_loop(shape, over, floor):
    learner, peer = draw(*shape).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    theirs = reference_rivals.intra_class_distance(learner, peer, over == "image", floor)
    compare(position_correlation(learner, peer, over, floor), theirs, learner, peer)


def test_a_peer_of_another_stride_is_brought_to_the_learners_size(relation):
    learner, peer = draw(1, 3, 8, 8).requires_grad_(), draw(1, 3, 4, 5, seed=1).requires_grad_()
    upsampled = reference.upsample_bilinear(peer, (8, 8))
    compare(
        relation(learner, peer, FLOOR), relation(learner, upsampled, FLOOR).value, learner, peer
    )


def test_students_that_agree_are_at_0(relation):
    logits = draw(2, 3, 4, 5)
    assert relation(logits, logits + 7.0, 1e-8).value.abs() < 1e-9


def test_over_two_classes_they_agree_or_disagree():
    """There Pearson's correlation over classes is the sign of the product of both leads."""
    learner, peer = draw(2, 2, 4, 5), draw(2, 2, 4, 5, seed=1)
    agree = learner.argmax(1) == peer.argmax(1)
    expected = 2 * (~agree).double().mean()
    assert torch.allclose(class_correlation(learner, peer, 1e-8).value, expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (2, 3, 1, 1), (1, 1, 1, 1)], ids=str)
def test_one_class_and_one_position_are_finite_and_teach_nothing(relation, shape):
    """What is constant has no correlation: 0 divided by 0."""
    for learner in (torch.zeros(shape), torch.randn(shape)):
        learner.requires_grad_()
        loss = relation(learner, torch.randn(shape), FLOOR).value
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(learner.grad).all()


def test_a_class_that_nobody_sees_is_finite(relation):
    learner = draw(2, 3, 4, 5).float() + torch.tensor([0.0, 0.0, -200.0]).view(3, 1, 1)
    learner.requires_grad_()
    loss = relation(learner, learner.detach().roll(1, 0), FLOOR).value
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(learner.grad).all()


def test_half_precision_is_compared_in_float32(relation):
    learner, peer = draw(2, 3, 4, 5).bfloat16(), draw(2, 3, 4, 5, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = relation(learner, peer, FLOOR).value
    assert found.dtype == torch.float32
    assert torch.equal(found, relation(learner.float(), peer.float(), FLOOR).value)


def test_the_gradient_of_a_student_that_says_next_to_nothing_is_bounded(relation):
    """Of probabilities that differ by 1e-7 it was 1e5 times that of ones that differ by 1e-2: a CNN
    from random weights diverged in one step.
    """
    peer = draw(2, 8, 4, 5, seed=1)
    norms = []
    for scale in (1e-6, 0.1):
        learner = draw(2, 8, 4, 5, scale=scale).requires_grad_()
        (gradient,) = torch.autograd.grad(relation(learner, peer, FLOOR).value, learner)
        norms.append(gradient.norm())
    assert norms[0] < 3 * norms[1]
