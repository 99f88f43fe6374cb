"""Evaluation

Both students of the paper's pair scored as while they train, on 8 images of 360x480 in two batches,
against their two forward passes alone; random weights. What is above 1 is upsampling the logits to
the labels' size, cross entropy, the likeliest class, and counting.
"""

import argparse
import statistics

import torch
from accelerate import Accelerator
from common import alternated, bar, header, make_batch, make_pair, median_ratio, row

from ctcl_hf.scoring.evaluate import evaluate_pair
from ctcl_hf.scoring.protocols import Protocol

SIZE, IMAGES, BATCHES = (360, 480), 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    protocol, accelerator = Protocol(image_size=SIZE), Accelerator(cpu=True)
    header("classes", "evaluation (s)", "both forwards (s)", "ratio", "min-max")
    for classes in (11, 150):
        pair = make_pair(classes, SIZE).eval()
        batch = make_batch(classes, SIZE, IMAGES)
        pixels = batch["pixel_values"].to(torch.uint8)
        batches = [{"pixel_values": pixels, "labels": list(batch["labels"])}] * BATCHES

        @torch.no_grad()
        def forwards(pair=pair, pixels=pixels) -> None:
            for _ in range(BATCHES):
                for student in pair.students.values():
                    student.logits(pixels)

        def evaluation(pair=pair, batches=batches) -> None:
            evaluate_pair(pair, batches, protocol, accelerator, lambda: None)

        seconds = alternated({"evaluation": evaluation, "forwards": forwards}, arguments.repeats)
        ratio, lowest, highest = median_ratio(seconds["evaluation"], seconds["forwards"])
        medians = [statistics.median(values) for values in seconds.values()]
        row(classes, *medians, ratio, f"{lowest:.2f}-{highest:.2f}")
        bar(11, f"evaluation / both forwards, {classes} classes, 360x480", ratio, at_most=1.1)


if __name__ == "__main__":
    main()
