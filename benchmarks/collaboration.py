"""What collaboration costs

One CTCL step (forward and backward) against the steps of the two students on their own with
`F.interpolate` and `F.cross_entropy` and the models' own forward: MobileNetV2 at stride 8 and
MiT-B1, batch 4, random weights and images. Beside them the method vanilla, both students apart in
this package's own loop: what CTCL adds to that is each student's second stage run on the other's
features, forward and back to its input, and its losses, on groups of classes into which a sixth of
them is merged at either end. Profiled on 2026-11-27: at 150 classes half of what a step takes above
vanilla's is what groups cost over comparing all classes (merging log-probabilities, and counting
what is said of each class); the rest, and most of it at 11 classes, is each student's second stage
on the other's features.
"""

import argparse
import statistics

import torch
from common import (
    alternated,
    bar,
    header,
    make_batch,
    make_pair,
    median_ratio,
    ordinary_loss,
    row,
    step,
)

from ctcl_hf import StudentPair, Vanilla

# classes and size -> the bar; CamVid's, and those of the largest benchmarks
LIMITS = {(11, (360, 480)): 1.20, (150, (512, 512)): 1.00}
LIMIT_OF_COLLABORATION = 1.05


def merge_classes(pair: StudentPair) -> None:
    """Has each student confuse classes as one does that knows two thirds of them: by counts that
    those of the steps that are timed do not change.
    """
    confusion = pair.objective.class_groups.confusion
    classes = confusion.shape[-1]
    part = classes // 6
    said = torch.arange(classes)  # of each class, what is said of its pixels
    said[:part], said[classes - part :] = 0, classes - 1
    confusion.copy_(1e12 * torch.nn.functional.one_hot(said, classes))


def measure(
    classes: int, size: tuple[int, int], aspp_channels: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of paired steps: both students in CTCL, each on its own with ordinary losses, and in
    vanilla.
    """
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)
    merge_classes(pair)
    vanilla = StudentPair(dict(pair.students), Vanilla(*pair.students.values()))

    def alone() -> None:
        for student in pair.students.values():
            step(lambda student=student: ordinary_loss(student, batch), student)

    steps = {
        name: lambda own=own: step(lambda: own(**batch).loss, own)
        for name, own in (("ctcl", pair), ("ours", vanilla))
    }
    return alternated(steps | {"alone": alone}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    header(
        *("classes", "size", "CTCL (s)", "CNN + ViT alone (s)", "ratio", "min-max", "vanilla (s)"),
        *("CTCL / vanilla", "min-max"),
    )
    ratios = {}
    for classes, size in LIMITS:
        seconds = measure(classes, size, arguments.aspp_channels, arguments.repeats)
        ctcl, alone, ours = (
            f"{statistics.median(seconds[name]):.2f}" for name in ("ctcl", "alone", "ours")
        )
        against = {name: median_ratio(seconds["ctcl"], seconds[name]) for name in ("alone", "ours")}
        (of_alone, *ends_alone), (of_ours, *ends_ours) = against.values()
        row(
            *(classes, f"{size[0]}x{size[1]}", ctcl, alone, f"{of_alone:.2f}"),
            *("{:.2f}-{:.2f}".format(*ends_alone), ours, f"{of_ours:.2f}"),
            "{:.2f}-{:.2f}".format(*ends_ours),
        )
        ratios[classes, size] = of_alone, of_ours
    for (classes, size), (of_alone, of_ours) in ratios.items():
        where = f"{classes} classes, {size[0]}x{size[1]}"
        limit = LIMITS[classes, size]
        bar(1, f"CTCL step / two vanilla steps, {where}", of_alone, at_most=limit)
        bar(
            12,
            f"CTCL step / a step of our own vanilla, {where}",
            of_ours,
            at_most=LIMIT_OF_COLLABORATION,
        )


if __name__ == "__main__":
    main()
