"""The page of a run while it goes on."""

from pathlib import Path

from transformers import TrainerCallback
from transformers.utils import logging

from .render import PAGE_FILE
from .run import write_run_page

logger = logging.get_logger(__name__)


class LiveReport(TrainerCallback):
    """Writes report.html into the output folder at the start, at each evaluation and at the end of
    the training.

    It hands over Trainer's log history, which no file in the folder holds yet: a
    `trainer_state.json` there says that the students beside it are trained. A full disk or an
    emptied folder ends no run.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        self._write(args, state, live=True)

    def on_evaluate(self, args, state, control, **kwargs):
        self._write(args, state, live=not control.should_training_stop)

    def on_train_end(self, args, state, control, **kwargs):
        self._write(args, state, live=False)

    def _write(self, args, state, live: bool) -> None:
        if not args.should_save:
            return
        try:
            write_run_page(
                Path(args.output_dir),
                live,
                {"log_history": state.log_history, "max_steps": state.max_steps},
            )
        except (OSError, ValueError) as error:  # the latter of a folder that has been emptied
            logger.warning(f"{PAGE_FILE} could not be written ({error}). The training goes on.")
