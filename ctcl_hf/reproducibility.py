"""Data order and randomness that depend on the seed, the epoch and the step alone."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback, set_seed


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) in an order drawn from (seed, epoch), so that augmentation can be keyed by both."""

    def __init__(self, size: int, seed: int):
        self.size = size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        return iter([(self.epoch, int(index)) for index in order])


class ReproducibleRun(TrainerCallback):
    """Tells the sampler its epoch, and seeds dropout and drop-path from (seed, step, process) before every step.

    A resumed run then continues as the undisturbed one would have, and every method of the same seed trains on the
    same batches with the same dropped paths.
    """

    def __init__(self, sampler: EpochSampler):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.epoch = int(state.epoch or 0)

    def on_step_begin(self, args, state, control, **kwargs):
        key = np.random.SeedSequence([args.seed, state.global_step, args.process_index])
        set_seed(int(key.generate_state(1)[0]))
