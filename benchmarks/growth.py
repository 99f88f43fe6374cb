"""Growth

A CTCL step (ASPP 128, stride 16) against batch, classes and pixels, each from the same base:
seconds and bytes at the peak beyond those before, and the exponent that fits best (log against
log): 1 is in proportion, less is cheaper.
"""

import argparse
import json
import math
import statistics
import time

from common import bar, header, in_own_process, make_batch, make_pair, peak_bytes, row, step

BASE = {"images": 4, "classes": 40, "scale": 1}  # pixels: scale x (160, 224)
GROWTHS = {"images": (4, 8, 16), "classes": (40, 80, 160), "scale": (1, 2, 4)}
NAMES = {"images": "batch", "classes": "classes", "scale": "pixels"}


def measure(images: int, classes: int, scale: int) -> dict[str, float]:
    size = (160 * (2 if scale == 4 else 1), 224 * (2 if scale >= 2 else 1))
    pair, batch = make_pair(classes, size, 128, output_stride=16), make_batch(classes, size, images)
    before, seconds = peak_bytes(), []
    for _ in range(4):
        start = time.perf_counter()
        step(lambda: pair(**batch).loss, pair)
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[2:]), "bytes": peak_bytes() - before}


def exponent(sizes: tuple[int, ...], values: list[float]) -> float:
    """Slope of the least-squares line through log(size), log(value)."""
    slope, _ = statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(value) for value in values]
    )
    return slope


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--point", type=json.loads, help="Measure this one here: JSON like BASE.")
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure(**arguments.point)))
        return
    header("growing", "values", "s / step", "peak (GiB)", "exponent of time", "of memory")
    known: dict[str, dict] = {}
    worst = 0.0
    for what, values in GROWTHS.items():
        points = []
        for value in values:
            point = json.dumps(BASE | {what: value})
            if point not in known:
                known[point] = in_own_process(__file__, "--point", point)
            points.append(known[point])
        seconds, peaks = ([point[key] for point in points] for key in ("seconds", "bytes"))
        exponents = [exponent(values, seconds), exponent(values, peaks)]
        worst = max(worst, *exponents)
        shown = [values if what != "scale" else [f"{value * 160 * 224}" for value in values]]
        cells = [", ".join(map(str, shown[0])), ", ".join(f"{value:.2f}" for value in seconds)]
        cells += [
            ", ".join(f"{peak / 2**30:.2f}" for peak in peaks),
            *(f"{own:.2f}" for own in exponents),
        ]
        row(NAMES[what], *cells)
    bar(9, "largest exponent", worst, at_most=1.1)


if __name__ == "__main__":
    main()
