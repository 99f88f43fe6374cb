"""Several students as one model: the mean of their probabilities."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..students import Student
from .predict import logits_of, upsampled_strips


def mean_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Mean over models of their probabilities: logits (B, K, H, W), upsampled to one size ->
    (B, K, H, W).
    """
    first, *others = (own.softmax(1) for own in logits)
    return sum(others, first) / len(logits)


def class_orders(students: Sequence[Student]) -> list[list[int]]:
    """Where each student has the classes of the first, in its order.

    ValueError if they know different classes: there is no mean of what is not the same.
    """
    names = students[0].class_names
    for other in students[1:]:
        if sorted(other.class_names) != sorted(names):
            raise ValueError(
                f"The models know different classes, {', '.join(names)} and "
                f"{', '.join(other.class_names)}: give students of the same."
            )
    return [[student.class_names.index(name) for name in names] for student in students]


@torch.no_grad()
def segment_together(students: Sequence[Student], image: Image.Image) -> np.ndarray:
    """Class ids (H, W) uint8 of an image at its own size, by the mean of the students'
    probabilities there, numbered as the first student does; each resizes as its own processor says.

    Some rows at a time, as the probabilities of a camera's picture would fill the memory.
    ValueError if the students know different classes, or for an image that is not of 8 bits or not
    opaque.
    """
    size = (image.height, image.width)
    orders = class_orders(students)
    logits = [
        student.calibrated(logits_of(student.model, student.image_processor, [image])[0])[
            None, order
        ]
        for student, order in zip(students, orders, strict=True)
    ]
    ids = np.empty(size, dtype=np.uint8)
    for strips in zip(*(upsampled_strips(own, size) for own in logits), strict=True):
        rows = strips[0][0]
        ids[rows] = mean_probabilities([strip for _, strip in strips])[0].argmax(0).cpu().numpy()
    return ids
