"""What models say of every pixel of an image, and how well, without logits at the image's size."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .predict import upsampled_strips

CLASSES_SIDE_BY_SIDE = 32  # from so many on: see `_layout`


class PixelPredictions(NamedTuple):
    """What a model says of an image.

    ids: (H, W) int64, the likeliest class of each pixel.
    confidences: (H, W) float32, its probability.
    loss: mean cross entropy in nats over the labelled pixels, 0 without any.
    """

    ids: Tensor
    confidences: Tensor
    loss: float


def pixel_predictions(
    logits: Sequence[Tensor], labels: Tensor, ignore_index: int, with_mean: bool = False
) -> list[PixelPredictions]:
    """Of each model, from its logits (1, K, h, w), at the size of the labels (H, W); and with
    `with_mean` of the mean of their probabilities, last.

    All is taken of some rows at a time, while their logits are in the cache: 150 classes at 360x480
    are 104 MB, and every pass over them costs as much as many layers of a model.
    """
    height, width = labels.shape
    count = len(logits) + with_mean
    ids = torch.empty(count, height, width, dtype=torch.int64, device=labels.device)
    confidences = torch.empty(count, height, width, device=labels.device)
    losses: list[list[Tensor]] = [[] for _ in range(count)]  # of the strips
    labelled = labels != ignore_index
    targets = torch.where(labelled, labels, 0).long()

    layout = _layout(logits[0].shape[1])

    def take(i: int, rows: slice, likeliest: Tensor, log_probabilities: Tensor) -> None:
        def of_classes(chosen: Tensor) -> Tensor:
            return log_probabilities.gather(layout.classes, chosen.unsqueeze(layout.classes))

        ids[i, rows] = likeliest
        confidences[i, rows] = of_classes(likeliest).squeeze(layout.classes).exp()
        of_labels = of_classes(targets[rows]).squeeze(layout.classes)
        losses[i].append(-torch.where(labelled[rows], of_labels, 0).sum())

    for strips in zip(
        *(upsampled_strips(own, labels.shape, layout.memory_format) for own in logits), strict=True
    ):
        rows = strips[0][0]
        mean = torch.zeros((), device=labels.device)
        for i, (_, strip) in enumerate(strips):
            strip = strip[0].permute(layout.order)
            # Of the logits: rounded log-probabilities make ties. (argmax is slower on CPUs.)
            likeliest = strip.max(layout.classes).indices
            log_probabilities = strip.log_softmax(layout.classes)
            take(i, rows, likeliest, log_probabilities)
            if with_mean:
                mean = mean + log_probabilities.exp_()
        if with_mean:
            mean = mean.div_(len(logits)).clamp_min_(torch.finfo(mean.dtype).tiny)
            take(len(logits), rows, mean.max(layout.classes).indices, mean.log())
    # in float64, which Apple's GPUs do not know, and waiting for the device once
    totals = torch.stack([torch.stack(own) for own in losses]).cpu().double().sum(1)
    means = totals / max(int(labelled.sum()), 1)
    return [PixelPredictions(*of) for of in zip(ids, confidences, means.tolist(), strict=True)]


class _Layout(NamedTuple):
    """How logits (K, rows, W) lie in memory where all classes of a pixel are looked at: the format
    that they are made in, the order of dimensions in which they are contiguous, and that of the
    classes among those.
    """

    memory_format: torch.memory_format
    order: tuple[int, int, int]
    classes: int


def _layout(num_classes: int) -> _Layout:
    """The faster one: a pixel's classes side by side, if they are many: on a CPU at 150
    classes 0.6 of the time that upsampling at once takes, at 11 twice.
    """
    if num_classes >= CLASSES_SIDE_BY_SIDE:
        return _Layout(torch.channels_last, (1, 2, 0), 2)
    return _Layout(torch.contiguous_format, (0, 1, 2), 0)
