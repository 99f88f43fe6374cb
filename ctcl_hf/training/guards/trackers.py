"""Experiment trackers must not end a training: what they raise is told once, and they are left out
from then on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import integration_utils
from transformers.trainer_callback import CallbackHandler
from transformers.utils import logging

from ...base.redaction import redacted

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
            with _names_by_split():
                return getattr(self.tracker, event)(*args, **kwargs)
        except Exception as error:  # of any server, network or client library
            self.failed = True
            name, why = type(self.tracker).__name__, redacted(f"{type(error).__name__}: {error}")
            logger.warning(f"{name} failed ({why}). The training goes on without it.")
            return None


# How the keys of scores begin in Trainer's logs -> under what trackers show them. All else is of
# the training.
SPLITS = {"eval_": "validation/", "validation_": "validation/", "test_": "test/"}


def by_split(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs by the names that trackers show: train/..., validation/... and test/... ."""
    named = {}
    for key, value in logs.items():
        start = next((start for start in SPLITS if key.startswith(start)), None)
        named["train/" + key if start is None else SPLITS[start] + key.removeprefix(start)] = value
    return named


@contextmanager
def _names_by_split() -> Iterator[None]:
    """Those of transformers' trackers that group names would put the scores of a run's end under
    train/.
    """
    before = integration_utils.rewrite_logs
    integration_utils.rewrite_logs = by_split
    try:
        yield
    finally:
        integration_utils.rewrite_logs = before


def _event(name: str):
    return lambda self, *args, **kwargs: self.pass_on(name, *args, **kwargs)


for _name in [name for name in dir(TrainerCallback) if name.startswith("on_")]:
    setattr(GuardedTracker, _name, _event(_name))


def guard_trackers(handler: CallbackHandler) -> None:
    """Guards the callbacks that `--report_to` has added, and no other."""
    handler.callbacks = [
        GuardedTracker(callback)
        if type(callback).__module__.startswith("transformers.integrations")
        else callback
        for callback in handler.callbacks
    ]
