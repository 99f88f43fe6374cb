"""How a trainer of a pair saves itself."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from transformers.utils import logging

from ..base.files import share_as, whole, write_whole
from ..methods.pair import StudentPair
from ..publishing.background import Publisher
from ..publishing.onnx_scores import drop_stale
from .checkpoints import (
    STAGING,
    STATE_FILE,
    checkpoints_of,
    complete_checkpoint,
    delete_old_checkpoints,
    move_whole,
    problem_of,
)
from .guards.disk import bytes_at_end, room_kept
from .guards.preemption import EvaluationInterrupted, Preemption
from .guards.processes import lost_processes_told
from .guards.workers import WorkerDeaths
from .locks import lock_folder
from .record import RunFacts, hash_of_weights
from .resumption import OBJECTIVE_FILE, PROGRESS_FILE
from .steps import LoggedMeans

logger = logging.get_logger(__name__)

# a full disk is each of these, by who writes
DISK_ERRORS = (OSError, RuntimeError, SafetensorError)
ARGUMENTS_FILE = "training_args.json"
ROOM_FILE = ".room"  # in an output folder that is trained in: see `room_kept`
GO_ON = "Checkpoints are complete: go on with --resume_from_checkpoint auto."


class PairCheckpoints:
    """The part of `CTCLTrainer` that writes checkpoints, whole or not at all.

    A checkpoint is one `from_pretrained` folder per student; what only training needs lies beside
    them.
    """

    model: StudentPair
    facts: RunFacts
    logged: LoggedMeans
    preemption: Preemption
    worker_deaths: WorkerDeaths
    publisher: Publisher
    _holds_output_folder = False

    def train(self, resume_from_checkpoint: str | None = None, **kwargs) -> TrainOutput:
        """Trainer's. OSError if another run writes to the output folder, or another process of this
        run has ended.
        """
        try:
            with (
                self.lost_processes_told(),
                self.holding_output_folder(),
                self._room_for_end(),
            ):
                self.open_repositories()
                return super().train(resume_from_checkpoint, **kwargs)
        except EvaluationInterrupted:  # before the first step, so that nothing is to be saved
            self.preemption.stop(self.control)
            self.callback_handler.on_train_end(self.args, self.state, self.control)
            return TrainOutput(self.state.global_step, 0.0, {})
        finally:
            self.preemption.restore_handlers()
            self.worker_deaths.restore_handler()

    def _run_epoch(self, *args, **kwargs) -> None:
        if self.state.global_step >= self.state.max_steps:
            # Resumed at its end, within an epoch: Trainer would look at that after one more step.
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _room_for_end(self) -> AbstractContextManager:
        if not self.args.should_save:
            return nullcontext()
        return room_kept(Path(self.args.output_dir) / ROOM_FILE, bytes_at_end(self.model))

    @contextmanager
    def lost_processes_told(self) -> Iterator[None]:
        """OSError in words, from within, where another process of this run has ended or does not
        come.
        """
        if self.args.world_size == 1:
            yield
            return
        with lost_processes_told(
            lambda: f"process {self.args.process_index}, after step {self.state.global_step}", GO_ON
        ):
            yield

    @contextmanager
    def holding_output_folder(self) -> Iterator[None]:
        """Keeps other runs out of the output folder, as `train` does by itself: for what is written
        after it as well.

        OSError if another run is writing to it.
        """
        # the main process holds it for all
        if self._holds_output_folder or not self.args.should_save:
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
                with suppress(OSError):  # none, or not empty: of a save that failed
                    (folder / STAGING).rmdir()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """A complete checkpoint or none.

        One that cannot be saved is told, and the training goes on.
        """
        self.store_flos()
        folder = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staged = folder / STAGING / name
        final = folder / name
        best = self.state.best_model_checkpoint
        if self.state.best_global_step:
            best_now = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best_now == final or best_now.is_dir():
                self.state.best_model_checkpoint = str(best_now)
        failure = self._first_failure(lambda: self._write_checkpoint(staged))
        if failure is None:
            failure = self._first_failure(
                lambda: self.args.should_save and complete_checkpoint(staged, final)
            )
        if failure is not None:
            self.state.best_model_checkpoint = best
            if self.args.should_save:
                shutil.rmtree(staged, ignore_errors=True)
            logger.warning(
                f"The checkpoint of step {self.state.global_step} could not be saved ({failure}). "
                f"The training goes on, and the checkpoints before it are as they were in {folder}."
            )
            return
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        if self.args.should_save:
            best = [*self.best_checkpoints().values()]
            if self.state.best_model_checkpoint is not None:
                best.append(Path(self.state.best_model_checkpoint))
            delete_old_checkpoints(final, self.args.save_total_limit, best)

    def _first_failure(self, write: Callable[[], Any]) -> str | None:
        """What went wrong, on this process or on another; None once all have written."""
        failure = None
        try:
            write()
        except DISK_ERRORS as error:
            failure = str(error)
        failed = self.accelerator.reduce(
            torch.tensor(float(failure is not None), device=self.args.device), "sum"
        )
        return failure or ("another process failed" if failed else None)

    def _write_checkpoint(self, folder: Path) -> None:
        """This process's part of all that a resumed run needs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_model(str(folder), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
        own = self.logged.state() | {"owes_evaluation": self.preemption.owes_evaluation}
        write_whole(folder / PROGRESS_FILE.format(self.args.process_index), json.dumps(own) + "\n")
        if self.args.should_save:
            self._write_state(folder)

    def save_state(self) -> None:
        """Trainer's: the log and all else that is known of the training, to the output folder;
        whole or not at all.
        """
        if self.args.should_save:
            self._write_state(Path(self.args.output_dir))

    def _write_state(self, folder: Path) -> None:
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        with whole(folder / STATE_FILE) as staged:
            self.state.save_to_json(str(staged))

    def _finalize_training(self, *args, **kwargs) -> TrainOutput:
        # Trainer would delete the last checkpoint here if the limit is 1 and another is the best.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """One folder per student with its card, the method's state beside them, and the arguments
        without any token.

        To the output folder all comes when all is written, and last the state of the training.
        OSError if it cannot be
        written: what was there stays as it was.
        """
        if not self.args.should_save:  # every process comes here, one writes
            return
        folder, own = Path(output_dir or self.args.output_dir), Path(self.args.output_dir)
        if folder.resolve() != own.resolve():
            self._write_students(folder)
            return
        staged = own / STAGING / "students"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            self._write_students(staged)
            self._write_state(staged)
            self.publisher.forget_commits()
            for name, student in self.model.students.items():
                drop_stale(own / name, hash_of_weights(student.model))
            move_whole(staged, own, last=STATE_FILE)
        except DISK_ERRORS as error:
            shutil.rmtree(staged, ignore_errors=True)
            last = next(
                (path.name for path in reversed(checkpoints_of(own)) if problem_of(path) is None),
                None,
            )
            raise OSError(
                f"The students could not be saved to {own} ({error}). What was there is as it was: "
                "mend it, and the same command with --resume_from_checkpoint auto "
                + (
                    f"goes on from {last}."
                    if last
                    else "begins anew, since no checkpoint was saved."
                )
            ) from error

    def _write_students(self, folder: Path) -> None:
        for name, student in self.model.students.items():
            student.save_pretrained(str(folder / name))
        self.create_model_card(folder)
        state = {
            key: value.contiguous() for key, value in self.model.objective.training_state().items()
        }
        write_whole(folder / ARGUMENTS_FILE, self.args.to_json_string())
        if state:
            save_file(state, folder / OBJECTIVE_FILE)
            share_as(folder / OBJECTIVE_FILE, folder / ARGUMENTS_FILE)
