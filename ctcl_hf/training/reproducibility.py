"""Data order and randomness that depend on the seed, the epoch and the step alone."""

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, set_seed


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Yields (seed, epoch, index) in an order drawn from (seed, epoch), so that augmentation is
    keyed by all three.

    Args:
        draw: the order of an epoch, from its random numbers. Default: any, all as likely.
    """

    def __init__(
        self, size: int, seed: int, draw: Callable[[np.random.Generator], np.ndarray] | None = None
    ):
        self.size = size
        self.seed = seed
        self.draw = draw or (lambda rng: rng.permutation(size))
        self.epoch = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        order = self.draw(np.random.default_rng([self.seed, self.epoch]))
        return iter([(self.seed, self.epoch, int(index)) for index in order])


class EpochCallback(TrainerCallback):
    """Tells the sampler its epoch, of a resumed run too, where Trainer's own way to tell it does
    not reach.
    """

    def __init__(self, sampler: EpochSampler):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.epoch = int(state.epoch or 0)


def seed_micro_batch(seed: int, step: int, micro_batch: int, process: int) -> None:
    """Seeds what a forward draws (dropout, drop-path) from its place in the run alone.

    A resumed run then continues as the undisturbed one would have, and every method of the same
    seed drops the same paths, however many numbers its own losses drew before.
    """
    set_seed(int(np.random.SeedSequence([seed, step, micro_batch, process]).generate_state(1)[0]))


@contextlib.contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Within it, Python's, numpy's and torch's random numbers, on the CPU, are the key's; after it,
    as before.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would also note the seed for GPUs that a worker never opens, with a
    # traceback each time.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
