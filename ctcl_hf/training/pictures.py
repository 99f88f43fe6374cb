"""Pictures for experiment trackers, which take no files by themselves."""

from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, WandbCallback
from transformers.trainer_callback import CallbackHandler

from .guards.trackers import GuardedTracker

TAG = "validation/predictions"


class GuardedPictures(GuardedTracker):
    """Pictures that do not end a training; of a class of their own, since Trainer warns where it
    has two callbacks of one.

    Arguments: as of `PicturesForTrackers`.
    """

    def __init__(self, handler: CallbackHandler, draw: Callable[[], np.ndarray]):
        super().__init__(PicturesForTrackers(handler, draw))


class PicturesForTrackers(TrainerCallback):
    """Gives TensorBoard and Weights & Biases a picture at each evaluation of a training.

    Args:
        handler: with the trackers, guarded.
        draw: RGB (H, W, 3) uint8 of the present weights. Not called without such a tracker.
    """

    def __init__(self, handler: CallbackHandler, draw: Callable[[], np.ndarray]):
        self.trackers = [
            callback for callback in handler.callbacks if isinstance(callback, GuardedTracker)
        ]
        self.draw = draw

    def on_evaluate(self, args, state, control, metrics: dict[str, Any] | None = None, **kwargs):
        if not state.is_world_process_zero or not any(
            key.startswith("eval_") for key in metrics or {}
        ):
            return
        running = [guarded.tracker for guarded in self.trackers if not guarded.failed]
        running = [
            tracker
            for tracker in running
            if isinstance(tracker, (TensorBoardCallback, WandbCallback))
        ]
        picture = self.draw() if running else None
        for tracker in running:
            if isinstance(tracker, TensorBoardCallback):
                if tracker.tb_writer is not None:  # there is one while a training runs
                    tracker.tb_writer.add_image(TAG, picture, state.global_step, dataformats="HWC")
            else:
                import wandb

                wandb.log({TAG: wandb.Image(picture), "train/global_step": state.global_step})
