"""What to do about a gradient that is not finite: stop and tell all that is known, or skip the
step.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.utils import logging

from ...base.files import write_whole
from ...losses.means import Mean
from ...methods.pair import StudentPair

logger = logging.get_logger(__name__)

SKIPS_IN_A_ROW = 20  # after which skipping is given up: no step has trained anything any more


class FiniteGuard:
    """Watches the norms of all students' gradients, and keeps a step that is left out from
    BatchNorm's statistics and from what the method counts.

    Args:
        skip: leave out a step whose gradient is not finite, instead of raising.
        scaled: the gradients are of a scaled loss, as with float16. The scaler then leaves out such
            steps itself, and lowers its scale: one is nothing to speak of, but no scale mends many
            in a row.
    """

    def __init__(self, pair: StudentPair, skip: bool, scaled: bool):
        self.pair = pair
        self.skip = skip
        self.scaled = scaled
        self.skipped = 0
        self._statistics: dict[str, Tensor] = {}

    def begin_step(self) -> None:
        """Before the first forward of a step."""
        if self.skip or self.scaled:
            self._statistics = {name: buffer.clone() for name, buffer in self._counted().items()}

    def check(self, norms: Mapping[str, Tensor], explanation: Callable[[], str]) -> None:
        """Makes a step that is to be skipped leave no trace.

        FloatingPointError, explained, if it is not to be.
        """
        if bool(torch.isfinite(torch.stack(list(norms.values()))).all()):
            self.skipped = 0
            return
        self.skipped += 1
        if self.skipped > SKIPS_IN_A_ROW:
            raise FloatingPointError(
                f"{SKIPS_IN_A_ROW} steps in a row were skipped already. {explanation()}"
            )
        if not self.scaled:
            if not self.skip:
                raise FloatingPointError(explanation())
            logger.warning(f"{explanation()} The step is skipped.")
            for parameter in self.pair.parameters():
                parameter.grad = None
        for name, buffer in self._counted().items():
            buffer.copy_(self._statistics[name])

    def _counted(self) -> dict[str, Tensor]:
        """What a forward adds to: BatchNorm's statistics, and what the method counts."""
        buffers = dict(self.pair.named_buffers())
        return {
            name: buffer
            for name, buffer in buffers.items()
            if not name.startswith("objective.teachers.")
        }


def explain(
    norms: Mapping[str, Tensor],
    terms: Sequence[Mapping[str, Tensor]],
    step: int,
    images: Sequence[str],
) -> str:
    """Which student, which term, which step and which images, in a sentence or two.

    Args:
        norms: of the gradients, by student.
        terms: loss terms and statistics of each micro-batch of the step.
    """
    students = [name for name, norm in norms.items() if not math.isfinite(float(norm))]
    values = [(term, float(value)) for of_batch in terms for term, value in of_batch.items()]
    bad = [f"{term} = {value}" for term, value in values if not math.isfinite(value)]
    which = (
        f"the loss terms {', '.join(bad)} are not"
        if bad
        else "every loss term is finite, its gradient is not"
    )
    return (
        f"Step {step}: the gradient of {' and '.join(students)} is not finite; {which} (this "
        f"process). Images: {', '.join(images)}."
    )


def terms_at_fault(
    pair: StudentPair, batches: Iterable[Mapping[str, Tensor]], autocast: Callable
) -> list[str]:
    """The losses, `TERM_STUDENT`, whose own gradient is not finite on the batches of a step: found
    by going forward once more, with other draws of dropout, and back from each of them alone.

    Of losses that one function computes all are named. Nothing is restored: only for a run of one
    process that ends.

    autocast: gives the context in which the students compute.
    """
    found: dict[str, None] = {}
    parameters = [parameter for parameter in pair.parameters() if parameter.requires_grad]
    for batch in batches:
        with autocast():
            terms = pair.terms_of(batch["pixel_values"], batch["labels"].long())[1]
        for name, own in zip(pair.names, terms, strict=True):
            for term, value in own.losses.items():
                loss = value.value if isinstance(value, Mean) else value
                if not loss.requires_grad:
                    continue
                gradients = torch.autograd.grad(
                    loss, parameters, retain_graph=True, allow_unused=True
                )
                if not all(grad.isfinite().all() for grad in gradients if grad is not None):
                    found[f"{term}_{name}"] = None
    return list(found)


def sentence_on_fault(terms: Sequence[str]) -> str:
    """Which losses are at fault; nothing if none is found."""
    if not terms:
        return ""
    one_of = "one of " if len(terms) > 1 else ""
    return (
        f" The gradient of {one_of}{', '.join(terms)} alone is not, such as that of a root, a norm "
        "or a logarithm at 0."
    )


def dump(
    folder: Path, pair: StudentPair, batches: Sequence[Mapping[str, Tensor]], told: str
) -> None:
    """Writes what is needed to look into it: all students as they are, and the step's batches as
    they were fed.
    """
    for name, student in pair.students.items():
        student.save_pretrained(str(folder / name))
    named = {f"{key}.{i}": value for i, batch in enumerate(batches) for key, value in batch.items()}
    tensors = {name: value.cpu().contiguous() for name, value in named.items()}
    save_file(tensors, folder / "batches.safetensors")
    write_whole(folder / "report.json", json.dumps({"error": told}, indent=2) + "\n")
