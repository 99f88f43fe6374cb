"""Losses on logits

What CTCL takes of two students' stride-4 logits (both cross entropies, both divergences, both maps and all gradients)
against the cross entropies alone with `F.interpolate` and `F.cross_entropy`, forward and backward, batch 4.
"""

import argparse
import statistics

import torch
from common import IGNORE, alternated, header, make_batch, median_ratio, row, upsampled_cross_entropy

from ctcl_hf.losses import PixelTeaching, pixel_losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    header("classes", "size", "CTCL's (s)", "cross entropy alone (s)", "ratio")
    for classes, size in ((11, (360, 480)), (150, (512, 512))):
        labels = make_batch(classes, size)["labels"]
        students = [torch.randn(4, classes, size[0] // 4, size[1] // 4, requires_grad=True) for _ in range(2)]

        def ours(students=students, labels=labels) -> None:
            losses = pixel_losses(students, labels, IGNORE, PixelTeaching((1, 0), selective=True, divisor="taught"))
            sum(losses.ce + losses.pixel).backward()

        def alone(students=students, labels=labels) -> None:
            sum(upsampled_cross_entropy(logits, labels) for logits in students).backward()

        seconds = alternated({"ours": ours, "alone": alone}, arguments.repeats)
        times = [f"{statistics.median(values):.3f}" for values in seconds.values()]
        ratio, *_ = median_ratio(seconds["ours"], seconds["alone"])
        row(classes, f"{size[0]}x{size[1]}", *times, f"{ratio:.2f}")


if __name__ == "__main__":
    main()
