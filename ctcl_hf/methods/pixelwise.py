"""What methods share that compare class distributions pixel by pixel: which classes are
compared.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..losses import ClassGroups, Groups, PixelLosses, PixelTeaching, pixel_losses
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
        peers: of each student, its peer's place among all that is predicted: the students,
            teachers, a target.
        third: of each student, the place of a teacher beside its peer, if there is one: see
            `PixelTeaching`.
        options: see the method's `Options`.

    Of a teacher that lacks some of the classes, what it knows is compared, whatever the option
    says: the distribution given that it is another class than those, at pixels of others than
    those. Counted ("known", "grouped") it is blind to them anyway.
    """

    options: SoftenedOptions
    STATISTICS: ClassVar[dict[str, str]] = {"groups": "groups of classes that it is taught"}

    def __init__(
        self,
        a: Student,
        b: Student,
        peers: tuple[int, int],
        third: tuple[int, int] | None = None,
        **options: Any,
    ):
        super().__init__(a, b, **options)
        self.peers, self.third = peers, third
        # of each student with its peer, and then with its third, the groups of the last step
        self.compared: list[Groups] = []
        told = self.options
        if told.pixel_classes != "all":
            self.class_groups = ClassGroups(
                self.num_labels,
                (*peers, *(third or ())),
                told.pixel_classes,
                told.blind_ratio,
                told.blind_floor,
                told.blind_memory,
                learners=(0, 1) * (1 if third is None else 2),
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
            known = [self._known_to(place) for place in self.peers]
            teaching = teaching._replace(groups=tuple(known) if any(known) else None)
            if self.third is not None:
                teaching = teaching._replace(third_groups=tuple(map(self._known_to, self.third)))
            return pixel_losses(
                students, labels, self.ignore_index, teaching, teachers, self.class_weights
            )
        if self.training and self.micro_batch == 0:
            self.class_groups.advance()
        self.compared = [
            self.class_groups.of_learner(i) for i in range(len(self.class_groups.peers))
        ]
        groups = tuple(None if len(own) == self.num_labels else own for own in self.compared)
        teaching = teaching._replace(groups=groups[:2], third_groups=groups[2:] or None)
        losses = pixel_losses(
            students, labels, self.ignore_index, teaching, teachers, self.class_weights
        )
        self.counted = losses.confusion if self.training else None
        return losses

    def _known_to(self, place: int) -> Groups | None:
        """The classes, each alone, that a teacher at this place tells apart; None if it lacks none,
        as students.
        """
        of_teachers = place - 2
        if not 0 <= of_teachers < len(self.teachers):
            return None
        known = self.teachers[of_teachers].known
        return None if known is None else tuple((label,) for label in known)

    def count(self, total: Tensor) -> None:
        if self.class_groups is not None:
            self.class_groups.count(total)

    @torch.compiler.disable  # as `pixel_losses`, whose groups it tells
    def group_statistics(self, learner: int) -> dict[str, Tensor]:
        """ "groups": on how many groups of classes the learner is compared with its peer."""
        if self.class_groups is None:
            return {}
        return {"groups": torch.tensor(float(len(self.compared[learner])))}

    def logits_of(self, teachers: Sequence[StudentOutput]) -> list[Tensor]:
        """Of a's and b's teacher, each once: as `places_of` says."""
        return [teacher.logits for teacher in teachers[: len(self.teachers)]]

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


def places_of(teachers: Sequence[Any]) -> tuple[int, int]:
    """Where a's and b's teacher are among all that is predicted: after both students, each once."""
    return 2, 2 if len(set(teachers)) == 1 else 3


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
        a: Student,
        b: Student,
        teachers: tuple[Student | Teacher, Student | Teacher] | None = None,
        **options: Any,
    ):
        peers = (1, 0) if teachers is None else places_of(teachers)
        super().__init__(a, b, peers, teachers=teachers, **options)
        self.teaching = PixelTeaching(
            peers=peers,
            temperature=self.options.temperature,
            weighed=self.options.weigh_taught,
        )

    def forward(
        self, a: StudentOutput, b: StudentOutput, labels: Tensor, *teachers: StudentOutput
    ) -> tuple[StudentTerms, StudentTerms]:
        on_pixels = self.pixel_losses(
            (a.logits, b.logits), labels, self.teaching, self.logits_of(teachers)
        )
        return self.terms_of(0, a, labels, on_pixels), self.terms_of(1, b, labels, on_pixels)
