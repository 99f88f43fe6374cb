"""How much each term of a method moves a student over a training, against its cross entropy."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...arguments.recipes import arguments_of, parse_arguments
from ...base.files import read_json
from ...base.heartbeat import watched
from ...base.registry import file_in
from ...methods import StudentTerms
from ...methods.pair import StudentPair
from ...publishing.card import RECORD_FILE
from ...publishing.rows import OWN_CODE
from ...training.reproducibility import seed_micro_batch
from ..files import kept_checkpoints
from ..run import prepare


class Pull(NamedTuple):
    """A term's weighted gradient to a student's own weights, against that of its cross entropy;
    means over batches.
    """

    norm: float  # of the term's gradient, times the term's weight
    ratio: float  # of that norm to the norm of the gradient of the cross entropy
    cosine: float  # of the angle between the two: 1 pulls the same way, -1 the opposite one


def measure(
    run: Path, scratch: Path, batches: int, own_code: Sequence[Path] = ()
) -> dict[int, dict[str, dict[str, Pull]]]:
    """By checkpoint's step, student and term, on the same training batches at every checkpoint.

    Args:
        run: output folder of a finished run that kept its checkpoints.
        scratch: a folder that may be written to.
        own_code: the files of the user's own that it was made with, and that may be run.

    Raises:
        ValueError: no finished run, or no checkpoint, is there; or it names another file of
            somebody's own.
    """
    checkpoints = kept_checkpoints(run)
    argv = arguments_of(read_json(run / "results.json")["command"])
    # The folder may be another's: what it names is not run for that.
    trusted = {path.resolve() for path in own_code}
    files = list(dict.fromkeys(filter(None, map(file_in, argv))))
    if any(Path(file).resolve() not in trusted for file in files):
        raise ValueError(
            f"{run} was made with {', '.join(files)}. If that is yours and may be run, say "
            f"--own_code {shlex.join(files)}."
        )
    # The last of an argument counts.
    trainer = prepare(
        parse_arguments("", [*argv, "--output_dir", str(scratch), "--report_to", "none"])
    ).trainer
    _check_own_code(run, trainer.record()[OWN_CODE])
    pair = trainer.model.train().to(trainer.args.device)
    found: dict[int, dict[str, dict[str, Pull]]] = {}
    for step, checkpoint in watched(
        sorted(checkpoints.items()), "Measuring gradients", len(checkpoints), unit="checkpoint"
    ):
        trainer._load_from_checkpoint(str(checkpoint))
        pulls = defaultdict(lambda: defaultdict(list))
        for i, batch in enumerate(islice(trainer.get_train_dataloader(), batches)):
            seed_micro_batch(trainer.args.seed, step, i, 0)
            # of one step: what a method counts decides nothing in between
            pair.objective.micro_batch = i
            for name, terms in zip(
                pair.names, _terms(pair, batch["pixel_values"], batch["labels"]), strict=True
            ):
                weights = pair.objective.weights[pair.names.index(name)]
                for term, pull in _pulls(pair.students[name], terms.losses, weights).items():
                    pulls[name][term].append(pull)
        found[step] = {
            name: {
                term: Pull(*map(fmean, zip(*several, strict=True)))
                for term, several in by_term.items()
            }
            for name, by_term in pulls.items()
        }
    return found


def _check_own_code(run: Path, now: Mapping[str, str]) -> None:
    """ValueError if what of a run's method and students is from files of the user's own has changed
    since.
    """
    record = read_json(run / RECORD_FILE) if (run / RECORD_FILE).is_file() else {}
    was = record.get(OWN_CODE, {})
    if was != now:
        raise ValueError(
            f"{run} was made with other code ({', '.join(was.values()) or 'none of your own'}) "
            f"than there is now ({', '.join(now.values()) or 'none of your own'}). Give its files "
            "as they were."
        )


def _terms(pair: StudentPair, pixel_values: Tensor, labels: Tensor) -> list[StudentTerms]:
    outputs = [student(pixel_values) for student in pair.students.values()]
    terms = pair.objective(outputs, labels.long(), pair.objective.teacher_outputs(pixel_values))
    return [own.of_batch() for own in terms]


def _pulls(
    student: nn.Module, losses: dict[str, Tensor], weights: dict[str, float]
) -> dict[str, Pull]:
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    gradients = {}
    for term, loss in losses.items():
        found = torch.autograd.grad(
            weights[term] * loss, parameters, retain_graph=True, allow_unused=True
        )
        gradients[term] = _flat(found, parameters)
    own = gradients["ce"]
    return {
        term: Pull(
            norm=gradient.norm().item(),
            ratio=(gradient.norm() / own.norm()).item(),
            cosine=torch.cosine_similarity(gradient, own, dim=0).item(),
        )
        for term, gradient in gradients.items()
    }


def _flat(gradients: tuple[Tensor | None, ...], parameters: list[nn.Parameter]) -> Tensor:
    """One vector; float64, so that its norm is right whatever its length."""
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if g is None else g).flatten().double()
            for g, parameter in pairs
        ]
    )
