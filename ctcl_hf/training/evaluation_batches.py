"""The batches of an evaluation, and those that a training reads once and meets time and again."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Subset

from ..arguments.training import CTCLArguments
from ..data import collate_for_evaluation
from .guards.workers import shield_workers
from .samples import CheckedSamples

KEPT_BYTES = 512 * 2**20  # of images and labels, by process and data set


def evaluation_loader(samples: CheckedSamples, args: CTCLArguments) -> DataLoader:
    """This process's own share of the samples, each exactly once: nothing is padded, dropped or
    repeated.
    """
    loader = DataLoader(
        Subset(samples, range(args.process_index, len(samples), args.world_size)),
        batch_size=args.eval_batch_size,
        collate_fn=collate_for_evaluation,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
    )
    return shield_workers(loader)


class KeptBatches:
    """The batches of a loader, which are kept when they are first read to the end, if all of them
    take no more than `most` bytes; otherwise they are read each time.

    What is given is nobody else's: it may be written to.
    """

    def __init__(self, loader: DataLoader, most: int = KEPT_BYTES):
        self.loader = loader
        self.most = most
        self.is_too_large = False
        self._kept: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._kept is not None:
            yield from map(_copy, self._kept)
            return
        kept: list[dict[str, Any]] = []
        size = 0
        for batch in self.loader:
            size += batch["pixel_values"].nbytes + sum(own.nbytes for own in batch["labels"])
            if self.is_too_large or size > self.most:
                self.is_too_large = True
                kept.clear()
            else:
                # a copy: what a worker gives holds a file open
                kept.append(_copy(batch))
            yield batch
        if not self.is_too_large:
            self._kept = kept


def _copy(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {
        "pixel_values": batch["pixel_values"].clone(),
        "labels": [labels.clone() for labels in batch["labels"]],
    }
