"""Ending a training between two steps when a signal asks for it, so that the same command goes on
later.
"""

import os
import signal
import threading
from collections.abc import Callable

import torch
from accelerate import Accelerator
from transformers import TrainerCallback
from transformers.utils import logging

from .launchers import launcher_of_process

logger = logging.get_logger(__name__)

# Windows has neither of the last two; submitit has Slurm send SIGUSR2.
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
INTERRUPTED = (
    b"\nInterrupted: a checkpoint is saved after the present step. Once more, and the "
    b"process ends at once.\n"
)


class EvaluationInterrupted(Exception):
    """Raised within an evaluation that is to be left; it is made up for when the training goes
    on.
    """


class Preemption(TrainerCallback):
    """On Ctrl-C, SIGTERM, SIGUSR1 or SIGUSR2, to any process of the run, saves a checkpoint after
    the present step and stops.

    A second Ctrl-C ends the process at once, as the system does it; no file of a checkpoint is then
    half there.

    So it does when the process's launcher has ended: `accelerate launch` of one process, and
    torchrun on a SIGUSR1, die of a signal without passing it on; the job of a grid's run may be
    killed. An evaluation that was due at that step is owed: the resumed run begins with it; if a
    signal comes then, EvaluationInterrupted leaves the training.

    Args:
        pay: evaluates, and saves again with the scores.
    """

    def __init__(self, accelerator: Accelerator, pay: Callable[[], None]):
        self.accelerator = accelerator
        self.pay = pay
        self.signalled = False
        self.interrupted = False  # by Ctrl-C, and has said that it will stop
        self.launcher = launcher_of_process()
        self.stopped = False
        self.owes_evaluation = False  # a checkpoint keeps it
        self._handlers = {}
        self.process: int | None = None  # that trains

    def check(self) -> None:
        """EvaluationInterrupted if the evaluation is to be left.

        Several processes finish it: they could not agree.
        """
        if self._handlers and self.accelerator.num_processes == 1 and self._requested():
            raise EvaluationInterrupted

    def leave_evaluation(self, control) -> None:
        """What to do at the step at which an evaluation was left."""
        self.owes_evaluation = True
        self.stop(control)

    def on_train_begin(self, args, state, control, **kwargs):
        self.stopped = False
        self.process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            heard = set(SIGNALS)
            # a job in the background: Ctrl-C is not for it
            if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
                heard.remove(signal.SIGINT)
            self._handlers = {number: signal.signal(number, self._handle) for number in heard}
        if self.owes_evaluation:
            self.owes_evaluation = False
            self.pay()

    def on_step_end(self, args, state, control, **kwargs):
        if self._agreed():
            self.owes_evaluation = control.should_evaluate
            self.stop(control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.stopped:
            # Trainer comes here from the middle of an epoch too, where nothing is due.
            if float(state.epoch).is_integer():
                self.owes_evaluation = self.owes_evaluation or control.should_evaluate
            self.stop(control)

    def on_train_end(self, args, state, control, **kwargs):
        self.restore_handlers()

    def restore_handlers(self) -> None:
        """Leaves signals to whoever had them before the training."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _handle(self, number, frame):
        self.signalled = True
        if number == signal.SIGINT:
            self.interrupted = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # a fork of it has heard the same
            if self.accelerator.is_main_process and os.getpid() == self.process:
                os.write(2, INTERRUPTED)  # a print here may be within a print

    def _requested(self) -> bool:
        return self.signalled or self.launcher not in (None, os.getppid())

    def stop(self, control) -> None:
        """Saves and stops at the next opportunity, and says so if nothing has."""
        if not self.stopped and not self.interrupted:
            logger.warning(
                "A signal came, or the launcher ended: a checkpoint is saved, and the training "
                "stops."
            )
        self.stopped = True
        control.should_evaluate = False
        control.should_save = True
        control.should_training_stop = True

    def _agreed(self) -> bool:
        """Whether a signal came to this process or to any other: all must stop after the same
        step.
        """
        if self.accelerator.num_processes == 1:
            return self._requested()
        came = torch.tensor(float(self._requested()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(came, "sum"))
