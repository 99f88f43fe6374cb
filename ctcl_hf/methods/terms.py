"""Whether what a method returns is what `Objective` says it is: it may be anybody's."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..losses import Mean
from .objective import BadTerms, StudentTerms

EXPECTED = "StudentTerms(losses, statistics), each a dictionary of Means and scalars by name"


def check_terms(method: str, terms: Any, students: int) -> None:
    """BadTerms unless it is a sequence with `StudentTerms` of each student."""
    if not isinstance(terms, list | tuple) or isinstance(terms, StudentTerms):
        raise _bad(method, f"{type(terms).__name__}", students)
    if len(terms) != students:
        raise _bad(method, f"terms of {len(terms)}", students)
    for own in terms:
        if not (isinstance(own, StudentTerms) and all(isinstance(part, dict) for part in own)):
            raise _bad(method, f"{type(own).__name__} among them", students)
        for name, value in (own.losses | own.statistics).items():
            number = value.total if isinstance(value, Mean) else value
            if not isinstance(number, Tensor) or number.dim():
                shape = list(number.shape) if isinstance(number, Tensor) else type(number).__name__
                raise BadTerms(
                    f"{method} returns the term {name!r} as {shape}: expected a scalar tensor, or "
                    "a Mean, such as masked_mean(values, mask) of ctcl_hf.losses."
                )


def _bad(method: str, found: str, students: int) -> BadTerms:
    return BadTerms(
        f"The forward of {method} returned {found}: expected a list with {EXPECTED}, for each of "
        f"{students} students."
    )


def terms_that_move(terms: StudentTerms, others: Iterable[nn.Parameter]) -> list[str]:
    """Names of a student's losses that have a gradient to what is not its own."""
    parameters = [parameter for parameter in others if parameter.requires_grad]
    found = []
    for name, value in terms.losses.items():
        total = value.total if isinstance(value, Mean) else value
        if total.requires_grad and parameters:
            gradients = torch.autograd.grad(
                total, parameters, retain_graph=True, allow_unused=True
            )  # of what nothing leads to, without a computation
            if any(own is not None and bool(own.any()) for own in gradients):
                found.append(name)
    return found


def sentence_on_peers(method: str, moved: Sequence[tuple[str, Sequence[str]]]) -> str:
    """What is to be known of terms that move more than their own student, by student."""
    told = " and ".join(
        f"{', '.join(map(repr, terms))} of {student}" for student, terms in moved if terms
    )
    return (
        f"{method}: other students are moved as well by {told}. Where a peer is only to be learnt "
        "from, detach what is its own (peer.detach())."
    )
