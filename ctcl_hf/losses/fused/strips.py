"""Cross entropy and pixel-wise BSD without logits at full resolution.

Logits at full resolution, K classes at every pixel, are by far a pair's largest tensors, and every
loss on them is a few passes over memory. Here all losses and their gradients are taken of one phase
of the pixels and one strip of the image at a time (see `phases`), while those few are in the cache:
the same values, and no tensor larger than the logits at their own stride.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...base.choices import Divisor, KLDirection
from ..groups import Distribution, Groups, spread_over_classes
from ..means import Mean
from ..pixel import upsample
from ..precision import in_full_precision, widened
from ..region import teaching_directions
from .phases import STRIP_ELEMENTS_ACCELERATOR, PhasedUpsampling

CE, TAUGHT = 0, 1  # the terms whose gradients are collected
# An accelerator waits for launches: at a factor of 4 there are 16 phases of some 18 launches each,
# at 16 (an auxiliary head's) 256. Logits that fit into a strip at full resolution are upsampled
# whole: at 11 classes, groups of them compared, that takes 8 ms in place of 39 on an H100
# (docs/benchmarks-gpu.md).
LARGEST_FACTOR_ACCELERATOR = 4
LARGEST_FACTOR_CPU = math.inf


class PixelTeaching(NamedTuple):
    """What each of n students is taught at a pixel, by whom and where.

    `T^2 KL`, in nats, between the class distributions of learner and peer, each softened to
    softmax(log P / T), summed over the pixels at which the learner is taught and divided as
    `divisor` says. The peer is a constant.

    lessons: who learns from whom: a student's place, and its peer's among all that is predicted:
        the students, the teachers, and the target. Of one student with several, they are summed.
    selective: a student is taught only where its peer has the lowest cross entropy of all students
        (Eq. 4, `teaching_directions`), and not at all labelled pixels. By a teacher it is taught
        wherever that one's is lower than all students', and there by no student.
    direction: "forward" is KL(peer || learner), "reverse" KL(learner || peer), as Eq. 4 is printed.
    divisor: "taught": the number of pixels at which this student is taught, as printed; "labelled":
        of all labelled ones, as cross entropy's, so that what one pixel weighs does not grow as
        fewer are taught.
    weighed: whether the divergence at a pixel is multiplied by the class weight of its label, where
        there are weights, as its cross entropy is. What divides stays.
    groups: of each lesson, the groups of classes whose summed probabilities P are compared, or
        None for all classes alone; for all lessons at once None, too, where nothing is to be
        counted either. Where some classes are in no group, a student is taught at pixels of the
        others, and the distributions are those given that it is another: nothing moves the logits
        of those classes.
    target: logits of one more peer, made pointwise of those of all students and teachers and the
        labels; given those, (b, K, n, m) each, and the labels with 0 where ignored, (b, 1, n, m).
    """

    lessons: tuple[tuple[int, int], ...]
    selective: bool = False
    direction: KLDirection = "forward"
    temperature: float = 1.0
    divisor: Divisor = "labelled"
    weighed: bool = False
    groups: tuple[Groups | None, ...] | None = None
    target: Callable[[Sequence[Tensor], Tensor], Tensor] | None = None


def from_each_other(students: int) -> tuple[tuple[int, int], ...]:
    """The lessons of `PixelTeaching` in which each of so many learns from each of the others."""
    return tuple((i, j) for i in range(students) for j in range(students) if i != j)


class PixelLosses(NamedTuple):
    """Of each student, in their order: means with gradient to the student's own logits, and
    constants.
    """

    ce: tuple[Mean, ...]  # Eq. 1
    pixel: tuple[Mean, ...]  # what it learns from its peers: see `PixelTeaching`
    ce_maps: tuple[Tensor, ...]  # (B, H, W) in nats, 0 where ignored
    # (B, H, W) bool: where this student teaches a peer; none if not selective
    teaches: tuple[Tensor, ...]
    # (students, teachers and target, K, K) counts, rows by label: see `ClassGroups`
    confusion: Tensor | None
    # (B, H, W) bool: where this student's teacher teaches it; none without selective teachers
    by_teacher: tuple[Tensor, ...] = ()


@torch.compiler.disable  # a loop over phases, which a compiler would unroll
@in_full_precision
def cross_entropy_loss(
    logits: Tensor, labels: Tensor, ignore_index: int, class_weights: Tensor | None = None
) -> Mean:
    """Eq. 1: mean cross entropy in nats over the labelled pixels, logits upsampled to the labels'
    size.

    Shapes: logits (B, K, h, w), labels (B, H, W).

    class_weights: (K,), by which each pixel's cross entropy is multiplied, by its label. What
        divides stays the number of labelled pixels.
    """
    total = _PixelSums.apply(
        labels, ignore_index, None, 1, class_weights, *with_phases(labels, logits)
    )[0]
    return Mean(total, (labels != ignore_index).sum())


@torch.compiler.disable  # a loop over phases, which a compiler would unroll
def pixel_losses(
    students: Sequence[Tensor],
    labels: Tensor,
    ignore_index: int,
    teaching: PixelTeaching,
    teachers: Sequence[Tensor] = (),
    class_weights: Tensor | None = None,
) -> PixelLosses:
    """Eq. 1 for every student, and what each learns from its peers at pixels, at the labels' size.

    Equal to `cross_entropy_loss`, `teaching_directions` and a mean of `kl_map` on upsampled logits.
    Shapes: logits of students and teachers (B, K, h, w), each at its own stride; labels (B, H, W).
    Gradient of each term: the learner's logits.

    class_weights: of the term "ce", see `cross_entropy_loss`, and if `teaching.weighed` of what is
        taught. The maps, and who teaches whom, stay without: a weight says what an error costs, and
        not who is the more reliable. At a pixel it would be the same for all students.
    """
    n = len(students)
    with torch.autocast(labels.device.type, enabled=False):
        grids = with_phases(labels, *map(widened, (*students, *teachers)))
        results = list(_PixelSums.apply(labels, ignore_index, teaching, n, class_weights, *grids))
    confusion = results.pop() if teaching.groups is not None else None
    numbers = results.pop() if teaching.divisor == "taught" else None
    ce, pixel, ce_maps, teaches, by_teacher = (
        tuple(results[i : i + n]) for i in range(0, 5 * n, n)
    )
    labelled = (labels != ignore_index).sum()
    return PixelLosses(
        tuple(Mean(total, labelled) for total in ce),
        tuple(map(Mean, pixel, [labelled] * n if numbers is None else numbers.unbind())),
        ce_maps,
        teaches,
        confusion,
        by_teacher,
    )


def largest_factor(device: torch.device, elements: int) -> float:
    """The largest factor that is upsampled phase by phase, of so many logits at full resolution."""
    if device.type == "cpu":
        return LARGEST_FACTOR_CPU
    return 1 if elements <= STRIP_ELEMENTS_ACCELERATOR else LARGEST_FACTOR_ACCELERATOR


def with_phases(labels: Tensor, *students: Tensor) -> list[Tensor]:
    """Logits whose sides divide the labels', on accelerators by few enough phases and where they
    would not fit into a strip.

    Others are upsampled as a whole.
    """
    size = labels.shape[-2:]
    largest = largest_factor(labels.device, labels.numel() * students[0].shape[1])
    fits = [
        all(
            side % own == 0 and side // own <= largest
            for side, own in zip(size, logits.shape[-2:], strict=True)
        )
        for logits in students
    ]
    return [
        logits if fit else upsample(logits, size)
        for logits, fit in zip(students, fits, strict=True)
    ]


class _PixelSums(torch.autograd.Function):
    """Of n students: sums of CE, with teaching of what is taught; CE maps; if selective masks, and
    with teachers theirs; numbers of taught pixels, if they divide; with groups counts.
    """

    @staticmethod
    def forward(ctx, labels, ignore_index, teaching, n, class_weights, *grids):
        with_gradient = any(ctx.needs_input_grad)
        labelled = labels != ignore_index
        num_classes = grids[0].shape[1]
        if class_weights is not None:
            class_weights = class_weights.to(grids[0].dtype)
        ce_maps = [grids[0].new_empty(labels.shape) for _ in range(n)]
        selective = teaching is not None and teaching.selective
        lessons = teaching.lessons if teaching else ()
        with_teachers = selective and any(peer >= n for _, peer in lessons)
        teaches = [torch.empty_like(labelled) for _ in range(n if selective else 0)]
        by_teacher = [torch.empty_like(labelled) for _ in range(n if with_teachers else 0)]
        # sums over taught pixels
        divergences = [grids[0].new_zeros(()) for _ in range(n if teaching else 0)]
        groups = (teaching.groups if teaching else None) or (None,) * len(lessons)
        compared = [_compared(own, num_classes, labels.device) for own in groups]
        numbers = None
        if teaching and teaching.divisor == "taught":
            numbers = torch.zeros(n, dtype=torch.int64, device=labels.device)
        counts = None
        if teaching and teaching.groups is not None:
            predicted = len(grids) + (teaching.target is not None)
            counts = torch.zeros(predicted, num_classes**2, dtype=torch.int64, device=labels.device)
        terms = (1 + bool(teaching)) * with_gradient
        upsampling = PhasedUpsampling(
            grids, labels.shape[-2:], [terms] * n + [0] * (len(grids) - n)
        )

        for phase in upsampling:
            valid = labelled[phase.place]
            target = torch.where(valid, labels[phase.place], 0).unsqueeze(1).long()
            weight = None if class_weights is None else class_weights[target]  # (b, 1, n, m)
            logits = phase.pixels()
            said = [Distribution.of(values) for values in logits[:n]]
            for i, ce_map in enumerate(ce_maps):
                ce_map[phase.place] = torch.where(valid, _cross_entropy(said[i], target), 0)
                if with_gradient:
                    gradient = _cross_entropy_gradient(said[i].p, target, valid)
                    phase.add_gradient(i, CE, gradient if weight is None else gradient * weight)
            if teaching is None:
                continue
            if teaching.target is not None:
                logits.append(teaching.target(logits, target))
            if counts is not None:
                _count(counts, logits, target, valid)
            said += map(Distribution.of, logits[n:])
            taught = [valid] * len(lessons)
            if selective:
                own_ce = [ce_map[phase.place] for ce_map in ce_maps]
                taught = _selected(lessons, own_ce, said, target, valid)
                given: list[list[Tensor]] = [[] for _ in range(n)]  # where each student teaches
                for mask, (learner, peer) in zip(taught, lessons, strict=True):
                    if peer >= n:
                        by_teacher[learner][phase.place] = mask
                    else:
                        given[peer].append(mask)
                for own, masks in zip(teaches, given, strict=True):
                    own[phase.place] = reduce(torch.logical_or, masks)
            taught = [
                mask if is_compared is None else mask & is_compared[target.squeeze(1)]
                for mask, is_compared in zip(taught, compared, strict=True)
            ]
            if numbers is not None:
                for mask, (learner, _) in zip(taught, lessons, strict=True):
                    numbers[learner] += mask.sum()
            # (b, 1, n, m) of 0 and 1
            places = [mask.unsqueeze(1).to(said[0].p.dtype) for mask in taught]
            for k, divergence, gradient, sign in _taught_by(teaching, groups, said, places):
                i, counts_for = lessons[k][0], places[k]
                if teaching.weighed and weight is not None:
                    counts_for = counts_for * weight
                divergences[i] += (divergence * counts_for).sum() * (sign * teaching.temperature**2)
                if with_gradient:
                    # T^2 / T
                    phase.add_gradient(
                        i, TAUGHT, gradient * (counts_for * (sign * teaching.temperature))
                    )

        weighted = ce_maps
        if class_weights is not None:  # 0 where ignored, as the maps are
            weight_map = class_weights[torch.where(labelled, labels, 0).long()]
            weighted = [ce_map * weight_map for ce_map in ce_maps]
        if with_gradient:
            ctx.save_for_backward(
                *(own for term in range(terms) for own in upsampling.gradients(term))
            )
        ctx.students, ctx.teachers = n, len(grids) - n
        constants = [*ce_maps, *teaches, *by_teacher]
        if numbers is not None:
            constants.append(numbers)
        if counts is not None:
            constants.append(counts.view(-1, num_classes, num_classes))
        ctx.mark_non_differentiable(*constants)
        return *(ce_map.sum() for ce_map in weighted), *divergences, *constants

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):
        # constants have none
        scaled = [own * up for own, up in zip(ctx.saved_tensors, upstream, strict=False)]
        if len(scaled) > ctx.students:
            scaled = [
                ce + taught
                for ce, taught in zip(scaled[: ctx.students], scaled[ctx.students :], strict=True)
            ]
        return None, None, None, None, None, *scaled, *[None] * ctx.teachers


def _compared(groups: Groups | None, num_classes: int, device: torch.device) -> Tensor | None:
    """(K,) bool: the classes that are in a group; None if all are."""
    if groups is None or sum(map(len, groups)) == num_classes:
        return None
    is_compared = torch.zeros(num_classes, dtype=torch.bool, device=device)
    is_compared[[label for members in groups for label in members]] = True
    return is_compared


def _selected(
    lessons: Sequence[tuple[int, int]],
    cross_entropies: Sequence[Tensor],
    said: Sequence[Distribution],
    target: Tensor,
    valid: Tensor,
) -> list[Tensor]:
    """Where each lesson is taught: masks (b, n, m), of which a student has one at a pixel at most.

    Args:
        cross_entropies: of the students, (b, n, m).
        said: all that is predicted, (b, K, n, m).
        target: (b, 1, n, m).
        valid: the labelled pixels, (b, n, m).
    """
    teaches = teaching_directions(cross_entropies, valid)
    wins = {}  # by learner: where its teacher is better than all students
    for learner, peer in lessons:
        if peer >= len(teaches):
            of_teacher = _cross_entropy(said[peer], target)
            wins[learner] = reduce(
                torch.logical_and, (of_teacher < own for own in cross_entropies), valid
            )
    taught = []
    for learner, peer in lessons:
        if peer >= len(teaches):
            taught.append(wins[learner])
        else:  # in whose place a teacher may be
            taught.append(teaches[peer] & ~wins[learner] if learner in wins else teaches[peer])
    return taught


def _cross_entropy(said: Distribution, target: Tensor) -> Tensor:
    """In nats, (b, n, m), of probabilities (b, K, n, m) at labels (b, 1, n, m)."""
    return -said.log_p.gather(1, target).squeeze(1)


def _cross_entropy_gradient(p: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """d CE / d logits = p - onehot(target) at labelled pixels: p (B, K, H, W), target (B, 1, H,
    W).
    """
    valid = valid.unsqueeze(1).to(p.dtype)
    return (p * valid).scatter_add_(1, target, -valid)


def _count(counts: Tensor, logits: Sequence[Tensor], target: Tensor, valid: Tensor) -> None:
    """Adds to (predictors, K * K) how often each predictor (b, K, n, m) says a class at the pixels
    of each label.
    """
    num_classes = logits[0].shape[1]
    # the ignored ones beyond the counts
    row = torch.where(valid, target.squeeze(1) * num_classes, num_classes**2)
    for own, values in zip(counts, logits, strict=True):
        cells = (row + _largest(values)).flatten()
        own += torch.bincount(cells, minlength=num_classes**2 + num_classes)[: num_classes**2]


def _largest(values: Tensor) -> Tensor:
    """The first class with the largest value: (b, K, n, m) -> (b, n, m)."""
    if values.device.type != "cpu":
        return values.max(1).indices
    # Looking for the place takes a CPU several passes' time; this one rates every class, the
    # largest by how early it comes, 1 to K, and the others by 0 or less. NaN everywhere: class 0.
    num_classes = values.shape[1]
    early = torch.arange(num_classes, 0, -1, dtype=values.dtype).view(-1, 1, 1)
    rated = (values - values.amax(1, keepdim=True)).sign_().mul_(num_classes).add_(early)
    return num_classes - rated.amax(1).nan_to_num_(num_classes).long()


# What a lesson teaches: the lesson's place, divergence (b, 1, n, m), its gradient to the learner's
# softened logits (b, K, n, m), sign of both.
Taught = tuple[int, Tensor, Tensor, int]


def _taught_by(
    teaching: PixelTeaching,
    groups_of: Sequence[Groups | None],
    said: Sequence[Distribution],
    taught: Sequence[Tensor],
) -> Iterator[Taught]:
    """Each lesson on its own, but for those that are exchanged. In a single group there is nothing
    to learn.

    groups_of: of each lesson. taught: of each, (b, 1, n, m) of 0 and 1.
    """
    temperature = teaching.temperature
    exchanged = 0
    if (
        teaching.selective
        and teaching.lessons[:2] == from_each_other(2)
        and groups_of[:2] == (None, None)
    ):
        yield from _exchanged(teaching, said[:2], taught)
        exchanged = 2
    for k, (i, j) in enumerate(teaching.lessons[exchanged:], exchanged):
        groups = groups_of[k]
        if groups is None:
            learner, peer = (own.softened(temperature) for own in (said[i], said[j]))
        elif len(groups) > 1:
            learner, peer = spread_over_classes(said[i], said[j], groups, temperature)
        else:
            continue
        yield k, *_divergence_and_gradient(learner, peer, teaching.direction), 1


def _divergence_and_gradient(
    learner: Distribution, peer: Distribution, direction: KLDirection
) -> tuple[Tensor, Tensor]:
    """KL (b, 1, n, m), and its gradient to the learner's logits (b, K, n, m)."""
    log_ratio = learner.log_p - peer.log_p
    if direction == "reverse":
        divergence = (learner.p * log_ratio).sum(1, keepdim=True)
        return divergence, log_ratio.sub_(divergence).mul_(learner.p)
    return -log_ratio.mul_(peer.p).sum(1, keepdim=True), learner.p - peer.p


def _exchanged(
    teaching: PixelTeaching, said: Sequence[Distribution], taught: Sequence[Tensor]
) -> Iterator[Taught]:
    """The lessons of two students, a pixel of whom has one learner, in one pass: between them only
    a sign differs.

    taught: (b, 1, n, m), 0 or 1 and never both 1.
    """
    first, second = (own.softened(teaching.temperature) for own in said)
    log_ratio = first.log_p - second.log_p
    if teaching.direction == "reverse":
        learner = (first.p * taught[0]).addcmul_(second.p, taught[1])
        divergence = (learner * log_ratio).sum(1, keepdim=True)
        gradient = log_ratio.sub_(divergence).mul_(learner)
    else:
        teacher = (second.p * taught[0]).addcmul_(first.p, taught[1])
        divergence = -log_ratio.mul_(teacher).sum(1, keepdim=True)
        gradient = first.p - second.p
    yield 0, divergence, gradient, 1
    yield 1, divergence, gradient, -1
