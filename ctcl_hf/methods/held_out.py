"""Showing an objective how its students do on images that they do not train on."""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import TrainerCallback

from ..data import collate_for_evaluation
from ..losses import upsample
from .pair import StudentPair


class HeldOutCallback(TrainerCallback):
    """Lets the objective observe the students on images of the evaluation set before every epoch.

    The same evenly spaced images each time, in evaluation mode and on every process alike.
    `dataset` has a length and is indexed by number.
    """

    def __init__(self, pair: StudentPair, dataset: Any, batch_size: int, accelerator: Accelerator):
        wanted = min(pair.objective.held_out_images, len(dataset))
        chosen = torch.linspace(0, len(dataset) - 1, wanted).round().int().tolist()
        self.pair = pair
        self.loader = DataLoader(
            Subset(dataset, chosen), batch_size=batch_size, collate_fn=collate_for_evaluation
        )
        self.accelerator = accelerator

    def on_epoch_begin(self, args, state, control, **kwargs):
        # a run that resumes within an epoch keeps what it had observed
        if float(state.epoch or 0).is_integer():
            self.pair.eval()
            self.pair.objective.observe(self._views())
            self.pair.train()

    @torch.no_grad()
    def _views(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.loader:
            images = batch["pixel_values"].to(self.accelerator.device)
            with self.accelerator.autocast():
                logits = [student.logits(images) for student in self.pair.students.values()]
            # labels at each image's own size
            for *views, labels in zip(*logits, batch["labels"], strict=True):
                labels = labels.to(self.accelerator.device)[None].long()
                yield *(upsample(view[None], labels.shape[-2:]) for view in views), labels
