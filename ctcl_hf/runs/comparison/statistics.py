"""What differences between runs mean: over seeds, over images, and at equal seconds.

Numbers in, numbers out.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ...metrics.scores import curve

CONFIDENCE = 0.95
RESAMPLES = 4000
# Of fewer an interval over blocks promises what it does not keep: of normal values one of 95 %
# holds the truth in 50 % of all cases with 2 blocks, 75 % with 3, 84 % with 5, 86 % with 6, and
# 91 % with 10.
LEAST_BLOCKS = 6
# IoU above which a class is known to the control; share of it below which it is lost
KNOWN, LOST = 0.05, 0.5


class Interval(NamedTuple):
    """A mean and its 95 % interval; None where it cannot be told.

    `count`: of what it was drawn from.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f}" + (
            "" if self.low is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        )


def t_interval(differences: Sequence[float]) -> Interval:
    """Of paired differences, one per seed: their mean and Student's two-sided t interval with n - 1
    degrees of freedom.

    It covers what a seed decides (weights, order, augmentation), on these very images. One seed has
    none.
    """
    count, mean = len(differences), float(np.mean(differences))
    if count < 2:
        return Interval(mean, None, None, count)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * stats.sem(differences))
    return Interval(mean, mean - half, mean + half, count)


def block_tallies(counts: np.ndarray, length: int) -> np.ndarray:
    """What mIoU needs of each block of `length` consecutive images: int64 (blocks, 3, K).

    counts: (N, K, K), rows the label. The three: pixels that are right, labelled, and predicted, by
    class. The last block is shorter where N is no multiple.
    """
    table = counts.astype(np.int64)
    tallies = np.stack([np.diagonal(table, axis1=1, axis2=2), table.sum(2), table.sum(1)], axis=1)
    return np.add.reduceat(tallies, np.arange(0, len(tallies), length), axis=0)


def mean_iou(tallies: np.ndarray) -> np.ndarray:
    """mIoU (...) in percent of tallies (..., 3, K) that were summed over images, over the classes
    that occur.
    """
    right, labelled, predicted = np.moveaxis(tallies.astype(np.float64), -2, 0)
    union = labelled + predicted - right
    iou = np.divide(right, union, out=np.zeros_like(right), where=union > 0)
    return 100 * iou.sum(-1) / np.maximum((union > 0).sum(-1), 1)


def image_scores(students: Collection[np.ndarray]) -> np.ndarray:
    """mIoU in percent of each image by each student (N, students) from counts (N, K, K); NaN
    without a label.
    """
    scores = np.stack([mean_iou(block_tallies(counts, 1)) for counts in students], axis=1)
    scores[next(iter(students)).sum((1, 2), dtype=np.int64) == 0] = np.nan
    return scores


def best_and_worst(scores: np.ndarray, most: int) -> tuple[list[int], list[int]]:
    """Numbers of the images with the highest scores (N,), the best first, and with the lowest, the
    worst first; at most so many of each, and none in both. NaN is left out.
    """
    order = np.argsort(scores, kind="stable")[: np.isfinite(scores).sum()].tolist()
    worst = order[: min(most, len(order) // 2)]
    return order[len(worst) :][: -most - 1 : -1], worst


def resampled_gains(methods: np.ndarray, controls: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The gain of each student in mIoU points, a mean over seeds, in each resample: (resamples,
    students).

    Args:
        methods, controls: tallies (seeds, students, blocks, 3, K) of the same images in the same
            order.
        weights: (resamples, blocks), how often a resample holds a block: the same for all that is
            compared.
    """
    seeds, students, blocks, *rest = methods.shape
    gains = np.zeros((len(weights), students))
    for seed in range(seeds):
        for student in range(students):
            for tallies, sign in ((methods, 1), (controls, -1)):
                summed = weights @ tallies[seed, student].reshape(blocks, -1).astype(np.float64)
                gains[:, student] += sign * mean_iou(summed.reshape(-1, *rest)) / seeds
    return gains


def block_bootstrap(
    methods: np.ndarray, controls: np.ndarray, seed: int = 0
) -> tuple[Interval, ...]:
    """The gain of each student, and last the sum of all, with the percentile interval over blocks
    of images.

    Blocks are drawn with replacement, mIoU is computed from the summed counts of what was drawn,
    and a method is compared with its control on the same blocks and seeds. The interval covers
    which images were scored, for these very students; of fewer than LEAST_BLOCKS there is none.
    Arguments: see `resampled_gains`.
    """
    blocks = methods.shape[2]
    observed = _with_sum(resampled_gains(methods, controls, np.ones((1, blocks))))[0]
    if blocks < LEAST_BLOCKS:
        return tuple(Interval(gain, None, None, blocks) for gain in observed.tolist())
    draws = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES)
    drawn = _with_sum(resampled_gains(methods, controls, draws.astype(np.float64)))
    tail = 100 * (1 - CONFIDENCE) / 2
    bounds = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return tuple(
        Interval(*of_student, blocks)
        for of_student in zip(observed.tolist(), *bounds.tolist(), strict=True)
    )


def _with_sum(gains: np.ndarray) -> np.ndarray:
    return np.column_stack([gains, gains.sum(1)])


def lost_classes(method: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which classes the control knows (IoU above 5 %), and which of those the method has less than
    half of.

    Both arguments: IoU (...) as shares, NaN where a class does not occur, which is not known and
    not lost.
    """
    known = np.nan_to_num(control) > KNOWN
    return known, known & (np.nan_to_num(method) < LOST * np.nan_to_num(control))


class EqualSeconds(NamedTuple):
    """mIoU in percent on validation, by student, of a method and of its control after equally many
    seconds.
    """

    method: tuple[float, ...]
    control: tuple[float, ...]
    share: float  # of the method's steps that were made by then


def at_equal_seconds(
    method: Sequence[Mapping[str, Any]], control: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> EqualSeconds | None:
    """Both runs at the end of the shorter one, usually the control's: their last evaluation up to
    that second.

    It is read from evaluations that were made, and nothing is extrapolated: how far the control
    would have come in the longer time is known to no history, but how far the method had come in
    the shorter one is. This reading is against the slower run, whose learning rate has not decayed
    to its end by then. A step's time is taken as constant: the seconds of the training, evaluations
    included, divided by its steps.

    Args:
        method, control: Trainer's log histories, each of a training that was not interrupted.

    Returns:
        None if a run was not timed, or had not been evaluated by then.
    """
    ends = [
        next((log for log in reversed(history) if "train_runtime" in log), None)
        for history in (method, control)
    ]
    if None in ends:
        return None
    seconds = min(end["train_runtime"] for end in ends)
    scores, shares = [], []
    for history, end in zip((method, control), ends, strict=True):
        last = end["step"] * min(seconds / end["train_runtime"], 1)
        seen = [[point for point in curve(history, name) if point[0] <= last] for name in names]
        if not all(seen):
            return None
        scores.append(tuple(100 * points[-1][1] for points in seen))
        shares.append(seen[0][-1][0] / end["step"])
    return EqualSeconds(*scores, shares[0])
