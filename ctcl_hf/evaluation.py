"""Scoring both students of a pair by counting pixels."""

from collections.abc import Callable, Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from .inference import class_map
from .losses import cross_entropy_loss, upsample
from .metrics import MeanIoU
from .pair import StudentPair
from .students import Student


@torch.no_grad()
def evaluate_pair(
    pair: StudentPair, batches: Iterable[dict], accelerator: Accelerator, after_batch: Callable[[], None]
) -> tuple[dict[str, float], int]:
    """Scores by "STUDENT_mean_iou", accuracies, "STUDENT_loss" and "STUDENT_iou_CLASS", and the number of images.

    Every process counts its own share of the batches; the counts, K x K per student, are summed once at the end.
    """
    pair.eval()
    _share_batchnorm_statistics(pair, accelerator)
    metrics = {name: MeanIoU() for name in pair.names}
    loss_sums = torch.zeros(len(pair.names), dtype=torch.float64)
    images = 0
    for batch in batches:
        for i, (name, student) in enumerate(pair.students.items()):
            with accelerator.autocast():
                logits = student.logits(batch["pixel_values"])
            for image_logits, labels in zip(logits, batch["labels"], strict=True):
                image_logits = upsample(image_logits[None], labels.shape)
                loss_sums[i] += cross_entropy_loss(image_logits, labels[None], student.ignore_index).item()
                metrics[name].add_batch(predictions=class_map(image_logits, labels.shape), references=labels[None])
        images += len(batch["labels"])
        after_batch()
    totals = accelerator.reduce(torch.tensor([*loss_sums, images], device=accelerator.device), "sum").tolist()
    images = round(totals[-1])
    results = {}
    for (name, student), loss_sum in zip(pair.students.items(), totals, strict=False):
        results |= {f"{name}_{key}": value for key, value in _scores(student, metrics[name], accelerator).items()}
        results[f"{name}_loss"] = loss_sum / max(images, 1)
    return results, images


def _scores(student: Student, metric: MeanIoU, accelerator: Accelerator) -> dict[str, float]:
    """mean_iou, mean_accuracy, overall_accuracy and iou_CLASS over what all processes counted."""
    labels, ignored = student.config.id2label, student.ignore_index
    ids = max(len(labels), ignored + 1)
    counts = torch.zeros(ids, ids, dtype=torch.int64, device=accelerator.device)
    own = metric.counts
    counts[: len(own), : len(own)] = own
    metric.reset()
    metric.merge(accelerator.reduce(counts, "sum").cpu())
    scores = metric.compute(num_labels=len(labels), ignore_index=ignored)
    named = {f"iou_{labels[i]}": float(iou) for i, iou in enumerate(scores["per_category_iou"])}
    return {key: float(scores[key]) for key in ("mean_iou", "mean_accuracy", "overall_accuracy")} | named


def _share_batchnorm_statistics(pair: StudentPair, accelerator: Accelerator) -> None:
    """Evaluates the statistics that process 0 saves: without SyncBatchNorm every process has gathered its own."""
    if accelerator.num_processes > 1:
        for buffer in pair.buffers():
            buffer.copy_(broadcast(buffer.clone()))
