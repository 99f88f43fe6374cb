"""Precision on a CPU

A step (forward and backward) in bfloat16 autocast against the same step in float32, of students
that learn apart and of CTCL, by the size of crops: batch 8, 11 classes, random weights and images.
Losses are float32 in either. How near the losses and gradients of both are is told beside: the
loss's relative difference, and the cosine between the gradients of each student. That of the CNN is
small at random weights, where batch normalisation makes much of little. A run computes in float32
unless it is told: what was learnt in bfloat16 was not the same (docs/results.md, "In bfloat16").
"""

import argparse

import torch
from common import alternated, header, make_batch, median_ratio, row, step
from torch.nn.functional import cosine_similarity

from ctcl_hf import CTCL, StudentPair, Vanilla, load_student
from ctcl_hf.students import Student

CLASSES, IMAGES = 11, 8
# the pairs of the recipes demo and cpu, and the height and width of crops
PAIRS = {
    "demo": (("mobilenetv2_050", "nvidia/mit-b0", 64), ((96, 128), (160, 224))),
    "cpu": (("mobilenetv2_100", "nvidia/mit-b1", 128), ((96, 128), (160, 224))),
}


def make_students(
    cnn: str, vit: str, aspp_channels: int, size: tuple[int, int]
) -> dict[str, Student]:
    names = [str(i) for i in range(CLASSES)]
    head = {"from_scratch": True, "aspp_channels": aspp_channels, "output_stride": 16}
    return {
        "cnn": load_student(cnn, names, size, **head),
        "vit": load_student(vit, names, size, from_scratch=True),
    }


def nearness(pair: StudentPair, batch: dict) -> tuple[float, list[float]]:
    """Of the loss, relative; and of each student's gradient, as a cosine."""
    losses, gradients = [], []
    for is_narrow in (False, True):
        pair.zero_grad()
        torch.manual_seed(0)  # of dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
            loss = pair(**batch).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            [
                torch.cat(
                    [p.grad.double().flatten() for p in student.parameters() if p.grad is not None]
                )
                for student in pair.students.values()
            ]
        )
    cosines = [float(cosine_similarity(a, b, dim=0)) for a, b in zip(*gradients, strict=True)]
    return abs(losses[1] / losses[0] - 1), cosines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    header(
        *("students of", "crops", "method", "bfloat16 / float32", "min-max", "loss differs by"),
        *("gradients, CNN", "ViT"),
    )
    for recipe, (students, sizes) in PAIRS.items():
        for size in sizes:
            batch = make_batch(CLASSES, size, IMAGES)
            for method in (Vanilla, CTCL):
                torch.manual_seed(0)
                own = make_students(*students, size)
                pair = StudentPair(own, method(*own.values())).train()

                def taken(is_narrow: bool, pair=pair, batch=batch) -> None:
                    with torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
                        step(lambda: pair(**batch).loss, pair)

                seconds = alternated(
                    {"bfloat16": lambda: taken(True), "float32": lambda: taken(False)}, repeats
                )
                ratio, low, high = median_ratio(seconds["bfloat16"], seconds["float32"])
                differs, cosines = nearness(pair, batch)
                row(
                    *(f"`{recipe}`", f"{size[0]}x{size[1]}", f"`{method.__name__.lower()}`"),
                    *(f"{ratio:.2f}", f"{low:.2f}-{high:.2f}", f"{differs:.1e}"),
                    *(f"{cosine:.3f}" for cosine in cosines),
                )


if __name__ == "__main__":
    main()
