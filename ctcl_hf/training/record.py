"""What a run records of itself: what its students' cards say, and nothing but that."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..arguments.training import CTCLArguments
from ..methods.pair import StudentPair
from .optim import settings_for

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "timm")
PRECISIONS = {"no": "float32", "bf16": "bfloat16 autocast", "fp16": "float16 autocast"}  # by accelerate's names
# Scores of an evaluation -> the Hub's names of metrics.
METRICS = {"mean_iou": ("mean_iou", "mIoU"), "overall_accuracy": ("accuracy", "pixel accuracy")}


@dataclass
class RunFacts:
    """What cards may say of a run beyond what its trainer knows. What is None was not recorded, and is not said.

    dataset: its name.
    dataset_title: what it is called in a sentence, where its name is not enough.
    dataset_id: "user/name", if it comes from the Hub, to which the card then links.
    training_images: how many there are.
    data, method: options by name, of the data's augmentation and of the method.
    control: scores of a run that trained the same students alone, as `CTCLTrainer.scores`.
    license: an identifier of the Hub's; "unknown" where the publisher has not chosen one.
    figure: file of a picture that each card shows.
    protocol: how the scores were taken, in words.
    """

    dataset: str | None = None
    dataset_title: str | None = None
    dataset_id: str | None = None
    training_images: int | None = None
    data: Mapping[str, Any] | None = None
    method: Mapping[str, Any] | None = None
    recipe: str | None = None
    command: str | None = None
    control: Mapping[str, Mapping[str, float]] | None = None
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
    return f"{processes} x {torch.get_num_threads()} threads of a {platform.machine()} {device.type.upper()}"


def record(
    pair: StudentPair, args: CTCLArguments, steps: int, scores: Mapping[str, Mapping[str, float]], facts: RunFacts
) -> dict[str, dict[str, Any]]:
    """What the card of each student will say, by the student's name, as JSON holds it.

    Args:
        steps: optimizer steps behind the weights.
        scores: by split, then by "STUDENT_mean_iou", "STUDENT_iou_CLASS", ... and "images": of these very weights.
    """
    # Scores during training are of the same images as the final ones, if those are known.
    final = {split: values for split, values in scores.items() if split != "eval" and not split.startswith("eval_")}
    scores = final or scores
    return {name: _record(name, pair, args, steps, scores, facts) for name in pair.names}


def _record(
    name: str, pair: StudentPair, args: CTCLArguments, steps: int, scores: Mapping, facts: RunFacts
) -> dict[str, Any]:
    student, sibling = pair.students[name], next(other for other in pair.names if other != name)
    classes = [student.config.id2label[i] for i in range(student.config.num_labels)]
    return {
        "description": student.description,
        "parameters": f"{sum(parameter.numel() for parameter in student.model.parameters()) / 1e6:.2f} M",
        "sibling": sibling,
        "sibling_description": pair.students[sibling].description,
        "method": type(pair.objective).__name__.lower(),
        "dataset": facts.dataset,
        "dataset_title": facts.dataset_title or facts.dataset,
        "dataset_id": facts.dataset_id,
        "classes": classes,
        "height": student.image_processor.size["height"],
        "width": student.image_processor.size["width"],
        "origin": student.origin,
        "custom_code": bool(type(student.model)._auto_class),
        "license": facts.license,
        "has_figure": facts.figure is not None,
        "protocol": facts.protocol,
        "results": [
            {"split": _split_name(split), "metric": metric, "title": title, "value": values[f"{name}_{key}"]}
            for split, values in scores.items()
            for key, (metric, title) in METRICS.items()
        ],
        "scores": _score_rows(name, sibling, scores, facts.control or {}),
        "splits": [_split_name(split) for split in scores],
        "per_class": [[label, *(_percent(v.get(f"{name}_iou_{label}")) for v in scores.values())] for label in classes],
        "training": _training(name, pair, args, steps, facts),
    }


def _split_name(prefix: str) -> str:
    return "validation" if prefix == "eval" else prefix.removeprefix("eval_")  # of several by name


def _percent(share: float | None) -> str:
    return "does not occur" if share is None or share != share else f"{100 * share:.2f}"


def _score_rows(name: str, sibling: str, scores: Mapping, control: Mapping) -> list[list[str]]:
    """Rows of what, images, mIoU, pixel accuracy and mean accuracy."""
    rows = []
    for split, values in scores.items():
        sources = [(f"**{name}**", name, values), (f"its sibling {sibling}", sibling, values)]
        if split in control:
            sources += [(f"{own} trained alone", own, control[split]) for own in (name, sibling)]
        for what, own, found in sources:
            shown = [_percent(found[f"{own}_{key}"]) for key in ("mean_iou", "overall_accuracy", "mean_accuracy")]
            rows.append([f"{what}, {_split_name(split)}", str(values["images"]), *shown])
    return rows


def _training(name: str, pair: StudentPair, args: CTCLArguments, steps: int, facts: RunFacts) -> list[tuple[str, str]]:
    """What was recorded of the training, as (what, value)."""
    settings = settings_for(pair, args)[name]
    kind = "AdamW" if settings.momentum is None else f"SGD with momentum {settings.momentum:g}"
    head = f" (head and projections {settings.head_lr_multiplier:g} times)" if settings.head_lr_multiplier != 1 else ""
    images = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    weights = pair.objective.weights[pair.names.index(name)]
    rows = {
        "method": type(pair.objective).__name__,
        "loss, by term and weight": ", ".join(f"{term} {weight:g}" for term, weight in weights.items()),
        "options of the method": _listed(facts.method),
        "started from": pair.students[name].origin,
        "training images": facts.training_images and str(facts.training_images),
        "steps": f"{steps} of {images} images" if steps else None,
        "optimizer": f"{kind}, weight decay {settings.weight_decay:g}",
        "learning rate": f"{settings.lr:g}{head}, to decay to 0 with power {settings.power:g} after "
        f"{settings.warmup_steps} steps of warm-up",
        "data": _listed(facts.data),
        "recipe": facts.recipe,
        "seed": str(args.seed),
        "precision": PRECISIONS[args.mixed_precision],
        "hardware": machine(args.device, args.world_size),
        "versions": ", ".join(f"{package} {number}" for package, number in versions().items()),
        "command": f"`{facts.command}`" if facts.command else None,
    }
    return [(key, value) for key, value in rows.items() if value]


def _listed(options: Mapping[str, Any] | None) -> str | None:
    return options and ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
