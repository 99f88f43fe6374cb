"""The command line: `ctcl-hf COMMAND`, `python -m ctcl_hf COMMAND`, or a script of examples/.

A module is a command, but for what commands share, `ending`, `parser`, `students` and `data`, and
for parts of `compare`, `grid_arguments` and `launched`.
"""

import importlib
import sys
from typing import NoReturn

COMMANDS = {
    "train": "train two students together, evaluate both, and save each as a model of its own",
    "compare": "run methods, pairs and seeds side by side, and tabulate them as the paper does",
    "evaluate": "score any segmentation model on a data set, by the benchmark's own protocol or "
    "another",
    "review": "rank images by where to look first: for wrong labels, or for what to label next",
    "predict": "segment images, and draw the result over each with a legend",
    "export": "write a student as an ONNX file, checked against PyTorch",
    "release": "make the ONNX files of a released student, and score each, for its card",
    "prepare": "check a data set file by file, and write it once as Parquet",
    "report": "write the page of a run or of a comparison again",
    "push": "publish the students of a finished run, or finish a push that failed",
    "space": "show two students on images, here or in a Space in which anyone can try them",
    "gradients": "measure how much each term of a run's method moved its students",
}


def main() -> None:
    """Runs the command that the command line names; Python's own imports are all that its --help
    waits for.
    """
    from .ending import told

    with told():  # Ctrl-C while a command is imported, too
        _run(*(sys.argv[1:] or ["--help"]))


def _run(name: str, *arguments: str) -> None:
    if name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        from .. import __version__

        print(f"ctcl-hf {__version__}")
    elif name in COMMANDS:
        from ..base.heartbeat import alive

        sys.argv = [f"ctcl-hf {name}", *arguments]  # what a command calls itself in its messages
        with alive("starting"):
            command = importlib.import_module(f".{name}", __name__)
        command.main()
    else:
        _refuse(name)


def _usage() -> str:
    lines = [f"  {name:10} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ctcl-hf COMMAND [options]",
            "",
            "Train a CNN and a vision transformer together for semantic segmentation (CTCL), and "
            "release both.",
            "",
            *lines,
            "",
            "ctcl-hf COMMAND --help tells each command's options; ctcl-hf --version, the version.",
        ]
    )


def _refuse(name: str) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    print(f"ctcl-hf: error: {name}: expected one of {', '.join(COMMANDS)}.{hint}", file=sys.stderr)
    sys.exit(2)
