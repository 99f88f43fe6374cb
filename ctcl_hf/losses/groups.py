"""Which classes a peer knows, and comparing two predictions on those, or on groups of classes,
only.

Matching logits pixel by pixel takes from a student the classes that its peer does not know, even
where no wrong pixel is ever taught (docs/fidelity.md derives it). Where such classes are left out
of the comparison, or merged with what the peer says instead, the labels alone decide on them.
Merging before comparing is known from incremental segmentation (MiB, Cermelli et al., CVPR 2020),
where a frozen teacher lacks classes; here the peer is live, and what it is blind to is counted.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

# Disjoint groups of classes in ascending order of their first members. Those of 0..K-1 in none are
# not compared.
Groups = tuple[tuple[int, ...], ...]

# A blind class is one no longer when it exceeds both bounds by so much: without it classes flicker
# at the bounds.
RECOVERY = 1.4


def merged_log_probabilities(log_p: Tensor, groups: Groups) -> Tensor:
    """Log-probability of every group of classes: (B, K, ...) -> (B, len(groups), ...)."""
    alone = [members[0] for members in groups if len(members) == 1]
    merged = [
        log_p[:, list(members)].logsumexp(1, keepdim=True) for members in groups if len(members) > 1
    ]
    return torch.cat([log_p[:, alone], *merged], dim=1)


def place_of_classes(groups: Groups) -> dict[int, int]:
    """By class: where `merged_log_probabilities` has its group.

    First come the classes that are alone.
    """
    ordered = sorted(groups, key=lambda members: len(members) > 1)  # stable
    return {label: place for place, members in enumerate(ordered) for label in members}


def groups_of(blind: Sequence[int], confusion: Tensor) -> Groups:
    """Every blind class in one group with the class that is said in its place most often; connected
    groups are one.

    Args:
        blind: ids of classes.
        confusion: (K, K) counts of pixels, rows by label, columns by what the peer says. A class of
            which no pixel was missed is left alone; where no pixel at all was seen, all classes are
            one group, in which nothing is taught.
    """
    num_classes = len(confusion)
    if not bool(confusion.any()):
        return (tuple(range(num_classes)),)
    others = confusion.clone().fill_diagonal_(0)
    instead, said = others.argmax(1).tolist(), others.amax(1).tolist()
    group = list(range(num_classes))  # of each class: the least of its members
    for label in blind:
        if said[label]:
            old, new = sorted((group[label], group[instead[label]]), reverse=True)
            group = [new if own == old else own for own in group]
    return tuple(
        tuple(i for i in range(num_classes) if group[i] == first) for first in sorted(set(group))
    )


class ClassGroups(nn.Module):
    """Counts what each of some predictors says of every class on training pixels, and tells what to
    compare by it.

    To a learner L, its peer P is blind to a class where IoU_P < ratio IoU_L or IoU_P < floor, until
    it exceeds both bounds by the factor RECOVERY; IoU is that of the counts, a moving sum over
    steps. Counts are in float32, which must not be made narrower.
    Part of a checkpoint; the same on all processes.

    Args:
        num_classes: K.
        peers: of each learner, its peer's place among the predictors.
        learners: their places there; one that learns from several is there as often. Default: they
            come first.
        compared: "known": each class that was seen and that the peer is not blind to; "grouped":
            the groups of `groups_of`.
        ratio: of the peer's IoU to the learner's, below which the peer is blind to a class.
        floor: the least IoU of a class that the peer is not blind to.
        memory: what is kept of the counts from one step to the next. 0.99 looks back about 100
            steps.
    """

    confusion: Tensor  # (predictors, K, K) counts, rows by label
    blind: Tensor  # (learners, K) bool
    counted: Tensor  # as confusion, since the last `advance`

    def __init__(
        self,
        num_classes: int,
        peers: Sequence[int],
        compared: Literal["known", "grouped"] = "known",
        ratio: float = 0.5,
        floor: float = 0.05,
        memory: float = 0.99,
        learners: Sequence[int] | None = None,
    ):
        super().__init__()
        self.peers = tuple(peers)
        self.learners = tuple(range(len(peers)) if learners is None else learners)
        self.compared = compared
        self.ratio, self.floor, self.memory = ratio, floor, memory
        predictors = max(*self.learners, *self.peers) + 1
        self.register_buffer("confusion", torch.zeros(predictors, num_classes, num_classes))
        self.register_buffer("blind", torch.zeros(len(self.peers), num_classes, dtype=torch.bool))
        self.register_buffer("counted", torch.zeros_like(self.confusion))

    @torch.no_grad()
    def count(self, counts: Tensor) -> None:
        """Adds what the predictors say of all processes' batches: (predictors, K, K) counts, as in
        `groups_of`.
        """
        self.counted.add_(counts)

    @torch.no_grad()
    def advance(self) -> None:
        """Begins a step: what was counted in the one before decides, with all before it, what this
        one compares.
        """
        self.confusion.mul_(self.memory).add_(self.counted)
        self.counted.zero_()
        correct = self.confusion.diagonal(dim1=1, dim2=2)
        union = self.confusion.sum(1) + self.confusion.sum(2) - correct
        iou = correct / union.clamp_min(torch.finfo(union.dtype).tiny)
        for i, (learner, peer) in enumerate(zip(self.learners, self.peers, strict=True)):
            bound = (self.ratio * iou[learner]).clamp_min(self.floor)
            bound = torch.where(self.blind[i], RECOVERY * bound, bound)
            # of classes that were seen
            self.blind[i] = (iou[peer] < bound) & (self.confusion[peer].sum(1) > 0)

    def blind_classes(self, lesson: int) -> list[int]:
        """The classes to which the peer of one of the learners, by its place, is blind."""
        return self.blind[lesson].nonzero().flatten().tolist()

    def of_lesson(self, lesson: int) -> Groups:
        """The groups on which one of the learners, by its place, is compared with its peer."""
        blind, confusion = self.blind_classes(lesson), self.confusion[self.peers[lesson]].cpu()
        if self.compared == "grouped":
            return groups_of(blind, confusion)
        return tuple(
            (label,)
            for label in confusion.sum(1).nonzero().flatten().tolist()
            if label not in blind
        )
