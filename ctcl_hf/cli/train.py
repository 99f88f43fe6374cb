"""Train two students together, evaluate both, and save each as a model of its own.

ctcl-hf train --dataset camvid
ctcl-hf train --dataset camvid --recipe cpu --method vanilla
accelerate launch -m ctcl_hf.cli.train --dataset camvid    # on several GPUs
"""

import os
import shlex
import sys
from pathlib import Path

from ..arguments.recipes import parse_arguments
from ..base.heartbeat import alive
from ..base.registry import OwnCodeError
from .ending import INTERRUPTED, told


def main() -> None:
    """Trains, evaluates and saves what the command line says."""
    with told(ValueError, OSError, ImportError):
        with alive("starting"):
            arguments = parse_arguments(__doc__)
            # Imported here, so that --help and a mistyped argument answer at once.
            from ..methods.objective import BadTerms
            from ..runs.next_steps import next_commands
            from ..runs.run import complete, prepare
            from ..students.student import FeaturesUnknown

        run = prepare(arguments)
    with told(OSError, FloatingPointError, FeaturesUnknown, BadTerms, OwnCodeError):
        is_complete = complete(run)
    if not is_complete and run.trainer.is_world_process_zero():
        print(_how_to_go_on(arguments.command))
    elif is_complete and run.trainer.is_world_process_zero():
        trainer = run.trainer
        folder = Path(trainer.args.output_dir)
        print(f"\n{next_commands(folder, trainer.model.names, arguments.data, trainer.args)}")
    # Together: a process whose group ends while another still uses it may abort, as one that does
    # not end it may.
    run.trainer.accelerator.end_training()
    preemption, is_alone = run.trainer.preemption, run.trainer.args.world_size == 1
    # As of any command that Ctrl-C has ended, so that a shell does not go on with the next. Not
    # under a launcher, which would show it as a failure, with a traceback.
    if not is_complete and preemption.interrupted and preemption.launcher is None and is_alone:
        sys.exit(INTERRUPTED)


def _how_to_go_on(command: str) -> str:
    """The line that goes on with a stopped run; of one with a launcher, of which nothing is known,
    what to add to it.
    """
    if "WORLD_SIZE" in os.environ:
        return "With --resume_from_checkpoint auto, the same command goes on."
    words = shlex.split(command)
    if not any(word.partition("=")[0] == "--resume_from_checkpoint" for word in words):
        words += ["--resume_from_checkpoint", "auto"]
    return f"To go on: {shlex.join(words)}"


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.train`
    sys.argv[0] = "ctcl-hf train"
    main()
