"""Losses on logits

What CTCL takes of two students' stride-4 logits (both cross entropies, both divergences, both maps
and all gradients) against the cross entropies alone with `F.interpolate` and `F.cross_entropy`,
forward and backward, batch 4. Once with all classes compared, as printed, and once with a third of
them merged in two groups, and what is said of each counted.
"""

import argparse
import statistics

import torch
from common import (
    IGNORE,
    alternated,
    header,
    make_batch,
    median_ratio,
    row,
    upsampled_cross_entropy,
)

from ctcl_hf.losses import PixelTeaching, from_each_other, pixel_losses

PRINTED = PixelTeaching(from_each_other(2), selective=True, divisor="taught")


def grouped(classes: int) -> PixelTeaching:
    """A sixth of the classes merged with the first one, and a sixth with the last."""
    part = classes // 6
    merged = (tuple(range(part)), tuple(range(classes - part, classes)))
    groups = (merged[0], *((label,) for label in range(part, classes - part)), merged[1])
    return PRINTED._replace(divisor="labelled", groups=(groups, groups))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    header("classes", "size", "compared", "CTCL's (s)", "cross entropy alone (s)", "ratio")
    for classes, size in ((11, (360, 480)), (150, (512, 512))):
        labels = make_batch(classes, size)["labels"]
        students = [
            torch.randn(4, classes, size[0] // 4, size[1] // 4, requires_grad=True)
            for _ in range(2)
        ]

        def ours(teaching, students=students, labels=labels) -> None:
            losses = pixel_losses(students, labels, IGNORE, teaching)
            sum(mean.value for mean in losses.ce + losses.pixel).backward()

        def alone(students=students, labels=labels) -> None:
            sum(upsampled_cross_entropy(logits, labels) for logits in students).backward()

        compared = {"all classes": PRINTED, "groups": grouped(classes)}
        functions = {
            name: lambda ours=ours, teaching=teaching: ours(teaching)
            for name, teaching in compared.items()
        }
        seconds = alternated({**functions, "alone": alone}, arguments.repeats)
        for name in compared:
            times = [f"{statistics.median(seconds[key]):.3f}" for key in (name, "alone")]
            ratio, *_ = median_ratio(seconds[name], seconds["alone"])
            row(classes, f"{size[0]}x{size[1]}", name, *times, f"{ratio:.2f}")


if __name__ == "__main__":
    main()
