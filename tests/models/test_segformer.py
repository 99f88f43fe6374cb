"""The decode head in its cheaper order is transformers' own head: values, gradients, statistics,
random draws.
"""

import copy

import pytest
import torch
from conftest import make_vit
from transformers import SegformerConfig
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

from ctcl_hf.models.segformer import decode

WIDTHS = (8, 16, 20, 24)


@pytest.fixture
def head() -> SegformerDecodeHead:
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=WIDTHS, decoder_hidden_size=32, num_labels=5, classifier_dropout_prob=0.2
    )
    return SegformerDecodeHead(config)


def features(size: tuple[int, int], dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    # odd: rounded up
    shapes = [(2, width, *(-(-side // 2**i) for side in size)) for i, width in enumerate(WIDTHS)]
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def results(function, head, inputs) -> dict[str, torch.Tensor]:
    """Output, every gradient and every buffer of one call in the head's present mode, same random
    draws.
    """
    head, inputs = copy.deepcopy(head), [x.clone().requires_grad_() for x in inputs]
    torch.manual_seed(2)
    logits = function(head, inputs)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    (logits * weights).sum().backward()
    found = {"logits": logits} | {f"input {i}": x.grad for i, x in enumerate(inputs)}
    return (
        found | {name: p.grad for name, p in head.named_parameters()} | dict(head.named_buffers())
    )


@pytest.mark.parametrize("size", [(16, 24), (9, 13)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_transformers_own_head_with_every_gradient(head, size, training):
    head = head.double().train(training)
    inputs = features(size, torch.float64)
    own, stock = results(decode, head, inputs), results(SegformerDecodeHead.forward, head, inputs)
    assert own.keys() == stock.keys()
    for name in stock:
        torch.testing.assert_close(own[name], stock[name], rtol=1e-9, atol=1e-11, msg=name)


def test_float32_is_as_near_to_float64_as_transformers_own_head(head):
    inputs = features((16, 24), torch.float64)
    exact = results(SegformerDecodeHead.forward, copy.deepcopy(head).double(), inputs)
    single = [x.float() for x in inputs]
    own, stock = results(decode, head, single), results(SegformerDecodeHead.forward, head, single)
    for name in ("logits", "input 0", "linear_fuse.weight"):
        errors = [(found[name].double() - exact[name]).abs().max() for found in (own, stock)]
        assert errors[0] <= 3 * errors[1] + 1e-7, name


def test_under_autocast_it_is_as_near_to_float32_as_transformers_own_head(head):
    head.eval()
    inputs = features((16, 24), torch.float32)
    exact = head(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        own, stock = decode(head, inputs), head(inputs)
    assert own.dtype == stock.dtype == torch.bfloat16
    assert (own - exact).abs().mean() <= 1.5 * (stock - exact).abs().mean()


def test_a_student_gives_the_logits_of_its_model():
    student = make_vit().eval()
    pixels = torch.randint(0, 256, (2, 3, 64, 96))
    stock = student.model(pixel_values=student.normalize(pixels)).logits
    torch.testing.assert_close(student(pixels).logits, stock)
    torch.testing.assert_close(student.logits(pixels), stock)
