"""The losses taken strip by strip equal the plain ones, value and gradient."""

import pytest
import torch

from ctcl_hf.losses import cross_entropy_map, masked_mean, phases, pixel_bsd, strips, teaching_directions, upsample

IGNORE = 255
UPSTREAM = (2.0, -0.5, 3.0, 0.7)


def plain(logits_a, logits_b, labels, direction, temperature):
    """The same from the plain functions on full-resolution logits."""
    upsampled = [upsample(logits, labels.shape[-2:]) for logits in (logits_a, logits_b)]
    maps = [cross_entropy_map(logits, labels, IGNORE) for logits in upsampled]
    teaches = teaching_directions(*(values.detach() for values in maps), labels != IGNORE)
    ce = tuple(masked_mean(values, labels != IGNORE) for values in maps)
    pixel = tuple(pixel_bsd(upsampled[i], upsampled[1 - i], teaches[1 - i], direction, temperature) for i in (0, 1))
    return strips.PixelLosses(ce, pixel, tuple(maps), teaches)


def results(function, logits, *arguments):
    logits = [values.clone().requires_grad_() for values in logits]
    losses = function(*logits, *arguments)
    weighted = sum(weight * value for weight, value in zip(UPSTREAM, losses.ce + losses.pixel, strict=True))
    return losses, torch.autograd.grad(weighted, logits)


def random_case(shape_a, shape_b, size, classes=5, ignored=0.2, dtype=torch.float64, images=2):
    logits = [(3 * torch.randn(images, classes, *shape)).to(dtype) for shape in (shape_a, shape_b)]
    labels = torch.randint(0, classes, (images, *size))
    labels[torch.rand(labels.shape) < ignored] = IGNORE
    return logits, labels


def assert_equal_to_plain(logits, labels, direction="reverse", temperature=1.0, tolerance=1e-10):
    ours, our_gradients = results(strips.pixel_losses, logits, labels, IGNORE, direction, temperature)
    theirs, their_gradients = results(plain, logits, labels, direction, temperature)
    for mine, expected in zip((*ours.ce, *ours.pixel, *ours.ce_maps), (*theirs.ce, *theirs.pixel, *theirs.ce_maps),
                              strict=True):  # fmt: skip
        assert torch.allclose(mine, expected, atol=tolerance)
    for mine, expected in zip(ours.teaches, theirs.teaches, strict=True):
        assert torch.equal(mine, expected)
    for mine, expected in zip(our_gradients, their_gradients, strict=True):
        assert (mine - expected).abs().max() <= tolerance * max(1, expected.abs().max())


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("strip_elements", [1, 900, 2**30])
def test_strips_of_any_size_equal_the_plain_losses(monkeypatch, direction, temperature, strip_elements):
    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", strip_elements)
    logits, labels = random_case((8, 6), (8, 6), (32, 24))
    assert_equal_to_plain(logits, labels, direction, temperature)


def test_logits_of_many_phases_equal_the_plain_losses_where_launches_are_dear(monkeypatch):
    monkeypatch.setattr(strips, "LARGEST_FACTOR_CPU", strips.LARGEST_FACTOR_ACCELERATOR)
    logits, labels = random_case((8, 6), (2, 3), (32, 24))
    visited = []
    monkeypatch.setattr(phases.Rows, "__init__", watched(phases.Rows.__init__, visited))
    assert_equal_to_plain(logits, labels)
    assert len(visited) == 4 * 2  # four vertical phases of two students: not sixteen
    visited.clear()
    strips.cross_entropy_loss(logits[1], labels, IGNORE)
    assert len(visited) == 1


def watched(function, calls):
    def call(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "size"),
    [
        ((8, 6), (4, 3), (32, 24)),  # different strides
        ((5, 7), (5, 7), (20, 26)),  # columns do not line up
        ((5, 7), (5, 7), (19, 28)),  # rows do not line up
        ((5, 7), (4, 6), (19, 23)),
        ((1, 1), (1, 1), (4, 4)),
        ((8, 6), (8, 6), (8, 6)),  # nothing to upsample
        ((8, 6), (8, 6), (5, 4)),  # labels smaller than the logits
    ],
)
def test_odd_shapes_equal_the_plain_losses(monkeypatch, shape_a, shape_b, size):
    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", 100)
    assert_equal_to_plain(*random_case(shape_a, shape_b, size))


@pytest.mark.parametrize("ignored", [0.0, 1.0])
def test_no_ignored_pixel_and_nothing_but_ignored_pixels(ignored):
    assert_equal_to_plain(*random_case((8, 6), (8, 6), (32, 24), ignored=ignored))


def test_one_student_always_the_better_one():
    logits, labels = random_case((8, 6), (8, 6), (32, 24), ignored=0.0)
    labels.fill_(2)
    logits[0][:, 2] += 100
    assert_equal_to_plain(logits, labels)


def test_float32_and_bfloat16_logits_equal_the_plain_losses_to_rounding():
    for dtype in (torch.float32, torch.bfloat16):
        logits, labels = random_case((8, 6), (8, 6), (32, 24), dtype=dtype)
        # In bfloat16 the gradients leave in bfloat16: 8 bits of mantissa, about 0.4 %.
        assert_equal_to_plain(logits, labels, tolerance=1e-5 if dtype == torch.float32 else 8e-3)


def test_each_term_gives_its_learner_gradient_and_its_peer_none():
    logits, labels = random_case((8, 6), (8, 6), (32, 24))
    logits = [values.requires_grad_() for values in logits]
    losses = strips.pixel_losses(*logits, labels, IGNORE)
    for i in (0, 1):
        for term in (losses.ce[i], losses.pixel[i]):
            own, peer = torch.autograd.grad(term, (logits[i], logits[1 - i]), retain_graph=True)
            assert own.any()
            assert not peer.any()


def test_no_full_resolution_logits_are_alive(monkeypatch):
    """The largest tensor that any operation returns holds a strip, not an image."""
    from torch.utils._python_dispatch import TorchDispatchMode

    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", 2**14)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return result

    logits, labels = random_case((32, 32), (32, 32), (128, 128), classes=40)
    logits = [values.requires_grad_() for values in logits]
    with Watch():
        losses = strips.pixel_losses(*logits, labels, IGNORE)
        sum(losses.ce + losses.pixel).backward()
    assert largest <= 2 * 40 * 34 * 34  # the stride-4 logits, padded, of both; at full resolution 14 times that
