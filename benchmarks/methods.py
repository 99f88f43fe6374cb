"""What each method costs

A step (forward and backward) of every method against one of `vanilla`, both students apart in the
same loop: the `demo` recipe's pair, MobileNetV2 x0.5 and MiT-B0, on crops of 96x128 at batch 8 and
8 classes, random weights and images. All methods share the two students, in turn; ratios are
medians of those of neighbouring steps. A method that needs frozen teachers has two of the same
kinds.
"""

import argparse
import statistics
from functools import partial

from common import alternated, header, make_batch, median_ratio, row, step

from ctcl_hf import StudentPair, load_student
from ctcl_hf.methods import METHODS
from ctcl_hf.students import Student

CLASSES, SIZE, IMAGES = 8, (96, 128), 8
# the narrow exchange of docs/results.md beside each method's defaults
VARIANTS = {
    "ctcl, pixel BSD alone, known classes": (
        "ctcl",
        {"pixel_classes": "known", "hfd": False, "region_bsd": False},
    ),
    "ctcl, as printed": ("ctcl", {"as_printed": True}),
}


def make_students() -> tuple[Student, Student]:
    names = [str(i) for i in range(CLASSES)]
    small = {"from_scratch": True, "aspp_channels": 64, "output_stride": 16}
    cnn = load_student("mobilenetv2_050", names, SIZE, **small)
    return cnn, load_student("nvidia/mit-b0", names, SIZE, from_scratch=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    students, batch = make_students(), make_batch(CLASSES, SIZE, IMAGES)
    rows = {name: (name, {}) for name in METHODS} | VARIANTS
    pairs = {}
    for title, (name, options) in rows.items():
        needs = METHODS[name].Options.TEACHERS == "needed"
        teachers = {"teachers": make_students()} if needs else {}
        objective = METHODS[name](*students, **teachers, **options)
        pairs[title] = StudentPair(dict(zip(("cnn", "vit"), students, strict=True)), objective)

    def taken(pair: StudentPair) -> None:
        step(lambda: pair(**batch).loss, pair)

    # the second step of a method that counts what its students know is the first that compares
    steps = {title: partial(taken, pair.train()) for title, pair in pairs.items()}
    seconds = alternated(steps, repeats, warmup=2)
    header("method", "s / step", "against vanilla", "min-max")
    for title, own in seconds.items():
        ratio, low, high = median_ratio(own, seconds["vanilla"])
        row(title, statistics.median(own), f"{ratio:.2f}", f"{low:.2f}-{high:.2f}")


if __name__ == "__main__":
    main()
