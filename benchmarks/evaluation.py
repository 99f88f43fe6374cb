"""Evaluation

Both students of the paper's pair scored as while they train, on a batch of 4 images of 360x480,
against their two forward passes alone; random weights. What is above 1 is upsampling the logits to
the labels' size, cross entropy, the likeliest class, and counting: at 150 classes, of 98 ms an
image and student, the likeliest class takes 35, the cross entropy 22 and upsampling 20 (profiled on
2026-11-27). Then what it takes to have the images of a validation split at hand, the first time and
at every evaluation that follows, which finds them in memory (up to 512 MiB a process; more are read
again each time).
"""

import argparse
import statistics
import time

import torch
from accelerate import Accelerator
from common import (
    alternated,
    bar,
    camvid_or_scenes,
    header,
    make_batch,
    make_pair,
    median_ratio,
    row,
)
from torch.utils.data import DataLoader

from ctcl_hf import SegmentationData
from ctcl_hf.data import collate_for_evaluation
from ctcl_hf.scoring.evaluate import evaluate_pair
from ctcl_hf.scoring.protocols import Protocol
from ctcl_hf.training.evaluation_batches import KeptBatches

SIZE, IMAGES, BATCHES = (360, 480), 4, 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn scenes of its size.")
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
    report_reading(camvid_or_scenes(arguments.data_dir))


def report_reading(data: SegmentationData) -> None:
    """Seconds to have the batches of the validation split, by the times that they are met."""
    samples = data.samples("validation", Protocol(image_size=SIZE).transform)
    batches = KeptBatches(DataLoader(samples, IMAGES, collate_fn=collate_for_evaluation))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        kept = sum(
            own.nbytes for batch in batches for own in (batch["pixel_values"], *batch["labels"])
        )
        seconds.append(time.perf_counter() - start)
    header("images of validation", "first (s)", "then (s)", "kept (MiB)")
    row(len(samples), f"{seconds[0]:.2f}", f"{seconds[1]:.3f}", f"{kept / 2**20:.0f}")


if __name__ == "__main__":
    main()
