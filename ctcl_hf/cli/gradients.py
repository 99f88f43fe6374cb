"""Measure how much each term of a finished run's method moved its students, against their cross
entropy.

ctcl-hf train --recipe cpu --method ctcl --save_total_limit 100 --output_dir runs/ctcl
ctcl-hf gradients runs/ctcl
"""

import json
import sys
import tempfile
from pathlib import Path

from ..base.files import write_whole
from ..base.heartbeat import alive
from ..base.tables import markdown_table
from ..runs.files import kept_checkpoints
from .ending import told
from .parser import command_parser


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s RUN [options]")
    parser.add_argument(
        "run", type=Path, help="Output folder of a finished run that kept its checkpoints."
    )
    parser.add_argument("--batches", type=int, default=4, help="Training batches per checkpoint.")
    parser.add_argument(
        "--own_code",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.py",
        help="Files of your own that the run was made with, and that may be run.",
    )
    arguments = parser.parse_args()
    with told(ValueError, OSError), tempfile.TemporaryDirectory() as scratch:
        if not arguments.run.is_dir():
            is_file = arguments.run.exists()
            what = "is a file: give the folder of a run" if is_file else "there is no such folder"
            raise ValueError(f"{arguments.run}: {what}.")
        kept_checkpoints(arguments.run)
        with alive("starting"):
            from ..figures import pulls_figure, save_figure
            from ..runs.comparison.gradients import measure

        found = measure(arguments.run, Path(scratch), arguments.batches, arguments.own_code)
    as_json = {
        step: {
            name: {term: pull._asdict() for term, pull in terms.items()}
            for name, terms in students.items()
        }
        for step, students in found.items()
    }
    write_whole(arguments.run / "gradients.json", json.dumps(as_json, indent=2) + "\n")
    for name in next(iter(found.values())):
        terms = [term for term in next(iter(found.values()))[name] if term != "ce"]
        lines = [[f"{name}: norm of the gradient to that of the cross entropy's (cosine)", *terms]]
        for step, students in found.items():
            pulls = [students[name][term] for term in terms]
            lines.append(
                [f"step {step}", *(f"{pull.ratio:.3f} ({pull.cosine:+.2f})" for pull in pulls)]
            )
        print(f"\n{markdown_table(lines)}")
    figure = arguments.run / "gradients.png"
    save_figure(pulls_figure(as_json), figure)
    print(f"\n{figure}")


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.gradients`
    sys.argv[0] = "ctcl-hf gradients"
    main()
