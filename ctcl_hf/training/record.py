"""What a run records of itself, as raw values: what its cards are rendered from, and what a resumed
run must share.
"""

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import TrainerCallback

from .. import __version__
from ..arguments.training import CTCLArguments
from ..base.files import read_json
from ..base.registry import origin_of
from ..data import SegmentationSamples, TrainingTransform
from ..data.fingerprint import fingerprint
from ..data.streaming import StreamedRows
from ..methods.pair import StudentPair
from ..metrics.scores import Evaluation
from ..publishing.card import RECORD_FILE, RECORD_FORMAT, write_record
from ..publishing.rows import OWN_CODE
from ..students import Student
from ..students.teacher import Teacher
from .optim import settings_for

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "timm")
# The parts of a record that a resumed run must share. Its length may change, and the number of its
# processes.
FIXED = ("method", "data", "optimization", "training", OWN_CODE)


@dataclass
class RunFacts:
    """What cards may say of a run beyond what its trainer knows. What is None was not recorded, and
    is not said.

    dataset: its name.
    dataset_title: what it is called in a sentence, where its name is not enough. Default: its name
        in quotes.
    dataset_id: "user/name", if it comes from the Hub, to which the card then links.
    control: by split, scores of a run that trained the same students alone, as
        `CTCLTrainer.scores`.
    license: an identifier of the Hub's; "unknown" where the publisher has not chosen one.
    validation_share: of the training images, those that are held out to validate on, where there is
        no split for that.
    unusable: how many files of the data were left out for what is wrong with them.
    parts: of "train" and "scored" images, at most how many were taken of a split, if not all.
    untaught: classes of which no training mask has a pixel.
    dataset_code: the builder of the user's own that read it, and a hash of its file.
    metrics_code: metrics of the user's own that it is scored by, and hashes of their files.
    figure: file of a picture that each card shows.
    protocol: how the scores were taken, in words.
    """

    dataset: str | None = None
    dataset_title: str | None = None
    dataset_id: str | None = None
    validation_share: float | None = None
    unusable: int = 0
    parts: Mapping[str, int | None] = field(default_factory=dict)
    untaught: Sequence[str] = ()
    dataset_code: str | None = None
    metrics_code: str | None = None
    recipe: str | None = None
    command: str | None = None
    control: Mapping[str, Evaluation] | None = None
    license: str = "unknown"
    figure: Path | None = None
    protocol: str | None = None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    own = {"python": platform.python_version(), "ctcl_hf": __version__}
    return own | {name: version(name) for name in PACKAGES}


def machine(device: torch.device, processes: int) -> str:
    """What so many processes run on."""
    if device.type == "cuda":
        return f"{processes} x {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    each = f"{threads} {'thread' if threads == 1 else 'threads'}"
    what = each if processes == 1 else f"{processes} processes of {each} each"
    return f"{what}, {platform.machine()} {device.type.upper()}"


# ---- what is recorded ----


def record(
    pair: StudentPair,
    args: CTCLArguments,
    inputs: Mapping[str, Any],
    facts: RunFacts,
    steps: int = 0,
    scores: Mapping[str, Evaluation] | None = None,
    weights: Mapping[str, Mapping[str, Any]] | None = None,
    planned_steps: int = 0,
    earlier_lengths: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """Everything that is known of a run, as JSON holds it.

    Args:
        inputs: see `record_of_inputs`.
        steps: optimizer steps that were made.
        scores: by split, of these very weights.
        weights: by student, the "step" that its weights are of, and "chosen": None of the last one,
            else "by" what score, of how many "evaluations", they were the best.
        planned_steps: that were to be made, over which learning rates decay.
        earlier_lengths: where the run went on with another length: at which step, and how many
            were planned until then.
    """
    recorded = {
        "format": RECORD_FORMAT,
        "method": _method(pair) | {"teachers": inputs["teachers"]},
        "data": {"dataset": facts.dataset, **inputs["data"]},
        "optimization": {
            name: asdict(settings) for name, settings in settings_for(pair, args).items()
        },
        "training": {
            "seed": args.seed,
            "data_seed": args.seed if args.data_seed is None else args.data_seed,
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
            "dataloader_drop_last": args.dataloader_drop_last,
            "max_grad_norm": args.max_grad_norm,
            "precision": args.mixed_precision,
        },
        OWN_CODE: _own_code(pair),
        "titles": pair.objective.logged(),
        "paper": pair.objective.PAPER and pair.objective.PAPER._asdict(),
        "as_printed": dict(pair.objective.options.AS_PRINTED),
        "students": {name: _student(student) for name, student in pair.students.items()},
        "dataset_title": facts.dataset_title or (facts.dataset and f"`{facts.dataset}`"),
        "dataset_id": facts.dataset_id,
        "validation_share": facts.validation_share,
        "unusable": facts.unusable,
        "parts": dict(facts.parts),
        "untaught": facts.untaught,
        "dataset_code": facts.dataset_code,
        "metrics_code": facts.metrics_code,
        "recipe": facts.recipe,
        "command": facts.command,
        "license": facts.license,
        "tags": pair.model_tags or [],
        "protocol": facts.protocol,
        "has_figure": facts.figure is not None,
        "processes": args.world_size,
        "machine": machine(args.device, args.world_size),
        "versions": versions(),
        "steps": steps,
        "planned_steps": planned_steps,
        "earlier_lengths": earlier_lengths,
        "weights": weights or {},
        "scores": {split: of.to_json() for split, of in (scores or {}).items()},
        "control": {split: of.to_json() for split, of in (facts.control or {}).items()},
    }
    return json.loads(json.dumps(recorded))


def _method(pair: StudentPair) -> dict[str, Any]:
    objective = pair.objective
    weights = objective.class_weights
    # Left out where there are none, so that checkpoints from before there were any are resumed.
    of_classes = (
        {}
        if weights is None
        else {"class_weights": [round(weight, 6) for weight in weights.tolist()]}
    )
    return {
        "name": type(objective).__name__,
        "options": objective.options.values(),
        "weights": dict(zip(pair.names, objective.weights, strict=True)),
        **of_classes,
    }


def _own_code(pair: StudentPair) -> dict[str, str]:
    """Of the method and of each student, what of it came from a file of the user's own, with the
    file's hash.

    What such a file imports is not hashed. Nor are data sets' here: what they yield has a
    fingerprint.
    """
    kinds = {"method": type(pair.objective)} | {
        name: type(student) for name, student in pair.students.items()
    }
    return {what: origin for what, kind in kinds.items() if (origin := origin_of(kind)) is not None}


def _student(student: Student) -> dict[str, Any]:
    return {
        "description": student.description,
        "parameters": sum(parameter.numel() for parameter in student.model.parameters()),
        "image_size": [
            student.image_processor.size["height"],
            student.image_processor.size["width"],
        ],
        "origin": student.origin,
        "custom_code": bool(type(student.model)._auto_class),
        "palette": student.config.to_dict().get("palette"),
    }


def hash_of_weights(module: nn.Module) -> str:
    """16 hexadecimal digits of a module's parameters and buffers."""
    digest = sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def record_of_inputs(pair: StudentPair, train: Dataset | None, evaluation: Any) -> dict[str, Any]:
    """The part of a record that takes a while: "data", what a run trains on and observes, and
    "teachers", as hashes.

    Of data that are no `SegmentationSamples` it knows the kind and the number of images. What
    scores alone depend on is not part of it.
    """
    data = {
        "classes": next(iter(pair.students.values())).class_names,
        "ignore_index": pair.objective.ignore_index,
        "train": None if train is None else _samples(train, with_transform=True),
        "validation": None if evaluation is None else _samples(evaluation, with_transform=False),
    }
    return {
        "data": data,
        "teachers": [_teacher(pair.objective.teachers[i]) for i in pair.objective.teacher_of],
    }


def _teacher(teacher: Teacher) -> str | dict[str, Any]:
    """What a student learns from: a hash of weights, and where classes are not its own, of each of
    the students' those of the teacher's that are it.
    """
    weights = hash_of_weights(teacher.model)
    if teacher.members is None:
        return weights
    return {"weights": weights, "classes": [list(own) for own in teacher.members]}


def _samples(dataset: Any, with_transform: bool) -> dict[str, Any]:
    if isinstance(dataset, dict):
        return {name: _samples(one, with_transform) for name, one in dataset.items()}
    if not isinstance(dataset, SegmentationSamples):
        return {"kind": type(dataset).__name__, "images": len(dataset)}
    rows = dataset.rows
    told = {
        "images": len(dataset),
        "fingerprint": fingerprint(dataset),
        "shuffle_buffer": rows.shuffle_buffer if isinstance(rows, StreamedRows) else None,
        "label_map": {str(old): new for old, new in dataset.label_map.items()},
        "colours": {
            ",".join(map(str, colour)): class_id for colour, class_id in dataset.colours.items()
        },
    }
    if with_transform:
        told["augmentation"] = _augmentation(dataset.transform)
    return told


def _augmentation(transform: Any) -> dict[str, Any]:
    if not isinstance(transform, TrainingTransform):
        return {"kind": type(transform).__name__}
    values = asdict(transform)
    return {name: list(of) if isinstance(of, tuple) else of for name, of in values.items()}


class RecordAtStart(TrainerCallback):
    """Writes what is known of a run into its output folder before the first step, when nothing
    refuses it any more.
    """

    def __init__(self, record: Callable[[], dict[str, Any]]):
        self.record = record

    def on_train_begin(self, args, state, control, **kwargs):
        if args.should_save:
            write_record(Path(args.output_dir), self.record())


# ---- what a resumed run must share ----


def differences(checkpoint: Path, now: Mapping[str, Any]) -> list[str]:
    """Each field that a checkpoint's run must not have changed: its name, its value before and its
    value now.

    ValueError if the checkpoint has no record that can be compared.
    """
    begin_anew = "Start another run from its students: --students A B, with their folders."
    path = checkpoint / RECORD_FILE
    if not path.is_file():
        raise ValueError(
            f"{checkpoint} holds no {RECORD_FILE}: the version of ctcl_hf that wrote it did not "
            "record what a run must not change, so that nothing can go on from it exactly. "
            f"{begin_anew}"
        )
    before = read_json(path)
    if before.get("format") != RECORD_FORMAT:
        raise ValueError(
            f"{path} is of format {before.get('format')}, and this version of ctcl_hf reads format "
            f"{RECORD_FORMAT}. {begin_anew}"
        )
    # Before there could be own code, there was no such part.
    return [
        found for part in FIXED for found in _differences(part, before.get(part, {}), now[part])
    ]


_ABSENT = "not there"


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(
                f"{name}.{key}", before.get(key, _ABSENT), now.get(key, _ABSENT)
            )
    elif before != now:
        yield f"{name}: {before} before, {now} now"
