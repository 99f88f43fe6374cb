"""Where to look first in a set of images: where two students disagree, and where they doubt a
label.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..data import IGNORE_INDEX, collate_for_evaluation
from .predict import upsampled_strips
from .protocols import Protocol
from .scorer import Scorer


class Confusion(NamedTuple):
    """The two classes that stand against each other on most pixels of an image.

    first, second: of a labelled image what the label says, and what the pair's mean probabilities
        say; of one without labels what the first student says, and what the second does.
    share: these pixels, of all H * W of the image.
    """

    first: int
    second: int
    share: float


class ImageScores(NamedTuple):
    """What ranks an image; shares, in 0..1. Counted are the n pixels that have a label; in an image
    without any, all.

    disagreement: pixels whose likeliest class differs between the students, of all that count,
        sum_i [argmax p_i != argmax q_i] / n.
    divergence: mean Jensen-Shannon divergence of their probabilities p and q, in bits, whose
        largest is 1: sum_i (KL(p_i | m_i) + KL(q_i | m_i)) / 2n, with m = (p + q) / 2.
    label_quality: `label_quality` of m at the label; None without a labelled pixel. Here the lowest
        comes first, of both others the highest.
    confusion: None where nothing stands against anything.
    """

    disagreement: float
    divergence: float
    label_quality: float | None
    confusion: Confusion | None

    def rank(self) -> tuple[bool, float]:
        """Sorts images by where to look first.

        Labelled ones by the quality of their labels. Others, and after them, by divergence and not
        by disagreement, which counts a pixel that both find as likely to be this or that like one
        of which each is sure of another: it ranks by the length of borders. Divergence is their
        doubt beyond what each has by itself, the entropy of m less the mean of both entropies,
        which is what active learning asks for (BALD, Houlsby et al. 2011).
        """
        if self.label_quality is None:
            return True, -self.divergence
        return False, self.label_quality


class ImageMaps(NamedTuple):
    """Where to look in an image, at its labels' own size, on the CPU.

    predictions: class ids (H, W) uint8 of the first student and of the second.
    doubt: (H, W) float32 in 0..1: with labels 1 - m of the label, 0 where there is none; without,
        the square root of the divergence, by which small ones are seen as well.
    """

    predictions: tuple[np.ndarray, np.ndarray]
    doubt: np.ndarray


def label_quality(confidences: np.ndarray) -> float:
    """How likely an image's labels are to be right, in 0..1, by cleanlab's score for segmentation
    (Lad & Mueller 2023), "softmin": sum_i s_i w_i with w = softmax((1 - s) / 0.1) over pixels.

    The least likely labels weigh the most, so that a small wrong region shows in a large image.

    Args:
        confidences: s, the probability of the label at each labelled pixel, (n,), at least one.
            Of all probabilities the score depends on these alone, and cleanlab takes no pixel
            without a label: it is handed them as images of one class.
    """
    from cleanlab.segmentation.rank import get_label_quality_scores

    row = confidences.reshape(1, 1, -1)
    scores, _ = get_label_quality_scores(
        np.zeros(row.shape, dtype=np.int64), row[:, None], verbose=False
    )
    return float(scores[0])


@torch.no_grad()
def review_image(logits: Sequence[Tensor], labels: Tensor) -> tuple[ImageScores, ImageMaps]:
    """Of one image: logits (1, K, h, w) of the first student and of the second, each at its own
    stride; labels (H, W) ids.

    Logits are upsampled to the labels' size some rows at a time: of 12 megapixels and 150 classes
    they would fill the memory.
    """
    size = labels.shape
    labels = labels.long()
    classes = logits[0].shape[1]
    labelled = labels != IGNORE_INDEX
    is_labelled = bool(labelled.any())
    counted = labelled if is_labelled else torch.ones_like(labelled)
    first, second, mean = (torch.empty_like(labels) for _ in range(3))
    divergence, confidence = (labels.new_zeros(size, dtype=torch.float32) for _ in range(2))
    strips = zip(*(upsampled_strips(own, size) for own in logits), strict=True)
    for (rows, of_first), (_, of_second) in strips:
        p, q = of_first[0].softmax(0), of_second[0].softmax(0)
        m = (p + q) / 2
        first[rows], second[rows], mean[rows] = (of.max(0).indices for of in (p, q, m))
        of_pixels = torch.xlogy(p, p) + torch.xlogy(q, q) - 2 * torch.xlogy(m, m)
        divergence[rows] = (of_pixels.sum(0) / (2 * np.log(2))).clamp(0, 1)
        ids = labels[rows].where(labelled[rows], 0)
        confidence[rows] = m.gather(0, ids[None])[0]
    number = int(counted.sum())
    scores = ImageScores(
        disagreement=int(((first != second) & counted).sum()) / number,
        divergence=float(divergence[counted].mean(dtype=torch.float64)),
        label_quality=label_quality(confidence[labelled].cpu().numpy()) if is_labelled else None,
        confusion=_confusion(
            *((labels[labelled], mean[labelled]) if is_labelled else (first, second)),
            classes,
            labels.numel(),
        ),
    )
    doubt = torch.where(labelled, 1 - confidence, 0) if is_labelled else divergence.sqrt()
    predictions = [ids.to(torch.uint8).cpu().numpy() for ids in (first, second)]
    return scores, ImageMaps((predictions[0], predictions[1]), doubt.cpu().numpy())


def _confusion(first: Tensor, second: Tensor, classes: int, pixels: int) -> Confusion | None:
    """Of class ids, of the same shape, in an image of so many pixels."""
    counts = torch.bincount((first * classes + second).flatten(), minlength=classes**2)
    counts.view(classes, classes).fill_diagonal_(0)
    place = int(counts.argmax())
    number = int(counts[place])
    return Confusion(place // classes, place % classes, number / pixels) if number else None


@torch.no_grad()
def review_split(
    scorer: Scorer,
    split: str,
    image_size: tuple[int, int],
    numbers: Sequence[int] | None = None,
    workers: int = 0,
) -> Iterator[tuple[int, ImageScores, ImageMaps]]:
    """Of the images of a split, one after the other, nothing of which is kept: the number, and
    `review_image`.

    Images are shown whole, whatever the benchmark's protocol: a label outside of a centre crop may
    be wrong as well.

    Args:
        scorer: of two students.
        image_size: (height, width) in pixels that images are resized to.
        numbers: of the images that are wanted. Default: all.
        workers: processes that read images.
    """
    protocol = Protocol(image_size=image_size)
    samples = scorer.data.samples(split, protocol.transform)
    numbers = range(len(samples)) if numbers is None else numbers
    loader = DataLoader(
        Subset(samples, numbers), 1, collate_fn=collate_for_evaluation, num_workers=workers
    )
    device = scorer.accelerator.device
    for number, batch in zip(numbers, loader, strict=True):
        pixels = batch["pixel_values"].to(device)
        with scorer.accelerator.autocast():
            logits = [protocol.logits(predict, pixels) for predict in scorer.predictors.values()]
        yield number, *review_image(logits, batch["labels"][0].to(device))
