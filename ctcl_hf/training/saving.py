"""How a trainer of a pair saves itself and comes back."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from transformers.utils import logging

from ..files import write_whole
from ..methods.pair import StudentPair
from ..scoring.predict import load_whole_model
from .checkpoints import (
    OBJECTIVE_FILE,
    STAGING,
    check_checkpoint,
    check_contents,
    check_training_state,
    complete_checkpoint,
    delete_old_checkpoints,
)
from .guards.preemption import EvaluationInterrupted, Preemption
from .guards.workers import WorkerDeaths
from .locks import lock_folder
from .record import RunFacts, differences

logger = logging.get_logger(__name__)

ARGUMENTS_FILE = "training_args.json"
PROGRESS_FILE = "progress_{}.json"  # in a checkpoint, by process: what is summed up for the next log, what is owed
# What the backends say of a process that is gone.
LOST_PROCESS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "ncclRemoteError",
    "collective operation timeout",
)


class PairCheckpoints:
    """The part of `CTCLTrainer` that writes checkpoints, whole or not at all, and reads them.

    A checkpoint is one `from_pretrained` folder per student; what only training needs lies beside them.
    """

    model: StudentPair
    facts: RunFacts
    _term_sums: dict[str, Tensor]  # of what is logged as means, since the last log
    _terms_seen: int
    preemption: Preemption
    worker_deaths: WorkerDeaths
    _holds_output_folder = False

    def train(self, resume_from_checkpoint: str | None = None, **kwargs) -> TrainOutput:
        """Trainer's. OSError if another run writes to the output folder, or another process of this run has ended."""
        try:
            with self.holding_output_folder():
                return super().train(resume_from_checkpoint, **kwargs)
        except EvaluationInterrupted:  # before the first step, so that nothing is to be saved
            self.preemption.stop(self.control)
            self.callback_handler.on_train_end(self.args, self.state, self.control)
            return TrainOutput(self.state.global_step, 0.0, {})
        except RuntimeError as error:
            if self.args.world_size > 1 and any(sign in str(error) for sign in LOST_PROCESS):
                raise ConnectionError(
                    f"Another process of this run has ended (process {self.args.process_index}, after step "
                    f"{self.state.global_step}: {error}). Its own output says why. Checkpoints are complete: go on "
                    "with --resume_from_checkpoint auto."
                ) from error
            raise
        finally:
            self.preemption.restore_handlers()
            self.worker_deaths.restore_handler()

    @contextmanager
    def holding_output_folder(self) -> Iterator[None]:
        """Keeps other runs out of the output folder, as `train` does by itself: for what is written after it as well.

        OSError if another run is writing to it.
        """
        if self._holds_output_folder or not self.args.should_save:  # the main process holds it for all
            yield
            return
        folder = Path(self.args.output_dir)
        with lock_folder(folder):
            shutil.rmtree(folder / STAGING, ignore_errors=True)  # of a run that was killed
            self._holds_output_folder = True
            try:
                yield
            finally:
                self._holds_output_folder = False

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """A complete checkpoint or none. One that cannot be saved is told, and the training goes on."""
        self.store_flos()
        folder = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staged, final, best = folder / STAGING / name, folder / name, self.state.best_model_checkpoint
        if self.state.best_global_step:
            best_now = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best_now == final or best_now.is_dir():
                self.state.best_model_checkpoint = str(best_now)
        failure = self._first_failure(lambda: self._write_checkpoint(staged))
        if failure is None:
            failure = self._first_failure(lambda: self.args.should_save and complete_checkpoint(staged, final))
        if failure is not None:
            self.state.best_model_checkpoint = best
            if self.args.should_save:
                shutil.rmtree(staged, ignore_errors=True)
            logger.warning(
                f"The checkpoint of step {self.state.global_step} could not be saved ({failure}). The training goes "
                f"on, and the checkpoints before it are as they were in {folder}."
            )
            return
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        if self.args.should_save:
            delete_old_checkpoints(final, self.args.save_total_limit, self.state.best_model_checkpoint)

    def _first_failure(self, write: Callable[[], Any]) -> str | None:
        """What went wrong, on this process or on another; None once all have written."""
        failure = None
        try:
            write()
        except (OSError, RuntimeError, SafetensorError) as error:  # a full disk is each of these, by who writes
            failure = str(error)
        failed = self.accelerator.reduce(torch.tensor(float(failure is not None), device=self.args.device), "sum")
        return failure or ("another process failed" if failed else None)

    def _write_checkpoint(self, folder: Path) -> None:
        """This process's part of all that a resumed run needs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_model(str(folder), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        own = {
            "sums": {name: float(value) for name, value in self._term_sums.items()},
            "seen": self._terms_seen,
            "owes_evaluation": self.preemption.owes_evaluation,
        }
        write_whole(folder / PROGRESS_FILE.format(self.args.process_index), json.dumps(own) + "\n")
        if self.args.should_save:
            for callback in [*self.callback_handler.callbacks, self.control]:
                if isinstance(callback, ExportableState):
                    self.state.stateful_callbacks[type(callback).__name__] = callback.state()
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

    def check_resumption(self, checkpoint: Path) -> None:
        """ValueError unless this run is the one that wrote the checkpoint: its pair, method, data and arguments.

        Optimizers and schedules would go on with the rates that they had, whatever is asked for now, and the students'
        cards would tell of arguments that no step was made with.
        """
        check_checkpoint(checkpoint, self.model)
        check_training_state(checkpoint)
        found = differences(checkpoint, self.record())
        if found:
            raise ValueError(
                f"{checkpoint} was written with other arguments ({'; '.join(found)}). Resume with those of the run "
                "that wrote it, or start afresh in another --output_dir."
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.check_resumption(Path(checkpoint))
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        own, first = (Path(checkpoint, PROGRESS_FILE.format(i)) for i in (self.args.process_index, 0))
        # All processes must agree on what is owed, those too that had no part in the checkpoint.
        self.preemption.owes_evaluation = json.loads(first.read_text())["owes_evaluation"]
        if own.is_file():  # not, if more processes resume than had saved
            saved = json.loads(own.read_text())
            self._term_sums.update(saved["sums"])
            self._terms_seen = saved["seen"]

    def _finalize_training(self, *args, **kwargs) -> TrainOutput:
        # Trainer would delete the last checkpoint here if the limit is 1 and another is the best.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """One folder per student with its card, the method's state beside them, and the arguments without any token."""
        if not self.args.should_save:  # every process comes here, one writes
            return
        folder = Path(output_dir or self.args.output_dir)
        for name, student in self.model.students.items():
            student.save_pretrained(str(folder / name))
        self.create_model_card(folder)
        state = {key: value.contiguous() for key, value in self.model.objective.training_state().items()}
        if state:
            save_file(state, folder / OBJECTIVE_FILE)
        write_whole(folder / ARGUMENTS_FILE, self.args.to_json_string())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """The weights of both students and of the method. ValueError names what does not fit this pair."""
        folder = Path(resume_from_checkpoint)
        check_checkpoint(folder, self.model)
        check_contents(folder)
        self.scores.clear()
        for name, student in self.model.students.items():
            student.model.load_state_dict(load_whole_model(str(folder / name)).state_dict())
        if self.model.objective.training_state():
            weights = load_file(folder / OBJECTIVE_FILE)
            self.model.objective.load_state_dict(weights, strict=False)  # all there are, teachers apart: checked above

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)
