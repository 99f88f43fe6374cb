"""Losses run in float32 (or wider), whatever autocast and the models run in."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor


def widened(value):
    """A half-precision tensor as float32; anything else unchanged (float64 stays float64)."""
    is_half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value


def in_full_precision(loss: Callable) -> Callable:
    """Decorates a loss whose first argument is a tensor: autocast off inside, half-precision
    arguments widened.
    """

    @functools.wraps(loss)
    def wrapped(first: Tensor, *args, **kwargs):
        with torch.autocast(first.device.type, enabled=False):
            return loss(
                widened(first),
                *map(widened, args),
                **{key: widened(v) for key, v in kwargs.items()},
            )

    return wrapped
