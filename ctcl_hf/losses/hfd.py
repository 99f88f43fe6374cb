"""Heterogeneous feature distillation (Eq. 2)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from .means import Mean, mean_of
from .region import cosine_distance


def as_constant(stage: nn.Module) -> Callable[[Tensor], Tensor]:
    """A stage as a constant function: gradient reaches its input, while its weights and BatchNorm
    statistics stay put.

    In training mode BatchNorm normalises with the statistics of the batch it is given, as it does
    for its owner, and updates copies of its running statistics that nobody keeps. A stage that
    checkpoints its activations does not do so
    here: what is recomputed in backward would be computed with its live weights.
    """
    frozen = {name: parameter.detach() for name, parameter in stage.named_parameters()}
    frozen |= {name: buffer.clone() for name, buffer in stage.named_buffers()}

    def constant(features: Tensor) -> Tensor:
        with _without_checkpointing(stage):
            return functional_call(stage, frozen, (features,))

    return constant


@contextmanager
def _without_checkpointing(stage: nn.Module) -> Iterator[None]:
    # Of transformers: torch's Module declares no such switch.
    layers: list[Any] = [
        layer for layer in stage.modules() if getattr(layer, "gradient_checkpointing", False)
    ]
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True


def hfd(transformed: Tensor, target: Tensor) -> Mean:
    """HFD (Eq. 2): mean cosine distance over positions between two outputs of the peer's second
    stage.

    `transformed` is the peer's second stage run on the learner's projected first-stage features,
    `target` the peer's own second-stage features. Shapes: (B, C, h, w) twice. Gradient: transformed
    only.
    """
    return mean_of(cosine_distance(transformed, target.detach()))
