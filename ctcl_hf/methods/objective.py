"""What every training method is: a function of the students' outputs that returns named loss terms
for each.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..losses import ClassGroups, Mean, cross_entropy_loss
from ..students import Student, StudentOutput
from ..students.teacher import Teacher, as_teacher
from .options import MethodOptions
from .paper import Paper


class BadTerms(ValueError):
    """A method returns something else than the terms of its students, each with a weight."""


class StudentTerms(NamedTuple):
    """What an objective says of one student: means, divided by `StudentPair` once, or scalars, of
    each batch alike.
    """

    losses: dict[str, Mean | Tensor]  # unweighted, with gradient
    statistics: dict[str, Mean | Tensor]  # constants that are only logged

    def of_batch(self) -> "StudentTerms":
        """The same as scalars: every mean over this batch alone."""
        losses, statistics = (
            {name: value.value if isinstance(value, Mean) else value for name, value in own.items()}
            for own in self
        )
        return StudentTerms(dict(losses), dict(statistics))


class Objective(nn.Module):
    """Base of all methods; a method is one subclass.

    `forward(students, labels, teachers)` returns the terms of each student. Terms travel unweighted
    and undivided: `WEIGHTS` names the option by which each counts in a student's loss, and what a
    mean is divided by is the number of its places in the whole optimizer step.
    Trainable parts that only training needs live in `projections[i]`, go to student i's optimizer,
    and are never saved in it. Frozen teachers, whose outputs `forward` is given, are not saved at
    all. `held_out_images` says on how many images of the evaluation set it wants to `observe` the
    students before every epoch. `Options.STUDENTS` says whether it takes more students than two.

    What a method is told beside its students is a dataclass beside it, its `Options`: keywords
    here, flags on the command line, and recorded with a run, which cannot be resumed with others.

    Args:
        students: two, or more where the method takes them, of the same classes.
        teachers: frozen models to learn from, of a method that does so (`Options.TEACHERS`): each
            student's, which may be the same one. Students teach what they are; others are
            `Teacher`s.
        options: see `Options`.

    Raises:
        ValueError: more or fewer students than it takes, or of different classes, options that are
            not taken, or teachers that are missing or unused.
    """

    options: MethodOptions
    projections: Sequence[nn.ModuleDict]  # of each student: an nn.ModuleList
    teachers: Sequence[Teacher]  # those that there are, each once: an nn.ModuleList, too
    # of each student: its teacher's place among those; () without
    teacher_of: tuple[int, ...]
    ramp: Tensor

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    # What is logged of each student -> its title in curves: the terms that it has on its own, at
    # any point of a warm-up; those that the method adds; and what else it tells.
    OWN_TERMS: ClassVar[Mapping[str, str]] = {
        "ce": "cross entropy (nats)",
        "aux": "auxiliary cross entropy (nats)",
    }
    TERMS: ClassVar[Mapping[str, str]] = {}
    STATISTICS: ClassVar[Mapping[str, str]] = {}
    # by term that the method adds: the option that is its weight, of each student
    WEIGHTS: ClassVar[Mapping[str, str]] = {}
    PAPER: ClassVar[Paper | None] = None
    held_out_images = 0
    # whole numbers of the last forward, whose sum over the processes `count` is told
    counted: Tensor | None = None
    # of the optimizer step, which batch this is: more than 0 only where gradients are accumulated
    micro_batch = 0

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        super().__init__()
        self.options = self.Options(**options)
        name = type(self).__name__
        if len(students) < 2 or (len(students) > 2 and self.Options.STUDENTS == "two"):
            raise ValueError(
                f"{name} is defined for {self.Options.STUDENTS} students, got {len(students)}."
            )
        if teachers is None and self.Options.TEACHERS == "needed":
            raise ValueError(f"{name} needs teachers: a trained model for each student.")
        if teachers is not None and self.Options.TEACHERS == "none":
            raise ValueError(f"{name} learns from no teachers.")
        if teachers is not None and len(teachers) != len(students):
            raise ValueError(
                f"{name} needs a teacher for each student: got {len(teachers)} for {len(students)}."
            )
        # A tensor, so that a compiled step does not take it for a constant.
        self.register_buffer("ramp", torch.ones(()), persistent=False)
        classes = [(student.config.num_labels, student.ignore_index) for student in students]
        if len(set(classes)) > 1:
            told = " and ".join(f"{number} (ignore index {index})" for number, index in classes)
            raise ValueError(f"All students must have the same classes: got {told}.")
        self.num_labels, self.ignore_index = classes[0]
        self.weights: tuple[dict[str, float], ...] = tuple({"ce": 1.0} for _ in students)
        for student, weights in zip(students, self.weights, strict=True):
            if student.auxiliary_weight is not None:
                weights["aux"] = student.auxiliary_weight
            weights |= self.term_weights()
        # (K,) of the cross entropies: `weigh_classes`
        self.register_buffer("class_weights", None, persistent=False)
        self.projections = cast(
            "Sequence[nn.ModuleDict]", nn.ModuleList([nn.ModuleDict() for _ in students])
        )
        self.class_groups: ClassGroups | None = None  # of a method that compares groups of classes
        distinct = list(dict.fromkeys(teachers or ()))
        self.teacher_of = tuple(distinct.index(teacher) for teacher in teachers or ())
        frozen = nn.ModuleList(map(as_teacher, distinct)).requires_grad_(False).eval()
        self.teachers = cast("Sequence[Teacher]", frozen)
        for teacher in self.teachers:
            if teacher.num_labels != self.num_labels:
                raise ValueError(
                    f"A teacher must have the students' classes: got {teacher.num_labels} "
                    f"for {self.num_labels}."
                )

    def term_weights(self) -> dict[str, float]:
        """By term that the method adds, what it counts in each student's loss: `WEIGHTS` says it,
        unless a method computes it of several options.
        """
        return {term: getattr(self.options, name) for term, name in self.WEIGHTS.items()}

    def weigh_classes(self, weights: Sequence[float]) -> None:
        """Multiplies each pixel's cross entropies by its class's weight from now on. ValueError if
        they do not fit.

        Who teaches whom stays without weights, and so does what students exchange, but for the
        option `weigh_taught`: see `losses.pixel_losses`.
        """
        if len(weights) != self.num_labels or not all(
            0 < weight < float("inf") for weight in weights
        ):
            raise ValueError(
                f"Expected a positive weight for each of {self.num_labels} classes, got {weights}."
            )
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=self.ramp.device)

    @torch.no_grad()
    def teacher_outputs(self, pixel_values: Tensor) -> list[StudentOutput]:
        """What each student's teacher, if there are any, sees in images (B, 3, H, W), RGB in
        0..255.
        """
        seen = [teacher(pixel_values) for teacher in self.teachers]
        return [seen[i] for i in self.teacher_of]

    def known_part(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> tuple[StudentOutput, StudentOutput, Tensor]:
        """Student i, what it learns from, and the labels, as far as its teacher knows classes; as
        they are without a teacher, or where it lacks none.

        Both with the logits of the classes that it knows alone, labels (B, H, W) as places among
        those and the others ignored: where the label is such, whatever the teacher says is wrong,
        and elsewhere what the learner says of them is left to the labels. Features stay.
        """
        known = self.teachers[self.teacher_of[i]].known if self.teacher_of else None
        if known is None:
            return learner, peer, labels
        places = labels.new_full((self.num_labels,), self.ignore_index)
        places[list(known)] = torch.arange(len(known), dtype=labels.dtype, device=labels.device)
        labelled = labels != self.ignore_index
        of_known = torch.where(labelled, places[torch.where(labelled, labels, 0)], labels)
        learner, peer = (
            output._replace(logits=output.logits[:, list(known)]) for output in (learner, peer)
        )
        return learner, peer, of_known

    def observe(self, held_out: Iterable[tuple[Tensor, ...]]) -> None:
        """Reads each student's logits (B, K, H, W) on held-out images, and the labels (B, H, W),
        batch by batch.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must say what it does with held-out images."
        )

    def count(self, total: Tensor) -> None:
        """Reads the sum of what all processes have `counted` in the last forward."""
        raise NotImplementedError(
            f"{type(self).__name__} must say what it does with what it has counted."
        )

    def training_state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: the projections, and what it has observed; no teachers."""
        return {
            key: value
            for key, value in self.state_dict().items()
            if not key.startswith("teachers.")
        }

    def train(self, mode: bool = True) -> "Objective":
        super().train(mode)
        cast("nn.Module", self.teachers).eval()
        return self

    def set_progress(self, progress: float) -> None:
        """Tells how much of the training is behind, 0 to 1, for the option
        `distillation_warmup`.
        """
        if self.options.distillation_warmup:
            self.ramp.fill_(min(progress / self.options.distillation_warmup, 1.0))

    @classmethod
    def titles(cls) -> dict[str, str]:
        """Everything that is logged of a student, with its title."""
        return {**cls.OWN_TERMS, **cls.TERMS, **cls.STATISTICS}

    def logged(self) -> dict[str, str]:
        """`titles`, and each weighted term that has none under its own name."""
        return {term: term for weights in self.weights for term in weights} | self.titles()

    def loss(self, student: int, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of a student's terms at this point of the training.

        BadTerms where a method gives a term no weight.
        """
        weights = self.weights[student]
        if unweighted := losses.keys() - weights.keys():
            term = min(unweighted)
            near = difflib.get_close_matches(term, weights, n=1)
            raise BadTerms(
                f"{type(self).__name__} returns the term {term!r} and gives it no weight: its "
                f"WEIGHTS must name the option that is the weight of {term!r}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )
        if not any(True for _ in self.projections[student].parameters()):
            # 0 times a gradient still costs a backward, and adds up in another order. With
            # projections it is kept: distributed training wants every parameter in every step's
            # graph.
            losses = {
                term: value
                for term, value in losses.items()
                if weights[term] or term in self.OWN_TERMS
            }
        if not self.options.distillation_warmup:
            return cast(Tensor, sum(weights[term] * value for term, value in losses.items()))
        total = sum(
            (weights[term] if term in self.OWN_TERMS else weights[term] * self.ramp) * value
            for term, value in losses.items()
        )
        return cast(Tensor, total)  # there is always a cross entropy

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> Sequence[StudentTerms]:
        """The terms of each student. Labels (B, H, W) hold class ids and `ignore_index`; teachers
        are as `teacher_outputs` returns them.
        """
        raise NotImplementedError(f"{type(self).__name__} must compute the terms of each student.")

    def segmentation_terms(self, output: StudentOutput, labels: Tensor) -> dict[str, Mean | Tensor]:
        """The terms that a student has on its own: Eq. 1, and the auxiliary head's cross
        entropy.
        """
        ce = cross_entropy_loss(output.logits, labels, self.ignore_index, self.class_weights)
        return {"ce": ce, **self.auxiliary_terms(output, labels)}

    def auxiliary_terms(self, output: StudentOutput, labels: Tensor) -> dict[str, Mean | Tensor]:
        """The auxiliary head's cross entropy, if the student has such a head and is in training
        mode.
        """
        if output.auxiliary_logits is None:
            return {}
        return {
            "aux": cross_entropy_loss(
                output.auxiliary_logits, labels, self.ignore_index, self.class_weights
            )
        }
