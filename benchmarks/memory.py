"""Peak memory

A CTCL step against the two students trained together with ordinary losses: bytes resident at the peak of two steps
beyond those before the first, each in a process of its own. The paper's pair, batch 4, stride 8.
"""

import argparse
import json

from common import bar, header, in_own_process, make_batch, make_pair, ordinary_loss, peak_bytes, row, step


def measure(kind: str, classes: int, size: tuple[int, int], aspp_channels: int) -> int:
    """Bytes at the peak of two steps beyond those resident before."""
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)
    before = peak_bytes()
    losses = {
        "ctcl": lambda: pair(**batch).loss,
        "alone": lambda: sum(ordinary_loss(student, batch) for student in pair.students.values()),
    }
    for _ in range(2):
        step(losses[kind], pair)
    return peak_bytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--size", default="512x512", help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--kind", choices=["ctcl", "alone"], help="Measure this one here and print its bytes.")
    arguments = parser.parse_args()
    size = tuple(int(side) for side in arguments.size.split("x"))
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.classes, size, arguments.aspp_channels)))
        return
    own = ["--classes", arguments.classes, "--size", arguments.size, "--aspp_channels", arguments.aspp_channels]
    peaks = {kind: in_own_process(__file__, *own, "--kind", kind) for kind in ("ctcl", "alone")}
    header("classes", "size", "ASPP", "CTCL (GiB)", "together, ordinary (GiB)", "ratio")
    shown = [f"{peaks[kind] / 2**30:.2f}" for kind in ("ctcl", "alone")]
    ratio = peaks["ctcl"] / peaks["alone"]
    row(arguments.classes, arguments.size, arguments.aspp_channels, *shown, f"{ratio:.2f}")
    bar(2, f"CTCL peak / vanilla peak, {arguments.classes} classes, {arguments.size}", ratio, at_most=0.80)


if __name__ == "__main__":
    main()
