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


def draw(*shape, seed=0, scale=2.0):
    return scale * torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def draw_labels(*shape, classes=3, ignored=0.2):
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(0, classes, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < ignored] = IGNORE
    return labels


def compare(mean, theirs, *inputs):
    """Equal values, and equal gradients to every input, with an upstream gradient of 2; None where
    the other is None.
    """
    ours = mean.value
    assert torch.allclose(ours, theirs, atol=1e-12)
    wanted = torch.autograd.grad(2 * theirs, inputs, allow_unused=True, retain_graph=True)
    found = torch.autograd.grad(2 * ours, inputs, allow_unused=True, retain_graph=True)
    for gradient, want in zip(found, wanted, strict=True):
        assert (gradient is None) == (want is None)
        assert want is None or torch.allclose(gradient, want, atol=1e-12)


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
