"""The page of a run while it goes on."""

from pathlib import Path

from transformers import TrainerCallback
from transformers.utils import logging

from ..files import STATE_FILE
from .render import PAGE_FILE
from .run import write_run_page

logger = logging.get_logger(__name__)


class LiveReport(TrainerCallback):
    """Writes report.html into the output folder at the start, at each evaluation and at the end of the training.

    What the page is written from, Trainer's log history, is written there before it. A disk that is full ends no run.
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
            state.save_to_json(str(Path(args.output_dir) / STATE_FILE))
            write_run_page(Path(args.output_dir), live)
        except OSError as error:
            logger.warning(f"{PAGE_FILE} could not be written ({error}). The training goes on.")
