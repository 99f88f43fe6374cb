"""Peak memory

A step of the control and of CTCL against the two students trained together with ordinary losses:
bytes resident at the peak of two steps beyond those before the first, each in a process of its own.
The paper's pair, batch 4, stride 8.
"""

import argparse
import json

from common import (
    bar,
    header,
    in_own_process,
    make_batch,
    make_pair,
    ordinary_loss,
    peak_bytes,
    row,
    step,
)

from ctcl_hf import METHODS

MEASURED = ("vanilla", "ctcl")


def measure(kind: str, classes: int, size: tuple[int, int], aspp_channels: int) -> int:
    """Bytes at the peak of two steps beyond those resident before."""
    method = "ctcl" if kind == "alone" else kind
    pair = make_pair(classes, size, aspp_channels, METHODS[method])
    batch = make_batch(classes, size)
    before = peak_bytes()

    def loss():
        if kind == "alone":
            return sum(ordinary_loss(student, batch) for student in pair.students.values())
        return pair(**batch).loss

    for _ in range(2):
        step(loss, pair)
    return peak_bytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--size", default="512x512", help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument(
        "--kind",
        choices=[*MEASURED, "alone"],
        help="Measure this one here, print its bytes.",
    )
    arguments = parser.parse_args()
    size = tuple(int(side) for side in arguments.size.split("x"))
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.classes, size, arguments.aspp_channels)))
        return
    own = [
        "--classes",
        arguments.classes,
        "--size",
        arguments.size,
        "--aspp_channels",
        arguments.aspp_channels,
    ]
    alone = in_own_process(__file__, *own, "--kind", "alone")
    header("method", "classes", "size", "ASPP", "peak (GiB)", "together, ordinary (GiB)", "ratio")
    ratios = {}
    for kind in MEASURED:
        peak = in_own_process(__file__, *own, "--kind", kind)
        ratios[kind] = peak / alone
        shown = [f"{bytes_ / 2**30:.2f}" for bytes_ in (peak, alone)]
        row(
            kind,
            arguments.classes,
            arguments.size,
            arguments.aspp_channels,
            *shown,
            f"{ratios[kind]:.2f}",
        )
    what = f"CTCL peak / vanilla peak, {arguments.classes} classes, {arguments.size}"
    bar(2, what, ratios["ctcl"], at_most=0.80)


if __name__ == "__main__":
    main()
