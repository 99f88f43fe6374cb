"""Scoring models by counting pixels."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers.utils import logging

from ..data import BadSample
from ..methods.pair import StudentPair
from ..metrics import MeanIoU, Metric, confusion_counts, titles_of
from ..metrics.scores import Evaluation, Scores
from .image_counts import ImageCounts
from .pixels import PixelPredictions, pixel_predictions
from .protocols import Protocol
from .reliability import Reliability

logger = logging.get_logger(__name__)


class NothingToScore(BadSample):
    """No image has a label, as where a benchmark withholds them."""

    # by predictor, of each image that this process has seen all the same
    counts: dict[str, ImageCounts]


@torch.no_grad()
def evaluate_predictors(
    predictors: Mapping[str, Callable[[Tensor], Tensor]],
    batches: Iterable[dict],
    class_names: Sequence[str],
    ignore_index: int,
    protocol: Protocol,
    accelerator: Accelerator,
    after_batch: Callable[[], None] = lambda: None,
    after_image: Callable[[str, Tensor, Tensor], None] = lambda name, ids, labels: None,
    mean_name: str | None = None,
    metrics: Sequence[type[Metric]] = (),
    reliability: Mapping[str, Reliability] | None = None,
) -> tuple[Evaluation, dict[str, ImageCounts]]:
    """The scores of all processes' images, and the counts by predictor of each image that this
    process has scored.

    NothingToScore if no pixel has a label.

    Every process counts its own share of the batches; the counts, K x K per model, and the sums of
    other metrics are added up once at the end.

    Args:
        predictors: by name, pixels (B, 3, H, W) RGB in 0..255 -> logits (B, K, any, any), in
            evaluation mode.
        batches: "pixel_values" (B, 3, H, W) and "labels", a list of ids (h, w) at each image's own
            size.
        after_image: is given each image's predicted ids and labels, both (h, w), by predictor,
            image by image.
        mean_name: what the mean of all predictors' probabilities is called, if it is to be scored
            as well.
        metrics: what is scored beside mean IoU and the accuracies.
        reliability: of every predictor and of the mean, what is to sum up how sure it is.
    """
    titles = titles_of(metrics)
    ids_counted = max(len(class_names), ignore_index + 1)
    names = [*predictors, *([mean_name] if mean_name else [])]
    mean_ious = {name: MeanIoU() for name in names}
    others = {name: [kind(len(class_names), ignore_index) for kind in metrics] for name in names}
    image_counts = {name: ImageCounts(len(class_names)) for name in names}
    loss_sums = dict.fromkeys(names, 0.0)
    images = 0

    def score(name: str, predicted: PixelPredictions, labels: Tensor) -> None:
        """Of one image, with labels (h, w)."""
        loss_sums[name] += predicted.loss
        if reliability:
            reliability[name].add(predicted.ids, predicted.confidences, labels)
        counts = confusion_counts(predicted.ids, labels, ids_counted).cpu()
        mean_ious[name].merge(counts)
        image_counts[name].add(counts)
        for metric in others[name]:
            metric.add(predicted.ids, labels, counts[: len(class_names), : len(class_names)])
        after_image(name, predicted.ids, labels)

    # Logits that no mean is made of are not held together: of sliding windows they are large.
    groups = [names] if mean_name else [[name] for name in names]
    for batch in batches:
        for group in groups:
            with accelerator.autocast():
                logits = [
                    protocol.logits(predictors[name], batch["pixel_values"])
                    for name in group
                    if name != mean_name
                ]
            for i, labels in enumerate(batch["labels"]):
                of_image = [own[i : i + 1] for own in logits]
                predictions = pixel_predictions(
                    of_image, labels, ignore_index, mean_name is not None
                )
                for name, predicted in zip(group, predictions, strict=True):
                    score(name, predicted, labels)
        images += len(batch["labels"])
        after_batch()
    for own_reliability in (reliability or {}).values():
        own_reliability.gather(accelerator)
    totals = torch.tensor([*loss_sums.values(), images], dtype=torch.float64)
    if accelerator.num_processes > 1:  # Apple's GPUs, which know no float64, are always alone
        totals = accelerator.reduce(totals.to(accelerator.device), "sum")
    *loss_totals, total_images = totals.tolist()
    images = round(total_images)
    scores = {}
    for name, loss_total in zip(names, loss_totals, strict=True):
        loss = loss_total / max(images, 1)
        try:
            found = _scores(mean_ious[name], loss, class_names, ignore_index, accelerator)
        except NothingToScore as nothing:
            nothing.counts = image_counts
            raise
        scores[name] = replace(found, others=_other_scores(others[name], accelerator))
    return Evaluation(images, scores, titles), image_counts


def evaluate_pair(
    pair: StudentPair,
    batches: Iterable[dict],
    protocol: Protocol,
    accelerator: Accelerator,
    after_batch: Callable[[], None],
    metrics: Sequence[type[Metric]] = (),
) -> tuple[Evaluation, dict[str, ImageCounts]]:
    """`evaluate_predictors` for all students of a pair, which must know the same classes."""
    pair.eval()
    _share_batchnorm_statistics(pair, accelerator)
    student = next(iter(pair.students.values()))
    return evaluate_predictors(
        {name: student.logits for name, student in pair.students.items()},
        batches,
        student.class_names,
        student.ignore_index,
        protocol,
        accelerator,
        after_batch,
        metrics=metrics,
    )


def _scores(
    metric: MeanIoU,
    loss: float,
    class_names: Sequence[str],
    ignore_index: int,
    accelerator: Accelerator,
) -> Scores:
    """The scores of a model over what all processes have counted, in which each of them resets its
    count.
    """
    ids = max(len(class_names), ignore_index + 1)
    counts = torch.zeros(ids, ids, dtype=torch.int64, device=accelerator.device)
    own = metric.counts
    counts[: len(own), : len(own)] = own
    metric.reset()
    metric.merge(accelerator.reduce(counts, "sum").cpu())
    labelled = [name for name, row in zip(class_names, metric.counts, strict=False) if row.any()]
    if not labelled:
        raise NothingToScore("None of the images has a labelled pixel: there is nothing to score.")
    if len(labelled) == 1 < len(class_names):
        logger.warning(
            f"All labelled pixels are of {labelled[0]}: the scores tell nothing of the others. If "
            "255 in the masks stands for one, say which, such as --label_map 255:1."
        )
    found = metric.compute(num_labels=len(class_names), ignore_index=ignore_index)
    ious = zip(class_names, found["per_category_iou"], strict=True)
    return Scores(
        mean_iou=float(found["mean_iou"]),
        mean_accuracy=float(found["mean_accuracy"]),
        overall_accuracy=float(found["overall_accuracy"]),
        loss=loss,
        ious={name: float(iou) for name, iou in ious if not math.isnan(iou)},
    )


def _other_scores(metrics: Iterable[Metric], accelerator: Accelerator) -> dict[str, float]:
    """What other metrics say of a model, by name, over what all processes have summed up."""
    scores: dict[str, float] = {}
    for metric in metrics:
        if accelerator.num_processes > 1:  # Apple's GPUs, which know no float64, are always alone
            metric.sums = accelerator.reduce(metric.sums.to(accelerator.device), "sum").cpu()
        scores |= metric.compute()
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _share_batchnorm_statistics(module: nn.Module, accelerator: Accelerator) -> None:
    """Evaluates the statistics that process 0 saves: without SyncBatchNorm every process has
    gathered its own.
    """
    if accelerator.num_processes > 1:
        for buffer in module.buffers():
            buffer.copy_(broadcast(buffer.clone()))
