"""Which classes a peer knows, and comparing two predictions on those, or on groups of classes,
only.

Matching logits pixel by pixel takes from a student the classes that its peer does not know, even
where no wrong pixel is ever taught (docs/fidelity.md derives it). Where such classes are left out
of the comparison, or merged with what the peer says instead, the labels alone decide on them.
Merging before comparing is known from incremental segmentation (MiB, Cermelli et al., CVPR 2020),
where a frozen teacher lacks classes; here the peer is live, and what it is blind to is counted.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Disjoint groups of classes in ascending order of their first members. Those of 0..K-1 in none are
# not compared.
Groups = tuple[tuple[int, ...], ...]

# A blind class is one no longer when it exceeds both bounds by so much: without it classes flicker
# at the bounds.
RECOVERY = 1.4
LOG_OF_NOTHING = -1e30  # of a probability of 0, of which a difference is no NaN


@lru_cache(maxsize=1024)
def _indices(classes: tuple[int, ...], device: torch.device) -> Tensor:
    """Ids of classes as an index, never written to; made once, for which a GPU is waited for."""
    with torch.inference_mode(False):  # it may be met again where gradients are taken
        return torch.tensor(classes, dtype=torch.int64, device=device)


class Distribution(NamedTuple):
    """Probabilities of K classes, (B, K, ...) each: their logarithms, and themselves."""

    log_p: Tensor
    p: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Distribution":
        """softmax(values)."""
        log_p = F.log_softmax(values, dim=1)
        return cls(log_p, log_p.exp())

    def softened(self, temperature: float) -> "Distribution":
        """softmax(log P / T)."""
        return self if temperature == 1 else self.of(self.log_p / temperature)


def spread_over_classes(
    learner: Distribution, peer: Distribution, groups: Groups, temperature: float = 1.0
) -> tuple[Distribution, Distribution]:
    """Two predictions of groups of classes, softened to softmax(log P / T), over all classes.

    What a group has is divided among its classes in the learner's proportions, in both predictions
    alike. So a divergence of these two is that of the groups, and its gradient to the logits of the
    first is the chain rule's through log P: each class has its share of what its group has. Classes
    in no group have a probability of 0 in both; the others have those given that it is one of them.
    """
    num_classes, device = learner.p.shape[1], learner.p.device
    left_out = tuple(sorted(set(range(num_classes)).difference(*groups)))
    is_whole = temperature == 1 and not left_out  # the learner is as it was, and both sum up to 1
    log_learner, log_peer = (
        learner.log_p if is_whole else learner.log_p / temperature,
        peer.log_p / temperature,
    )
    merged = [members for members in groups if len(members) > 1]
    for members in merged:
        columns = _indices(members, device)
        own, given = (of.log_p.index_select(1, columns) for of in (learner, peer))
        total, total_given = (values.logsumexp(1, keepdim=True) for values in (own, given))
        share = own.sub_(total)
        if not is_whole:
            log_learner.index_copy_(1, columns, share + total / temperature)
        log_peer.index_copy_(1, columns, share.add_(total_given / temperature))
    if is_whole:
        columns = _indices(sum(merged, ()), device)
        changed = log_peer.index_select(1, columns).exp_()
        return learner, Distribution(log_peer, peer.p.index_copy(1, columns, changed))
    columns = _indices(left_out, device)
    of_learner, of_peer = (
        Distribution.of(values.index_fill_(1, columns, LOG_OF_NOTHING))
        for values in (log_learner, log_peer)
    )
    return of_learner, of_peer


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
