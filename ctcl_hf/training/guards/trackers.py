"""Experiment trackers must not end a training: what they raise is told once, and they are left out from then on."""

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler
from transformers.utils import logging

from ...redaction import redacted

logger = logging.get_logger(__name__)


class GuardedTracker(TrainerCallback):
    """Passes every event on to a tracker's callback until one fails."""

    def __init__(self, tracker: TrainerCallback):
        self.tracker = tracker
        self.failed = False

    def pass_on(self, event: str, *args, **kwargs):
        if self.failed:
            return None
        try:
            return getattr(self.tracker, event)(*args, **kwargs)
        except Exception as error:  # of any server, network or client library
            self.failed = True
            name, why = type(self.tracker).__name__, redacted(f"{type(error).__name__}: {error}")
            logger.warning(f"{name} failed ({why}). The training goes on without it.")
            return None


def _event(name: str):
    return lambda self, *args, **kwargs: self.pass_on(name, *args, **kwargs)


for _name in [name for name in dir(TrainerCallback) if name.startswith("on_")]:
    setattr(GuardedTracker, _name, _event(_name))


def guard_trackers(handler: CallbackHandler) -> None:
    """Guards the callbacks that `--report_to` has added, and no other."""
    handler.callbacks = [
        GuardedTracker(callback) if type(callback).__module__.startswith("transformers.integrations") else callback
        for callback in handler.callbacks
    ]
