"""What methods share that compare class distributions pixel by pixel: which classes are compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..choices import PixelClasses
from ..losses import ClassGroups, PixelLosses, PixelTeaching, pixel_losses
from ..students import Student, StudentOutput
from .objective import Objective, StudentTerms


class PixelwiseObjective(Objective):
    """An objective whose `pixel_losses` teaches all classes, or groups of those that the peer tells apart.

    Args:
        peers: of each student, its peer's place among all that is predicted: the students, teachers, a target.
        pixel_classes: "all": every class's probability is compared, as the papers print it. "grouped": the summed
            probabilities of groups of classes, so that what a peer cannot tell apart is left to the labels. The groups
            are those that `ClassGroups` counts on the training pixels of the steps before.
        predicted: how many students, teachers and targets there are.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        peers: tuple[int, int],
        pixel_classes: PixelClasses,
        predicted: int = 2,
        distillation_warmup: float = 0.0,
    ):
        super().__init__(a, b, distillation_warmup)
        self.peers = peers
        if pixel_classes == "grouped":
            self.class_groups = ClassGroups(a.config.num_labels, peers, predicted)

    @torch.compiler.disable  # groups are numbers of the host's
    def pixel_losses(
        self, students: Sequence[Tensor], labels: Tensor, teaching: PixelTeaching, teachers: Sequence[Tensor] = ()
    ) -> PixelLosses:
        """`losses.pixel_losses` on the groups of the optimizer steps before. In training mode, this one's are counted.

        Students' and teachers' logits (B, K, h, w), labels (B, H, W). `teaching` says all but the groups.
        """
        if self.class_groups is None:
            return pixel_losses(students, labels, self.ignore_index, teaching, teachers)
        if self.training and self.micro_batch == 0:
            self.class_groups.advance()
        groups = tuple(self.class_groups.of_learner(i) for i in range(len(students)))
        losses = pixel_losses(students, labels, self.ignore_index, teaching._replace(groups=groups), teachers)
        if self.training:
            self.class_groups.count(losses.confusion)
        return losses

    def group_statistics(self, learner: int) -> dict[str, Tensor]:
        """ "groups": on how many groups of classes the learner is compared with its peer."""
        if self.class_groups is None:
            return {}
        return {"groups": torch.tensor(float(len(self.class_groups.of_learner(learner))))}


class LogitDistillation(PixelwiseObjective):
    """L = CE + w T^2 KL(p_peer || p_learner) for each student, both softened by T: the mean over labelled pixels.

    The peer is the other student as it is, or, with `teachers`, a frozen model. Published codes divide by pixels, by
    pixels x classes or by images, so that their weights are not comparable.

    Args:
        distillation_weight: w.
        temperature: T.
        pixel_classes: see `PixelwiseObjective`.
        teachers: frozen models, of a's peer and of b's; None for live peers.
        distillation_warmup: see `Objective`.
    """

    def __init__(
        self,
        a: Student,
        b: Student,
        distillation_weight: float,
        temperature: float,
        pixel_classes: PixelClasses,
        teachers: tuple[Student, Student] | None = None,
        distillation_warmup: float = 0.0,
    ):
        peers, predicted = ((1, 0), 2) if teachers is None else ((2, 3), 4)
        super().__init__(a, b, peers, pixel_classes, predicted, distillation_warmup)
        self.teaching = PixelTeaching(peers=peers, temperature=temperature)
        for weights in self.weights:
            weights["kl"] = distillation_weight
        self.set_teachers(teachers or ())

    def forward(
        self, a: StudentOutput, b: StudentOutput, labels: Tensor, *teachers: StudentOutput
    ) -> tuple[StudentTerms, StudentTerms]:
        on_pixels = self.pixel_losses(
            (a.logits, b.logits), labels, self.teaching, [teacher.logits for teacher in teachers]
        )
        terms = []
        for i, student in enumerate((a, b)):
            own = {"ce": on_pixels.ce[i], **self.auxiliary_terms(student, labels), "kl": on_pixels.pixel[i]}
            terms.append(StudentTerms(own, self.group_statistics(i)))
        return terms[0], terms[1]
