"""Counts over all processes, so that no loss depends on how a batch is spread over them.

Distributed training averages the gradients of its processes. A mean over labelled pixels is then the mean over all of
them only if every process divides by their number in all batches together, and not by that in its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

_shares = False


@contextmanager
def across_processes() -> Iterator[None]:
    """Within it all processes compute the same losses on batches of their own, and what they count is summed up."""
    global _shares
    before, _shares = _shares, dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    try:
        yield
    finally:
        _shares = before


def shared_sums(*values: Tensor) -> list[Tensor]:
    """Each scalar summed over the processes; constants."""
    if not _shares:
        return [value.detach() for value in values]
    together = torch.stack([value.detach() for value in values])
    dist.all_reduce(together)
    return list(together)


def divisors(*counts: Tensor) -> list[Tensor]:
    """What each process divides a sum over so many of its places by, for their average to be the mean over all places.

    At least what makes an empty selection 0.
    """
    if not _shares:
        return [count.clamp_min(1) for count in counts]
    return [total.clamp_min(1) / dist.get_world_size() for total in shared_sums(*counts)]
