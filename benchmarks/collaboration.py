"""What collaboration costs

One CTCL step (forward and backward) against the steps of the two students on their own with `F.interpolate` and
`F.cross_entropy`: MobileNetV2 at stride 8 and MiT-B1, batch 4, random weights and images. What must be added is each
student's second stage run on the other's features, forward and back to its input.
"""

import argparse
import statistics

from common import alternated, bar, header, make_batch, make_pair, median_ratio, ordinary_loss, row, step

LIMITS = {11: 1.20, 150: 1.00}


def measure(classes: int, size: tuple[int, int], aspp_channels: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of paired steps: both students in CTCL, and each on its own with ordinary losses."""
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)

    def alone() -> None:
        for student in pair.students.values():
            step(lambda student=student: ordinary_loss(student, batch), student)

    return alternated({"ctcl": lambda: step(lambda: pair(**batch).loss, pair), "alone": alone}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["360x480", "512x512"], help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    header("classes", "size", "ASPP", "CTCL (s)", "CNN + ViT alone (s)", "ratio", "min-max")
    medians = {}
    for classes in LIMITS:
        for text in arguments.sizes:
            size = tuple(int(side) for side in text.split("x"))
            seconds = measure(classes, size, arguments.aspp_channels, arguments.repeats)
            ratio, low, high = median_ratio(seconds["ctcl"], seconds["alone"])
            times = [f"{statistics.median(seconds[name]):.2f}" for name in ("ctcl", "alone")]
            row(classes, text, arguments.aspp_channels, *times, f"{ratio:.2f}", f"{low:.2f}-{high:.2f}")
            medians[classes, text] = ratio
    for (classes, text), ratio in medians.items():
        bar(1, f"CTCL step / two vanilla steps, {classes} classes, {text}", ratio, at_most=LIMITS[classes])


if __name__ == "__main__":
    main()
