"""How a trainer of a pair comes back: from a checkpoint, from its end, and to its best weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn
from transformers import TrainerState
from transformers.utils import logging

from ..base.files import read_json
from ..methods.pair import StudentPair
from ..publishing.card import RECORD_FILE
from ..publishing.rows import OWN_CODE
from ..scoring.predict import load_whole_model
from .best import best_steps, student_metric
from .checkpoints import (
    STATE_FILE,
    checkpoints_of,
    has_stopped_early,
    problem_of,
    step_of,
    steps_behind,
)
from .flags import by_flag
from .guards.preemption import Preemption
from .optim import follow_schedules
from .record import differences
from .resumption import (
    OBJECTIVE_FILE,
    PROGRESS_FILE,
    check_checkpoint,
    check_contents,
    check_training_state,
)
from .steps import LoggedMeans

logger = logging.get_logger(__name__)


class PairLoading:
    """The part of `CTCLTrainer` that reads what `PairCheckpoints` has written."""

    model: StudentPair
    logged: LoggedMeans
    preemption: Preemption
    # by student, whose best weights were loaded, the step that they are of
    chosen_steps: dict[str, int]
    # where the run went on from a checkpoint with another length: at which step, and how many were
    # planned until then
    earlier_lengths: list[list[int]]

    def total_steps(self) -> int:
        """The optimizer steps of this run, as its arguments and its data say."""
        return self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]

    def check_resumption(self, checkpoint: Path) -> None:
        """ValueError unless this run is the one that wrote the checkpoint: its pair, method, data
        and arguments.

        It may have come to its end: an output folder with its students is a checkpoint of that,
        whose optimizers nothing needs any more.

        Optimizers and schedules would go on with the rates that they had, whatever is asked for
        now, and the students' cards would tell of arguments that no step was made with.
        """
        check_checkpoint(checkpoint, self.model)
        steps, total = steps_behind(checkpoint), self.total_steps()
        if steps > total:
            raise ValueError(
                f"{checkpoint} has {steps} steps behind it, and this run is to have {total}. Train "
                "at least as many (--max_steps, --num_train_epochs), or choose another "
                "--output_dir."
            )
        found = differences(checkpoint, self.record())
        if changed := [difference for difference in found if difference.startswith(f"{OWN_CODE}.")]:
            raise ValueError(
                f"{checkpoint} was written with other code of your own ({'; '.join(changed)}). "
                "Resume with the file as it was, or start afresh in another --output_dir."
            )
        if found:
            told = "; ".join(by_flag(found, self.record()["optimization"]))
            raise ValueError(
                f"{checkpoint} was written with other arguments ({told}). Resume with "
                "those of the run that wrote it, or start afresh in another --output_dir."
            )
        if steps < total and not has_stopped_early(checkpoint):
            check_training_state(checkpoint, steps)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.check_resumption(Path(checkpoint))
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        recorded = read_json(Path(checkpoint, RECORD_FILE))
        self._follow_length(Path(checkpoint), recorded)
        before, now = recorded["processes"], self.args.world_size
        if before != now and self.args.should_save:
            logger.warning(
                f"{checkpoint} is of world size {before}, this run of {now}: every step is of "
                f"{now / before:.3g} times as many images from here on, and epochs are counted in "
                "such steps."
            )
        own, first = (
            Path(checkpoint, PROGRESS_FILE.format(i)) for i in (self.args.process_index, 0)
        )
        # All processes must agree on what is owed, those too that had no part in the checkpoint.
        self.preemption.owes_evaluation = read_json(first)["owes_evaluation"]
        if own.is_file():  # not, if more processes resume than had saved
            self.logged.load(read_json(own))

    def _follow_length(self, checkpoint: Path, recorded: Mapping[str, Any]) -> None:
        """Lets learning rates follow this run's length, where the checkpoint's was another."""
        self.earlier_lengths = recorded.get("earlier_lengths", [])
        planned, total = recorded.get("planned_steps"), self.total_steps()
        if planned in (None, total):  # which older versions did not record
            return
        steps = steps_behind(checkpoint)
        self.earlier_lengths = [*self.earlier_lengths, [steps, planned]]
        follow_schedules(self.lr_scheduler)
        if self.args.should_save:
            logger.warning(
                f"{checkpoint} is of a run of {planned} steps, and this one is to have {total}: "
                f"learning rates decay over {total} from step {steps} on. A run of that length "
                "from the start would have had others until then."
            )

    def load_trained(self) -> None:
        """Brings back all students, and what is known of their training, from the output folder at
        its end.
        """
        folder = Path(self.args.output_dir)
        self._load_from_checkpoint(str(folder))
        self.state = TrainerState.load_from_json(str(folder / STATE_FILE))
        self.state.is_world_process_zero = self.is_world_process_zero()
        self.state.is_local_process_zero = self.is_local_process_zero()
        self.earlier_lengths = read_json(folder / RECORD_FILE).get("earlier_lengths", [])

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        """The weights of all students and of the method.

        ValueError names what does not fit this pair.
        """
        folder = Path(resume_from_checkpoint)
        check_checkpoint(folder, self.model)
        check_contents(folder)
        self.scores.clear()
        self.chosen_steps.clear()
        for name in self.model.names:
            self._load_student(name, folder)
        if self.model.objective.training_state():
            weights = load_file(folder / OBJECTIVE_FILE)
            # all there are, teachers apart: checked above
            self.model.objective.load_state_dict(weights, strict=False)

    def _load_student(self, name: str, checkpoint: Path) -> None:
        self.model.students[name].model.load_state_dict(
            load_whole_model(str(checkpoint / name)).state_dict()
        )

    def best_checkpoints(self) -> dict[str, Path]:
        """By student, the saved checkpoint with its own best weights; none unless they are to be
        loaded at the end.

        Best is by its own score in the evaluation of that step. Of a metric that is not each
        student's, none.
        """
        if not self.args.load_best_model_at_end:
            return {}
        saved = {
            step_of(path): path
            for path in checkpoints_of(Path(self.args.output_dir))
            if problem_of(path) is None
        }
        metric = student_metric(self.args.metric_for_best_model)
        greater = bool(self.args.greater_is_better)
        best = best_steps(
            self.state.log_history, self.model.names, metric, greater, among=saved.keys()
        )
        return {name: saved[step] for name, step in best.items()}

    def _load_best_model(self) -> None:
        """Each student's own best weights. What only training needs stays that of the last step."""
        best = self.best_checkpoints()
        if best.keys() != {*self.model.names}:  # by a metric of all together
            self._load_from_checkpoint(self.state.best_model_checkpoint)
            self.chosen_steps = dict.fromkeys(self.model.names, self.state.best_global_step)
            return
        self.scores.clear()
        for name, checkpoint in best.items():
            check_contents(checkpoint)
            self._load_student(name, checkpoint)
        self.chosen_steps = {name: step_of(checkpoint) for name, checkpoint in best.items()}
