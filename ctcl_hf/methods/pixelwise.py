"""What methods share that compare class distributions pixel by pixel: which classes are compared."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..choices import PixelClasses
from ..losses import ClassGroups, PixelLosses, PixelTeaching, pixel_losses
from ..students import Student
from .objective import Objective


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
        self.class_groups: ClassGroups | None = None
        if pixel_classes == "grouped":
            self.class_groups = ClassGroups(a.config.num_labels, peers, predicted)

    @torch.compiler.disable  # groups are numbers of the host's
    def pixel_losses(
        self, students: Sequence[Tensor], labels: Tensor, teaching: PixelTeaching, teachers: Sequence[Tensor] = ()
    ) -> PixelLosses:
        """`losses.pixel_losses` on the groups of the steps before. In training mode, this step's counts are taken in.

        Students' and teachers' logits (B, K, h, w), labels (B, H, W). `teaching` says all but the groups.
        """
        if self.class_groups is None:
            return pixel_losses(students, labels, self.ignore_index, teaching, teachers)
        groups = tuple(self.class_groups.of_learner(i) for i in range(len(students)))
        losses = pixel_losses(students, labels, self.ignore_index, teaching._replace(groups=groups), teachers)
        if self.training:
            self.class_groups.update(losses.confusion)
        return losses

    def group_statistics(self, learner: int) -> dict[str, Tensor]:
        """ "groups": on how many groups of classes the learner will be compared with its peer in the next step."""
        if self.class_groups is None:
            return {}
        return {"groups": torch.tensor(float(len(self.class_groups.of_learner(learner))))}
