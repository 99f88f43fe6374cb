"""What methods share that compare class distributions pixel by pixel: which classes are
compared.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..losses import (
    ClassGroups,
    Groups,
    PixelLosses,
    PixelTeaching,
    from_each_other,
    pixel_losses,
)
from ..students import Student, StudentOutput
from ..students.teacher import Teacher
from .objective import Objective, StudentTerms
from .options import SoftenedOptions, SoftenedWeightedOptions


class PixelwiseObjective(Objective):
    """An objective whose `pixel_losses` teaches all classes, or groups of those that the peer tells
    apart.

    Its option `pixel_classes` says which. "all": every class's probability is compared, as the
    papers print it. "grouped": the summed probabilities of groups of classes, so that among those
    that a peer cannot tell apart the labels alone decide. The groups are those that `ClassGroups`
    counts on the training pixels of the steps before.

    Args:
        lessons: who learns from whom: see `PixelTeaching`.
        options: see the method's `Options`.

    Of a teacher that lacks some of the classes, what it knows is compared, whatever the option
    says: the distribution given that it is another class than those, at pixels of others than
    those. Counted ("known", "grouped") it is blind to them anyway.
    """

    options: SoftenedOptions
    STATISTICS: ClassVar[dict[str, str]] = {"groups": "groups of classes that it is taught"}

    def __init__(
        self,
        *students: Student,
        lessons: tuple[tuple[int, int], ...],
        **options: Any,
    ):
        super().__init__(*students, **options)
        self.lessons = lessons
        self.compared: list[Groups] = []  # of each lesson, in the last step
        told = self.options
        if told.pixel_classes != "all":
            self.class_groups = ClassGroups(
                self.num_labels,
                [peer for _, peer in lessons],
                told.pixel_classes,
                told.blind_ratio,
                told.blind_floor,
                told.blind_memory,
                learners=[learner for learner, _ in lessons],
            )

    @torch.compiler.disable  # groups are numbers of the host's
    def pixel_losses(
        self,
        students: Sequence[Tensor],
        labels: Tensor,
        teaching: PixelTeaching,
        teachers: Sequence[Tensor] = (),
    ) -> PixelLosses:
        """`losses.pixel_losses` on the groups of the optimizer steps before. In training mode, this
        one's are counted.

        Students' and teachers' logits (B, K, h, w), labels (B, H, W). `teaching` says all but the
        groups.
        """
        if self.class_groups is None:
            known = [self._known_to(peer) for _, peer in self.lessons]
            teaching = teaching._replace(groups=tuple(known) if any(known) else None)
            return pixel_losses(
                students, labels, self.ignore_index, teaching, teachers, self.class_weights
            )
        if self.training and self.micro_batch == 0:
            self.class_groups.advance()
        self.compared = [self.class_groups.of_lesson(i) for i in range(len(self.lessons))]
        groups = tuple(None if len(own) == self.num_labels else own for own in self.compared)
        teaching = teaching._replace(groups=groups)
        losses = pixel_losses(
            students, labels, self.ignore_index, teaching, teachers, self.class_weights
        )
        self.counted = losses.confusion if self.training else None
        return losses

    def _known_to(self, place: int) -> Groups | None:
        """The classes, each alone, that a teacher at this place tells apart; None if it lacks none,
        as students.
        """
        of_teachers = place - len(self.projections)
        if not 0 <= of_teachers < len(self.teachers):
            return None
        known = self.teachers[of_teachers].known
        return None if known is None else tuple((label,) for label in known)

    def count(self, total: Tensor) -> None:
        if self.class_groups is not None:
            self.class_groups.count(total)

    @torch.compiler.disable  # as `pixel_losses`, whose groups it tells
    def group_statistics(self, learner: int) -> dict[str, Tensor]:
        """ "groups": on how many groups of classes the learner is compared with its peer; with
        several, the mean over them. A teacher beside students is none.
        """
        if self.class_groups is None:
            return {}
        own = [
            (peer, float(len(groups)))
            for (i, peer), groups in zip(self.lessons, self.compared, strict=True)
            if i == learner
        ]
        of_students = [number for peer, number in own if peer < len(self.projections)]
        return {"groups": torch.tensor(fmean(of_students or [number for _, number in own]))}

    def logits_of(self, teachers: Sequence[StudentOutput]) -> list[Tensor]:
        """Of all teachers, each once: as `lessons_of_teachers` says."""
        seen = dict(zip(self.teacher_of, teachers, strict=False))  # none where none teaches
        return [seen[place].logits for place in sorted(seen)]

    def terms_of(
        self, i: int, student: StudentOutput, labels: Tensor, on_pixels: PixelLosses
    ) -> StudentTerms:
        """Of student i: its cross entropies and, as "kl", what it is taught at pixels."""
        own = {
            "ce": on_pixels.ce[i],
            **self.auxiliary_terms(student, labels),
            "kl": on_pixels.pixel[i],
        }
        return StudentTerms(own, self.group_statistics(i))


def lessons_of_teachers(teachers: Sequence[Any]) -> tuple[tuple[int, int], ...]:
    """Each student's from its teacher. Among all that is predicted those are after all students,
    each once, in the order of the first whom each teaches.
    """
    distinct = list(dict.fromkeys(teachers))
    return tuple((i, len(teachers) + distinct.index(own)) for i, own in enumerate(teachers))


class LogitDistillation(PixelwiseObjective):
    """L = CE + w T^2 KL(p_peer || p_learner) for each student, both softened by T: the mean over
    labelled pixels.

    The peer is the other student as it is, or, with `teachers`, a frozen model. w and T are the
    options `distillation_weight` and `temperature`. Published codes divide by pixels, by pixels x
    classes or by images, so that their weights are not comparable.

    Args:
        teachers, options: see `Objective`.
    """

    options: SoftenedWeightedOptions
    TERMS: ClassVar[dict[str, str]] = {"kl": "KL to the peer or target (nats)"}
    WEIGHTS: ClassVar[dict[str, str]] = {"kl": "distillation_weight"}

    def __init__(
        self,
        *students: Student,
        teachers: Sequence[Student | Teacher] | None = None,
        **options: Any,
    ):
        lessons = from_each_other(2) if teachers is None else lessons_of_teachers(teachers)
        super().__init__(*students, lessons=lessons, teachers=teachers, **options)
        self.teaching = PixelTeaching(
            lessons,
            temperature=self.options.temperature,
            weighed=self.options.weigh_taught,
        )

    def forward(
        self,
        students: Sequence[StudentOutput],
        labels: Tensor,
        teachers: Sequence[StudentOutput] = (),
    ) -> list[StudentTerms]:
        on_pixels = self.pixel_losses(
            [own.logits for own in students], labels, self.teaching, self.logits_of(teachers)
        )
        return [self.terms_of(i, own, labels, on_pixels) for i, own in enumerate(students)]
