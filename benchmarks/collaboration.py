"""Bar 1: one CTCL step against the steps of the two students on their own, MobileNetV2 + MiT-B1, batch 4.

python benchmarks/collaboration.py --aspp_channels 512
"""

import argparse
import statistics

from common import alternated, make_batch, make_pair, median_ratio, ordinary_loss, row, step


def measure(classes: int, size: tuple[int, int], aspp_channels: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of paired steps: both students in CTCL, and each on its own with ordinary losses."""
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)

    def alone() -> None:
        for student in pair.students.values():
            step(lambda student=student: ordinary_loss(student, batch), student)

    return alternated({"ctcl": lambda: step(lambda: pair(**batch).loss, pair), "alone": alone}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[11, 150])
    parser.add_argument("--sizes", nargs="+", default=["360x480", "512x512"], help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(row("classes", "size", "ASPP", "CTCL (s)", "CNN + ViT alone (s)", "ratio", "min-max", "bar"))
    print(row(*["---"] * 8))
    for classes in arguments.classes:
        for text in arguments.sizes:
            size = tuple(int(side) for side in text.split("x"))
            seconds = measure(classes, size, arguments.aspp_channels, arguments.repeats)
            ratio, low, high = median_ratio(seconds["ctcl"], seconds["alone"])
            times = [f"{statistics.median(seconds[name]):.2f}" for name in ("ctcl", "alone")]
            shown = [f"{ratio:.2f}", f"{low:.2f}-{high:.2f}", "1.20" if classes == 11 else "1.00"]
            print(row(classes, text, arguments.aspp_channels, *times, *shown), flush=True)


if __name__ == "__main__":
    main()
