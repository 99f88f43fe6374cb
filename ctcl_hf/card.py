"""Students' model cards: what a run records of itself, and the cards rendered from that and from nothing else."""

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants

from . import __version__
from .hub import Repository
from .pair import StudentPair
from .training_arguments import CTCLArguments

RECORD_FILE = "cards.json"  # beside the students' folders
FIGURE_FILE = "figure.png"  # beside each card
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "timm")
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


# ---- recording ----


def record(
    pair: StudentPair, args: CTCLArguments, steps: int, scores: Mapping[str, Mapping[str, float]], facts: RunFacts
) -> dict[str, dict[str, Any]]:
    """What the card of each student will say, by the student's name, as JSON holds it.

    Args:
        steps: optimizer steps behind the weights.
        scores: by split, then by "STUDENT_mean_iou", "STUDENT_iou_CLASS", ... and "images": of these very weights.
    """
    # Scores during training are of the same images as the final ones, if those are known.
    scores = {split: values for split, values in scores.items() if split != "eval" or len(scores) == 1}
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
    return "validation" if prefix == "eval" else prefix


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
    settings = args.optimizer_settings(pair)[name]
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
        "precision": "bfloat16 autocast" if args.bf16 else "float16 autocast" if args.fp16 else "float32",
        "hardware": machine(args.device, args.world_size),
        "versions": ", ".join(f"{package} {number}" for package, number in versions().items()),
        "command": f"`{facts.command}`" if facts.command else None,
    }
    return [(key, value) for key, value in rows.items() if value]


def _listed(options: Mapping[str, Any] | None) -> str | None:
    return options and ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)


# ---- rendering ----


def render(recorded: Mapping[str, Any], name: str, repositories: Mapping[str, Repository]) -> ModelCard:
    """The card of the student NAME, linked to where its sibling is published too."""
    recorded = _on_one_line(recorded)
    own, sibling = repositories.get(name), repositories.get(recorded["sibling"])
    title = own.repo_id.split("/")[1] if own else f"{recorded['method']}-{recorded['dataset'] or 'student'}-{name}"
    link = recorded["sibling_description"]
    dataset, origin = recorded["dataset"], recorded["origin"]
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=recorded["dataset_id"] or dataset,
            dataset_name=dataset,
            dataset_split=result["split"],
            metric_type=result["metric"],
            metric_name=result["title"],
            metric_value=result["value"],
        )
        for result in recorded["results"]
        if dataset  # the Hub wants to know what a score is of
    ]
    card_data = ModelCardData(
        pipeline_tag="image-segmentation",
        library_name="transformers",
        license=recorded["license"],
        datasets=[recorded["dataset_id"]] if recorded["dataset_id"] else None,
        base_model=origin if origin and "/" in origin else None,
        tags=["semantic-segmentation", "knowledge-distillation", "ctcl_hf", recorded["method"]],
        model_name=title,
        eval_results=results or None,
    )
    tables = {
        "scores": [[_cell(text) for text in row] for row in recorded["scores"]],
        "splits": [_cell(split) for split in recorded["splits"]],
        "per_class": [[_cell(text) for text in row] for row in recorded["per_class"]],
        "training": [[_cell(text) for text in row] for row in recorded["training"]],
    }
    apart = ("results", "origin", "has_figure", "dataset_title", "dataset_id", *tables)
    return ModelCard.from_template(
        card_data,
        template_str=files("ctcl_hf.model_cards").joinpath("student.md").read_text(),
        title=title,
        model_id=own.repo_id if own else "PATH/TO/THIS/FOLDER",
        sibling_link=f"[{link}]({constants.ENDPOINT}/{sibling.repo_id})" if sibling else link,
        figure=FIGURE_FILE if recorded["has_figure"] else None,
        dataset_title=recorded["dataset_title"] or "",
        **tables,
        **{key: value for key, value in recorded.items() if key not in apart},
    )


def _on_one_line(value: Any) -> Any:
    """The same with every text on one line: a break (U+0085 is one to YAML) would cut tables and change metadata."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, Mapping):
        return {key: _on_one_line(inner) for key, inner in value.items()}
    return [_on_one_line(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _cell(text: str) -> str:
    """As it stands in a Markdown table, which a bar would cut."""
    return text.replace("|", "\\|")


def write_cards(
    folder: Path, recorded: Mapping[str, Mapping], repositories: Mapping[str, Repository], figure: Path | None = None
) -> None:
    """Writes README.md, and the figure, into the folder of each student, and what they were rendered from beside."""
    (folder / RECORD_FILE).write_text(json.dumps(recorded, indent=2))
    for name, own in recorded.items():
        render(own, name, repositories).save(folder / name / "README.md")
        if figure is not None:
            shutil.copyfile(figure, folder / name / FIGURE_FILE)


def default_name(folder: Path) -> str:
    """METHOD-DATASET of the run in a folder, to name repositories after; the folder's own name if it recorded none."""
    path = folder / RECORD_FILE
    recorded = next(iter(json.loads(path.read_text()).values())) if path.is_file() else {}
    return f"{recorded['method']}-{recorded['dataset']}" if recorded.get("dataset") else folder.resolve().name


def rewrite_cards(folder: Path, repositories: Mapping[str, Repository]) -> None:
    """Renders the cards in a run's folder again, for other repositories. A folder without a record is left alone."""
    path = folder / RECORD_FILE
    if path.is_file():
        write_cards(folder, json.loads(path.read_text()), repositories)
