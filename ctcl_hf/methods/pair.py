"""Students and an objective as one module: everything that trains runs inside its forward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput, logging

from ..losses import over_step
from ..students import Student, StudentOutput
from . import Objective, StudentTerms
from .terms import check_terms, sentence_on_peers, terms_that_move

logger = logging.get_logger(__name__)


@dataclass
class PairOutput(ModelOutput):
    """Result of a training forward.

    loss: scalar, the sum of all students' weighted terms. Each side of a directed term is constant
        for the other students, so one backward of this sum gives each student the gradient of its
        own loss (Eq. 6) alone.
    terms: detached scalars by name, `TERM_STUDENT` ("ce_cnn", "hfd_vit", ...): unweighted losses
        and statistics. Where processes or micro-batches share an optimizer step, these are parts,
        whose average is the step's.
    logits: by student name, (B, K, H/4, W/4).
    """

    loss: Tensor | None = None
    terms: dict[str, Tensor] | None = None
    logits: dict[str, Tensor] | None = None


class StudentPair(nn.Module):
    """Students that learn together: a pair, or more of them.

    Args:
        students: two or more students by name. The names are those of log entries and of folders on
            disk; the order is the objective's. The paper's pair is {"cnn": ..., "vit": ...}.
        objective: the method, built for these students in this order.
    """

    students: Mapping[str, Student]  # an nn.ModuleDict
    objective: Objective

    # Tells Trainer to average over the micro-batches of a step, which is what their losses are made
    # for.
    accepts_loss_kwargs = False
    # as of a PreTrainedModel: trackers put theirs there, for the cards
    model_tags: list[str] | None = None

    def __init__(self, students: dict[str, Student], objective: Objective):
        super().__init__()
        if len(students) != len(objective.projections):
            raise ValueError(
                f"The objective is built for {len(objective.projections)} students, got "
                f"{len(students)}: {', '.join(students) or 'none'}."
            )
        self.students = cast("Mapping[str, Student]", nn.ModuleDict(students))
        self.objective = objective
        self._is_checked = False  # what the objective returns, once

    @property
    def names(self) -> tuple[str, ...]:
        """The students' names, in the objective's order."""
        return tuple(self.students)

    def projections(self, name: str) -> nn.ModuleDict:
        """The student's training-only parts, which belong to its optimizer and to no saved
        student.
        """
        return self.objective.projections[self.names.index(name)]

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Recomputes activations in backward, which saves memory for time, in the students that
        can: see `Student`.

        Trainer calls it for `--activation_checkpointing`. ValueError if no student can.
        """
        able = [student for student in self.students.values() if student.can_checkpoint]
        if not able:
            raise ValueError(
                "--activation_checkpointing: no student's activations can be recomputed."
            )
        for student in able:
            student.model.activation_checkpointing_enable(
                activation_checkpointing_kwargs, every_n_layers, offload
            )

    def forward(
        self, pixel_values: Tensor, labels: Tensor, step_labels: Sequence[Tensor] | None = None
    ) -> PairOutput:
        """A micro-batch's forward; all processes take theirs at once.

        Args:
            pixel_values: (B, 3, H, W) RGB in 0..255; all students see the same images.
            labels: (B, H, W) class ids 0..K-1, or the students' ignore index, of any integer dtype.
            step_labels: where gradients are accumulated, the labels of all of this process's
                micro-batches of the optimizer step, this one's among them: what a mean is divided
                by is counted in all.
        """
        # a byte each until here, on their way from the data set's workers to the device
        labels = labels.long()
        outputs, terms = self.terms_of(pixel_values, labels)
        if not self._is_checked and not torch.compiler.is_compiling():
            self._check(terms)
        values = self._over_step(terms, labels, step_labels or ())
        loss = torch.zeros((), device=labels.device)
        for i, (name, own) in enumerate(zip(self.names, terms, strict=True)):
            loss = loss + self.objective.loss(
                i, {term: values[f"{term}_{name}"] for term in own.losses}
            )
        logged = {name: value.detach() for name, value in values.items()}
        logits = {name: output.logits for name, output in zip(self.names, outputs, strict=True)}
        return PairOutput(loss=loss, terms=logged, logits=logits)

    def terms_of(
        self, pixel_values: Tensor, labels: Tensor
    ) -> tuple[list[StudentOutput], list[StudentTerms]]:
        """What all students give for images, and each student's terms with labels (B, H, W) int64,
        not yet divided.
        """
        outputs = [student(pixel_values) for student in self.students.values()]
        teachers = self.objective.teacher_outputs(pixel_values)
        return outputs, self.objective(outputs, labels, teachers)

    def _check(self, terms: Sequence[StudentTerms]) -> None:
        """BadTerms unless they are what `Objective` says; a warning if one student's terms move
        another.
        """
        method = type(self.objective).__name__
        check_terms(method, terms, len(self.names))
        if not torch.is_grad_enabled():
            return
        self._is_checked = True
        moved = []
        for name, own in zip(self.names, terms, strict=True):
            others = [
                parameter
                for other in self.names
                if other != name
                for part in (self.students[other], self.projections(other))
                for parameter in part.parameters()
            ]
            moved.append((name, terms_that_move(own, others)))
        if any(terms for _, terms in moved):
            logger.warning(sentence_on_peers(method, moved))

    def _over_step(
        self,
        terms: Sequence[StudentTerms],
        labels: Tensor,
        step_labels: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """All students' terms by `TERM_STUDENT`, divided; and the objective's counts, summed over
        the processes.
        """
        named = {
            f"{term}_{name}": value
            for name, own in zip(self.names, terms, strict=True)
            for term, value in (own.losses | own.statistics).items()
        }
        ignored = self.objective.ignore_index
        counted = [] if self.objective.counted is None else [self.objective.counted]
        values, totals = over_step(
            named, labels != ignored, [each != ignored for each in step_labels], counted
        )
        for total in totals:
            self.objective.count(total)
        return values
