"""Weights of classes in the cross entropy."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..base.choices import POWERS_OF_CLASS_WEIGHTS as POWERS
from ..base.heartbeat import watched
from .own.classes import read_json
from .segmentation import SegmentationData


def class_weights(told: str, data: SegmentationData) -> tuple[float, ...]:
    """A weight for each class of the data.

    Args:
        told: "balanced" for 1 / (classes * share of the labelled training pixels), of the classes
            that occur, so that the mean labelled pixel has the weight 1; a class that does not
            occur has it too. "sqrt" for the square roots of those. Else a JSON file with the weight
            of each class by its name, which is used as it is.

    Raises:
        ValueError: a file that cannot be read, or without a positive weight for each class;
            what is counted, for streamed data.
    """
    if told in POWERS:
        return tuple((_balanced(told, data) ** POWERS[told]).tolist())
    option = "--class_weights"
    weights = read_json(told, option)
    wrong = [name for name in data.class_names if not _is_positive(weights.get(name))]
    unknown = [name for name in weights if name not in data.class_names]
    if wrong or unknown:
        problems = [f"no positive number for {', '.join(wrong)}"] if wrong else []
        if unknown:
            verb = "is no class" if len(unknown) == 1 else "are no classes"
            problems.append(f"{', '.join(unknown)} {verb}")
        raise ValueError(
            f"{option} {told}: {'; '.join(problems)}. Classes: {', '.join(data.class_names)}."
        )
    return tuple(float(weights[name]) for name in data.class_names)


def _balanced(told: str, data: SegmentationData) -> np.ndarray:
    if data.is_streamed:
        raise ValueError(
            f"--class_weights {told} reads every mask, and does not go with --streaming: give "
            "a file."
        )
    samples = data.samples("train", transform=None)
    classes = len(data.class_names)

    def pixels_of(index: int) -> np.ndarray:
        return np.bincount(samples.decode(index)[1].ravel(), minlength=256)[:classes]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = watched(
            pool.map(pixels_of, range(len(samples))), "Counting classes", len(samples)
        )
        pixels = sum(counted, np.zeros(classes, dtype=np.int64))
    occurs = pixels > 0
    weights = np.ones(classes)
    weights[occurs] = pixels.sum() / (occurs.sum() * pixels[occurs])
    return weights


def _is_positive(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    )
