"""Bar 2: peak memory of a CTCL step against the two students trained together with ordinary losses.

python benchmarks/memory.py
"""

import argparse
import resource
import subprocess
import sys

from common import make_batch, make_pair, ordinary_loss, row, step


def measure(kind: str, classes: int, size: tuple[int, int], aspp_channels: int) -> int:
    """Bytes at a step's peak beyond those resident before it. A process measures one kind: its peak never falls."""
    pair, batch = make_pair(classes, size, aspp_channels), make_batch(classes, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses = {
        "ctcl": lambda: pair(**batch).loss,
        "alone": lambda: sum(ordinary_loss(student, batch) for student in pair.students.values()),
    }
    step(losses[kind], pair)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--size", default="512x512", help="HEIGHTxWIDTH")
    parser.add_argument("--aspp_channels", type=int, default=512)
    parser.add_argument("--kind", choices=["ctcl", "alone"], help="Measure this one here and print its bytes.")
    arguments = parser.parse_args()
    size = tuple(int(side) for side in arguments.size.split("x"))
    if arguments.kind:
        print(measure(arguments.kind, arguments.classes, size, arguments.aspp_channels))
        return
    own = [sys.executable, __file__, "--classes", str(arguments.classes), "--size", arguments.size]
    own += ["--aspp_channels", str(arguments.aspp_channels), "--kind"]
    peaks = {
        kind: int(subprocess.run([*own, kind], capture_output=True, text=True, check=True).stdout)
        for kind in ("ctcl", "alone")
    }
    print(row("classes", "size", "ASPP", "CTCL (GiB)", "together, ordinary (GiB)", "ratio", "bar"))
    print(row(*["---"] * 7))
    shown = [f"{peaks[kind] / 2**30:.2f}" for kind in ("ctcl", "alone")]
    ratio = f"{peaks['ctcl'] / peaks['alone']:.2f}"
    print(row(arguments.classes, arguments.size, arguments.aspp_channels, *shown, ratio, "0.80"))


if __name__ == "__main__":
    main()
