"""A run's record in words: what a student's card says, value by value."""

from collections.abc import Mapping
from typing import Any

PRECISIONS = {"no": "float32", "bf16": "bfloat16 autocast", "fp16": "float16 autocast"}  # by accelerate's names
OWN_CODE = "own_code"  # in a record: what of its method and students is from the user's own files, with their hashes
# Scores of an evaluation -> the Hub's names of metrics.
METRICS = {"mean_iou": ("mean_iou", "mIoU"), "overall_accuracy": ("accuracy", "pixel accuracy")}


def values_of_card(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the card of the student `name` says, by the names of its template."""
    own, sibling = record["students"][name], next(other for other in record["students"] if other != name)
    data, dataset = record["data"], record["data"]["dataset"]
    # Scores during training are of the same images as the final ones, if those are known.
    final = {split: scores for split, scores in record["scores"].items() if split.split("_")[0] != "eval"}
    scores = final or record["scores"]
    height, width = own["image_size"]
    return {
        "description": own["description"],
        "parameters": f"{own['parameters'] / 1e6:.2f} M",
        "sibling": sibling,
        "sibling_description": record["students"][sibling]["description"],
        "method": record["method"]["name"].lower(),
        "method_code": record.get(OWN_CODE, {}).get("method"),
        "student_code": record.get(OWN_CODE, {}).get(name),
        "dataset": dataset,
        "dataset_title": record["dataset_title"],
        "dataset_id": record["dataset_id"],
        "classes": data["classes"],
        "height": height,
        "width": width,
        "origin": own["origin"],
        "custom_code": own["custom_code"],
        "license": record["license"],
        "paper": record["paper"],
        "has_figure": record["has_figure"],
        "protocol": record["protocol"],
        "results": [
            {"split": _split_name(split), "metric": metric, "title": title, "value": values[f"{name}_{key}"]}
            for split, values in scores.items()
            for key, (metric, title) in METRICS.items()
        ],
        "scores": _score_rows(name, sibling, scores, record["control"]),
        "splits": [_split_name(split) for split in scores],
        "per_class": [
            [label, *(_percent(values.get(f"{name}_iou_{label}")) for values in scores.values())]
            for label in data["classes"]
        ],
        "training": _training(record, name),
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


def _training(record: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """What was recorded of the training, as (what, value)."""
    settings, training, train = record["optimization"][name], record["training"], record["data"]["train"] or {}
    kind = "AdamW" if settings["momentum"] is None else f"SGD with momentum {settings['momentum']:g}"
    multiplier = settings["head_lr_multiplier"]
    head = f" (head and projections {multiplier:g} times)" if multiplier != 1 else ""
    images = training["per_device_train_batch_size"] * record["processes"] * training["gradient_accumulation_steps"]
    steps, code = record["steps"], record.get(OWN_CODE, {})
    rows = {
        "method": code.get("method", record["method"]["name"]),
        "loss, by term and weight": _listed(record["method"]["weights"][name]),
        "options of the method": _listed(record["method"]["options"]),
        "started from": record["students"][name]["origin"],
        "student's code": code.get(name),
        "training images": str(train["images"]) if train else None,
        "steps": f"{steps} of {images} images" if steps else None,
        "optimizer": f"{kind}, weight decay {settings['weight_decay']:g}",
        "learning rate": f"{settings['lr']:g}{head}, to decay to 0 with power {settings['power']:g} after "
        f"{settings['warmup_steps']} steps of warm-up",
        "data's code": record.get("dataset_code"),
        "data": _listed(train.get("augmentation", {})),
        "recipe": record["recipe"],
        "seed": str(training["seed"]),
        "precision": PRECISIONS[training["precision"]],
        "hardware": record["machine"],
        "versions": _listed(record["versions"]),
        "command": f"`{record['command']}`" if record["command"] else None,
    }
    return [(key, value) for key, value in rows.items() if value]


def _listed(values: Mapping[str, Any]) -> str:
    texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())
