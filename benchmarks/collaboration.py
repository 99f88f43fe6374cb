"""What collaboration costs

One CTCL step (forward and backward) against the steps of the two students on their own with
`F.interpolate` and `F.cross_entropy` and the models' own forward: MobileNetV2 at stride 8 and
MiT-B1, batch 4, random weights and images. Beside them the method vanilla, both students apart in
this package's own loop: what CTCL adds to that is each student's second stage run on the other's
features, forward and back to its input, and its losses.
"""

import argparse
import statistics

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

LIMITS = {11: 1.20, 150: 1.00}


def measure(
    classes: int, size: tuple[int, int], aspp_channels: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of paired steps: both students in CTCL, each on its own with ordinary losses, and in
    vanilla.
    """
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)
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
    parser.add_argument("--sizes", nargs="+", default=["360x480", "512x512"], help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    header(
        "classes",
        "size",
        "ASPP",
        "CTCL (s)",
        "CNN + ViT alone (s)",
        "ratio",
        "min-max",
        "vanilla (s)",
    )
    medians = {}
    for classes in LIMITS:
        for text in arguments.sizes:
            size = tuple(int(side) for side in text.split("x"))
            seconds = measure(classes, size, arguments.aspp_channels, arguments.repeats)
            ratio, low, high = median_ratio(seconds["ctcl"], seconds["alone"])
            ctcl, alone, ours = (
                f"{statistics.median(seconds[name]):.2f}" for name in ("ctcl", "alone", "ours")
            )
            row(
                classes,
                text,
                arguments.aspp_channels,
                ctcl,
                alone,
                f"{ratio:.2f}",
                f"{low:.2f}-{high:.2f}",
                ours,
            )
            medians[classes, text] = ratio
    for (classes, text), ratio in medians.items():
        bar(
            1,
            f"CTCL step / two vanilla steps, {classes} classes, {text}",
            ratio,
            at_most=LIMITS[classes],
        )


if __name__ == "__main__":
    main()
