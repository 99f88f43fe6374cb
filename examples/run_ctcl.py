"""Train two students together, evaluate both, and save each as a model of its own.

accelerate launch examples/run_ctcl.py --dataset camvid
accelerate launch examples/run_ctcl.py --dataset camvid --recipe cpu --method vanilla
"""

import sys
from pathlib import Path

from ctcl_hf.arguments.recipes import parse_arguments


def main() -> None:
    arguments = parse_arguments(__doc__)
    # Imported here, so that --help and a mistyped argument answer at once.
    from ctcl_hf.runs.run import complete, prepare

    try:
        run = prepare(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    try:
        complete(run)
    except (OSError, FloatingPointError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    # Together: a process whose group ends while another still uses it may abort, as one that does not end it may.
    run.trainer.accelerator.wait_for_everyone()
    run.trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
