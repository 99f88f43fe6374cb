"""Random inputs of losses, and how two ways to compute one are compared."""

import torch

IGNORE = 255


def random_logits(*shape, scale=3.0):
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


def random_labels(batch, height, width, classes, ignored=0.2):
    labels = torch.randint(0, classes, (batch, height, width))
    labels[torch.rand(labels.shape) < ignored] = IGNORE
    return labels


def random_batch(ignored=0.1, size=(64, 96)):
    """Two images and their labels of three classes, always the same."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, *size), generator=generator)
    labels = torch.randint(0, 3, (2, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORE
    return images, labels


def assert_same_value_and_gradients(ours, theirs, inputs, upstream=2.0, tolerance=1e-9):
    assert torch.allclose(ours, theirs, atol=tolerance, rtol=1e-9), (ours.item(), theirs.item())
    our_gradients = torch.autograd.grad(
        upstream * ours, inputs, allow_unused=True, retain_graph=True
    )
    their_gradients = torch.autograd.grad(
        upstream * theirs, inputs, allow_unused=True, retain_graph=True
    )
    for ours_, theirs_ in zip(our_gradients, their_gradients, strict=True):
        ours_ = torch.zeros(()) if ours_ is None else ours_
        theirs_ = torch.zeros(()) if theirs_ is None else theirs_
        assert (ours_ - theirs_).abs().max() < tolerance
