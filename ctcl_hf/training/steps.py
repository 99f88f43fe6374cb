"""What is known of the present optimizer step, and the means over several that are logged."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor


class PresentStep:
    """An optimizer step, micro-batch by micro-batch.

    number: of steps made before it.
    micro_batch: the present one, from 0.
    terms, batches: of each micro-batch so far, its loss terms and what it was fed.
    labels: of all micro-batches, which divide their losses together; None of one alone.
    """

    def __init__(self) -> None:
        self.number = -1
        self.micro_batch = 0
        self.terms: list[dict[str, Tensor]] = []
        self.batches: list[dict[str, Tensor]] = []
        self.labels: list[Tensor] | None = None

    def begin_micro_batch(self, step: int) -> bool:
        """Whether it is the first one of its step."""
        self.micro_batch = self.micro_batch + 1 if step == self.number else 0
        self.number = step
        if self.micro_batch == 0:
            self.terms.clear()
            self.batches.clear()
        return self.micro_batch == 0


class LoggedMeans:
    """Means of loss terms over the micro-batches since the last log, and what is logged as it is.

    latest: by name, of the last step alone: rates, norms of gradients.
    """

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}
        self.seen = 0  # micro-batches
        self._sums: dict[str, Any] = defaultdict(float)

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Of one more micro-batch."""
        for name, value in terms.items():
            self._sums[name] += value
        self.seen += 1

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """The means over all processes, which all take them at once, and the latest facts; then it
        begins anew.
        """
        names = list(self._sums)
        sums = [torch.as_tensor(self._sums[name], device=accelerator.device) for name in names]
        means = accelerator.reduce(torch.stack(sums) / self.seen, "mean")
        self._sums.clear()
        self.seen = 0
        latest = {name: float(value) for name, value in self.latest.items()}
        return dict(zip(names, means.tolist(), strict=True)) | latest

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: a run may be stopped between two logs."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"sums": sums, "seen": self.seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`."""
        self._sums.update(state["sums"])
        self.seen = state["seen"]
