"""Train two students together, evaluate both, and save each as a model of its own.

accelerate launch examples/run_ctcl.py --dataset camvid
accelerate launch examples/run_ctcl.py --dataset camvid --recipe cpu --method vanilla
"""

import sys
from pathlib import Path

from ctcl_hf.recipes import parse_arguments


def main() -> None:
    arguments = parse_arguments(__doc__)
    # Imported here, so that --help and a mistyped argument answer at once.
    from ctcl_hf.run import finish, prepare, train

    try:
        run = prepare(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    try:
        if not train(run):
            return
        finish(run)
    except (OSError, FloatingPointError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    run.trainer.accelerator.end_training()  # ends the process group, which may abort if it outlives its threads


if __name__ == "__main__":
    main()
