"""Means that are divided once: over all processes, and over all batches of an optimizer step.

Distributed training averages the gradients of its processes, accumulation those of its
micro-batches. The average of means is the mean of all only where each counts as many places, and
crops differ in how much of them is labelled. So a loss is a sum and a count, and what divides the
sums is made of the counts of all: see `over_step`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


def labelled_pixels(labelled: Tensor) -> Tensor:
    """Their number, of a mask (B, H, W)."""
    return labelled.sum()


def images(labelled: Tensor) -> Tensor:
    """Their number, of a mask (B, H, W): labelled or not."""
    return labelled.new_full((), len(labelled), dtype=torch.int64)


class Mean(NamedTuple):
    """A mean over places of a batch, not divided yet.

    total: scalar, the sum over these places.
    number: of these places, an int64 scalar.
    weighed_by: tells of the labels alone how much a micro-batch weighs in the mean over its
        optimizer step: a function of the mask of labelled pixels (B, H, W) that counts places.
        Where those are the places of this mean, as labelled pixels are cross entropy's, the step's
        mean is that of one large batch.
    """

    total: Tensor
    number: Tensor
    weighed_by: Callable[[Tensor], Tensor] = labelled_pixels

    @property
    def value(self) -> Tensor:
        """The mean over this batch alone; 0 over no places."""
        return self.total / self.number.clamp_min(1)


def mean_of(values: Tensor) -> Mean:
    """Mean over all places of all images, labelled or not."""
    return Mean(values.sum(), values.new_full((), values.numel(), dtype=torch.int64), images)


def masked_mean(
    values: Tensor,
    mask: Tensor,
    divided_by: Tensor | None = None,
    weighed_by: Callable[[Tensor], Tensor] = labelled_pixels,
) -> Mean:
    """Mean of `values` where `mask` is true; an empty selection is 0 and still has a graph, so no
    process hangs.

    `divided_by`: a mask whose number of true places divides the sum, if not those of `mask`.
        `weighed_by`: see `Mean`.

    ValueError unless values and mask have one shape: broadcast, a place would count several times.
    """
    if values.shape != mask.shape:
        raise ValueError(
            f"masked_mean of values {tuple(values.shape)} with a mask {tuple(mask.shape)}: "
            "expected one shape."
        )
    # `where`, not a product: what lies outside the mask may be infinite, and 0 * inf is not 0.
    number = (mask if divided_by is None else divided_by).sum()
    return Mean(torch.where(mask, values, 0).sum(), number, weighed_by)


def mean_of_means(means: Sequence[Mean]) -> Mean:
    """The average of means over the positions of some grids of the same images, each mean alike,
    whatever its grid; over no images 0. It has the number and the weight of the first.
    """
    first, *others = means
    if not others:
        return first
    total = first.total
    for own in others:
        # the ratio of the grids' positions in an image
        ratio = first.number.to(own.total.dtype) / own.number.clamp_min(1)
        total = total + own.total * ratio
    return Mean(total / len(means), first.number, first.weighed_by)


def number_of_processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed_over_processes(*own: Tensor) -> list[Tensor]:
    """Each tensor's sum over all processes, which all must ask for the same; constants.

    One collective in all.
    """
    constants = [values.detach() for values in own]
    if number_of_processes() == 1 or not own:
        return constants
    together = torch.cat([values.flatten() for values in constants])
    dist.all_reduce(together)
    parts = together.split([values.numel() for values in constants])
    return [part.view_as(values) for part, values in zip(parts, constants, strict=True)]


@torch.compiler.disable  # a collective, and functions as keys
def over_step(
    terms: Mapping[str, Mean | Tensor],
    labelled: Tensor,
    labelled_in_step: Sequence[Tensor] = (),
    counted: Sequence[Tensor] = (),
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """This batch's part of each mean, and `counted` summed over the processes. One collective,
    which all must join.

    The average of the parts over all processes and all micro-batches is the step's mean:

        sum over micro-batches m of w_m total_m / count_m    w_m = weight_m / sum of all
        micro-batches' weights

    with totals, counts and weights summed over the processes. Where a mean is weighed by its own
    places that is the quotient of the totals' and the counts' sums, as of one large batch. Where
    its places are known only after a forward, the micro-batch's own quotient is all there is: its
    gradient is taken before the next one's forward.

    Args:
        terms: means, and scalars, which stay as they are: each batch counts alike.
        labelled: the mask of labelled pixels of this batch, (B, H, W).
        labelled_in_step: those of all of this process's micro-batches of the step, this one among
            them; none if this batch is the whole step.
        counted: whole numbers that are to be summed as well.
    """
    means = {name: term for name, term in terms.items() if isinstance(term, Mean)}
    micro_batches = len(labelled_in_step)
    weights = (
        list(dict.fromkeys(mean.weighed_by for mean in means.values())) if micro_batches > 1 else []
    )
    own = (
        [mean.number for mean in means.values()],
        [weight(labelled) for weight in weights],
        [torch.stack([weight(each) for each in labelled_in_step]).sum() for weight in weights],
        counted,
    )
    sums = iter(summed_over_processes(*chain(*own)))
    numbers, here, in_step, totals = ([next(sums) for _ in part] for part in own)

    precision = reduce(
        torch.promote_types, (mean.total.dtype for mean in means.values()), torch.float32
    )
    divisors = {
        name: number.clamp_min(1).to(precision) / number_of_processes()
        for name, number in zip(means, numbers, strict=True)
    }
    shares = {
        weight: part.clamp_min(1).to(precision) / whole.clamp_min(1)
        for weight, part, whole in zip(weights, here, in_step, strict=True)
    }
    if shares:
        for name, mean in means.items():
            divisors[name] = divisors[name] / (micro_batches * shares[mean.weighed_by])
    values = {
        name: term.total / divisors[name] if isinstance(term, Mean) else term
        for name, term in terms.items()
    }
    return values, totals
