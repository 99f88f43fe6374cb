"""Temperature scaling (Guo et al. 2017, section 4.2): one number by which a student's logits are
divided, so that its probabilities are as often right as they say.
"""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..base.heartbeat import watched
from ..data import IGNORE_INDEX, collate_for_evaluation
from ..losses import upsample
from .protocols import Protocol
from .scorer import Scorer

PIXELS = 4096  # labelled ones of an image, evenly spaced, which see what all would
LARGEST = 20.0  # temperature; the smallest is its inverse
HALVINGS = 50


@torch.no_grad()
def fit_temperatures(
    scorer: Scorer, split: str, protocol: Protocol, workers: int = 0
) -> dict[str, float]:
    """The temperature of each student by its name, over the labelled pixels of a split's images at
    the labels' size. It multiplies one that the student has already.

    ValueError if no pixel has a label.
    """
    samples = scorer.data.samples(split, protocol.transform)
    loader = DataLoader(samples, 1, collate_fn=collate_for_evaluation, num_workers=workers)
    device = scorer.accelerator.device
    labelled: list[Tensor] = []
    logits: dict[str, list[Tensor]] = {name: [] for name in scorer.predictors}
    for batch in watched(loader, f"Calibrating on {split}", len(loader), unit="image"):
        labels = batch["labels"][0].to(device)
        places = (labels.flatten() != IGNORE_INDEX).nonzero()[:, 0]
        places = places[:: -(-len(places) // PIXELS) or 1]
        labelled.append(labels.flatten()[places].long().cpu())
        pixels = batch["pixel_values"].to(device)
        for name, predict in scorer.predictors.items():
            with scorer.accelerator.autocast():
                own = protocol.logits(predict, pixels)
            logits[name].append(upsample(own, labels.shape)[0].flatten(1)[:, places].cpu().T)
    ids = torch.cat(labelled)
    if not len(ids):
        raise ValueError(f"No image of {split} has a labelled pixel: there is nothing to fit.")
    return {name: best_temperature(torch.cat(own), ids) for name, own in logits.items()}


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """T > 0 with the least mean cross entropy of logits / T: logits (n, K), labels (n,) ids.

    The loss is convex in b = 1 / T, so its slope, mean of sum_k p_k z_k - z_label with
    p = softmax(b z), changes its sign once: that place is halved in upon, between 1 / 20 and 20.
    """
    logits = logits.double()
    of_labels = logits.gather(1, labels[:, None])[:, 0].mean()
    low, high = 1 / LARGEST, LARGEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        slope = ((logits * middle).softmax(1) * logits).sum(1).mean() - of_labels
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / (low * high) ** 0.5
