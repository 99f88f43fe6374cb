"""BPKD's two terms against float64 loops, and their edge cases."""

import pytest
import reference
import reference_rivals
import torch
from helpers.losses import IGNORE, compare, draw, draw_labels

from ctcl_hf.losses import channel_distillation, edge_band, edge_distillation


def blocks(*shape):
    """Labels in blocks of 4x4 pixels, with some ignored ones, so that there are bodies."""
    batch, height, width = shape
    coarse = draw_labels(batch, -(-height // 4), -(-width // 4))
    return coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width]


@pytest.mark.parametrize("width", [1, 3, 7])
def test_the_edge_band_is_what_dilating_and_eroding_each_label_leaves(width):
    labels = blocks(2, 9, 13)
    assert torch.equal(edge_band(labels, width), reference_rivals.edge_band(labels, width))
    assert edge_band(labels, width).any() == (width > 1)


def test_an_image_of_one_label_has_no_edge_and_its_border_is_none():
    assert not edge_band(torch.full((1, 5, 6), 2), 7).any()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("classes", [1, 3])
def test_edges_and_bodies_equal_the_loop(temperature, stride, classes):
    learner = draw(2, classes, 8, 9).requires_grad_()
    peer = draw(2, classes, 8, 9, seed=1).requires_grad_()
    labels = blocks(2, 8 * stride, 9 * stride)
    options = (labels, 3, temperature, IGNORE)
    wanted = reference_rivals.edge_and_body(learner, peer, *options)
    for ours, theirs in zip(edge_distillation(learner, peer, *options), wanted, strict=True):
        assert classes == 1 or theirs > 0
        compare(ours, theirs, learner, peer)


def test_a_peer_of_another_stride_is_brought_to_the_learners_size():
    learner, peer = draw(1, 3, 8, 8).requires_grad_(), draw(1, 3, 4, 5, seed=1).requires_grad_()
    labels = blocks(1, 16, 16)
    upsampled = reference.upsample_bilinear(peer, (8, 8))
    wanted = edge_distillation(learner, upsampled, labels, 3, 1.0, IGNORE)
    for ours, theirs in zip(
        edge_distillation(learner, peer, labels, 3, 1.0, IGNORE), wanted, strict=True
    ):
        compare(ours, theirs.value, learner, peer)


def test_all_of_an_image_inside_is_channel_distillation():
    learner, peer = draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1)
    edge, body = edge_distillation(learner, peer, torch.ones(2, 8, 10).long(), 7, 4.0, IGNORE)
    assert edge.value == 0
    assert torch.equal(body.value, channel_distillation(learner, peer, 4.0).value)


@pytest.mark.parametrize("case", ["nothing labelled", "all edges"])
def test_without_edges_or_bodies_a_term_is_0_and_keeps_its_graph(case):
    labels = torch.full((2, 8, 8), IGNORE)
    if case == "all edges":
        labels = torch.arange(2 * 8 * 8).view(2, 8, 8) % 3
    learner = draw(2, 3, 4, 4).float().requires_grad_()
    peer = draw(2, 3, 4, 4, seed=1).float()
    edge, body = edge_distillation(learner, peer, labels, 3, 1.0, IGNORE)
    (edge.value + body.value).backward()
    assert body.value == 0 and (edge.value > 0) == (case == "all edges")
    assert torch.isfinite(learner.grad).all()


def test_what_is_ignored_teaches_nothing():
    learner, peer, labels = draw(1, 3, 8, 8).requires_grad_(), draw(1, 3, 8, 8), blocks(1, 8, 8)
    labels[0, :4] = IGNORE
    for term in edge_distillation(learner, peer + draw(1, 3, 8, 8, seed=2), labels, 3, 1.0, IGNORE):
        (gradient,) = torch.autograd.grad(term.value, learner, retain_graph=True)
        assert not gradient[0, :, :4].any()


def test_half_precision_is_compared_in_float32():
    learner, peer = draw(2, 3, 8, 8).bfloat16(), draw(2, 3, 8, 8, seed=1).bfloat16()
    options = (blocks(2, 16, 16), 3, 1.0, IGNORE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = edge_distillation(learner, peer, *options)
    for ours, theirs in zip(
        found, edge_distillation(learner.float(), peer.float(), *options), strict=True
    ):
        assert ours.value.dtype == torch.float32 and torch.equal(ours.value, theirs.value)
