"""A run's record in words: what a student's card says, value by value."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.tables import counted, listed
from ..metrics.scores import Evaluation, evaluations_from_json

# by accelerate's names
PRECISIONS = {"no": "float32", "bf16": "bfloat16 autocast", "fp16": "float16 autocast"}
# in a record: what of its method and students is from the user's own files, with their hashes
OWN_CODE = "own_code"
# Scores of an evaluation that every run has -> the Hub's names of metrics.
HUB_METRICS = {"mean_iou": ("mean_iou", "mIoU"), "overall_accuracy": ("accuracy", "pixel accuracy")}


def values_of_card(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the card of the student `name` says, by the names of its template."""
    own = record["students"][name]
    siblings = [other for other in record["students"] if other != name]
    data, dataset = record["data"], record["data"]["dataset"]
    # Scores during training are of the same images as the final ones, if those are known.
    found = evaluations_from_json(record["scores"])
    control = evaluations_from_json(record["control"])
    scores = {split: of for split, of in found.items() if split.split("_")[0] != "eval"} or found
    height, width = own["image_size"]
    return {
        "description": own["description"],
        "parameters": f"{own['parameters'] / 1e6:.2f} M",
        "siblings": {other: record["students"][other]["description"] for other in siblings},
        "method": record["method"]["name"].lower(),
        "has_teachers": bool(record["method"].get("teachers")),
        "method_code": record.get(OWN_CODE, {}).get("method"),
        "student_code": record.get(OWN_CODE, {}).get(name),
        "dataset": dataset,
        "dataset_title": record["dataset_title"],
        "dataset_id": record["dataset_id"],
        # which records of older versions lack
        "classes": _with_colours(data["classes"], own.get("palette")),
        "height": height,
        "width": width,
        "origin": own["origin"],
        "custom_code": own["custom_code"],
        "license": record["license"],
        "paper": record["paper"],
        "has_figure": record["has_figure"],
        "protocol": record["protocol"],
        "results": [
            {
                "split": _split_name(split),
                "metric": metric,
                "title": title,
                "value": value,
            }
            for split, of in scores.items()
            for metric, title, value in _results(of, name)
        ],
        "other_metrics": list(_titles(scores).values()),
        "scores": _score_rows(name, siblings, scores, control),
        "splits": [_split_name(split) for split in scores],
        "per_class": [
            [label, *(_percent(of.students[name].ious.get(label)) for of in scores.values())]
            for label in data["classes"]
        ],
        "training": _training(record, name),
    }


def _with_colours(classes: Sequence[str], palette: Sequence[Sequence[int]] | None) -> list[str]:
    """`road (#804080)`, where the colours that the student keeps are known."""
    if palette is None:
        return list(classes)
    return [
        f"{name} (#{''.join(f'{c:02x}' for c in colour)})"
        for name, colour in zip(classes, palette, strict=True)
    ]


def _split_name(prefix: str) -> str:
    return "validation" if prefix == "eval" else prefix.removeprefix("eval_")  # of several by name


def _percent(share: float | None) -> str:
    return "does not occur" if share is None else f"{100 * share:.2f}"


def _results(evaluation: Evaluation, name: str) -> list[tuple[str, str, float]]:
    """The Hub's name, title and value of each score of a student that a card's metadata hold."""
    found = evaluation.students[name].flat()
    metrics = HUB_METRICS | {key: (key, title) for key, title in evaluation.titles.items()}
    return [(metric, title, found[key]) for key, (metric, title) in metrics.items() if key in found]


def _titles(scores: Mapping[str, Evaluation]) -> dict[str, str]:
    """Of metrics beside mIoU and the accuracies, of all splits."""
    return {key: title for of in scores.values() for key, title in of.titles.items()}


def _score_rows(
    name: str,
    siblings: Sequence[str],
    scores: Mapping[str, Evaluation],
    control: Mapping[str, Evaluation],
) -> list[list[str]]:
    """Rows of what, images, mIoU, pixel accuracy, mean accuracy and other metrics."""
    rows = []
    others = _titles(scores)
    for split, of in scores.items():
        sources = [
            (f"**{name}**", of.students[name]),
            *((f"its sibling {sibling}", of.students[sibling]) for sibling in siblings),
        ]
        if split in control:
            sources += [
                (f"{own} trained alone", control[split].students[own]) for own in (name, *siblings)
            ]
        for what, found in sources:
            shares = (found.mean_iou, found.overall_accuracy, found.mean_accuracy)
            shown = [*map(_percent, shares)]
            shown += [_percent(found.others[key]) if key in found.others else "-" for key in others]
            rows.append([f"{what}, {_split_name(split)}", str(of.images), *shown])
    return rows


def _training(record: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """What was recorded of the training, as (what, value)."""
    settings = record["optimization"][name]
    training = record["training"]
    train = record["data"]["train"] or {}
    kind = (
        "AdamW" if settings["momentum"] is None else f"SGD with momentum {settings['momentum']:g}"
    )
    multiplier = settings["head_lr_multiplier"]
    head = f" (head and projections {multiplier:g} times)" if multiplier != 1 else ""
    images = (
        training["per_device_train_batch_size"]
        * record["processes"]
        * training["gradient_accumulation_steps"]
    )
    steps, code = record["steps"], record.get(OWN_CODE, {})
    unusable = record.get("unusable", 0)  # which records of older versions lack
    rows = {
        "method": code.get("method", record["method"]["name"]),
        "loss, by term and weight": listed(record["method"]["weights"][name]),
        "class weights of the cross entropy": listed(
            dict(
                zip(
                    record["data"]["classes"],
                    record["method"].get("class_weights", []),
                    strict=False,
                )
            )
        ),
        "options of the method": listed(record["method"]["options"]),
        "equations": _equations(record),
        "started from": record["students"][name]["origin"],
        "student's code": code.get(name),
        "training images": f"{train['images']}{_held_out(record)}" if train else None,
        "left out of the data": f"{counted(unusable, 'file')} that cannot be used, or "
        f"{'lacks its' if unusable == 1 else 'lack their'} counterpart"
        if unusable
        else None,
        "part of the data": _part(record.get("parts", {})),
        "steps": f"{steps}{_of_planned(record)}, each of {images} "
        f"{'image' if images == 1 else 'images'}"
        if steps
        else None,
        "weights": weights_text(record.get("weights", {}).get(name), steps),
        "optimizer": f"{kind}, weight decay {settings['weight_decay']:g}",
        "learning rate": f"{settings['lr']:g}{head}, decaying to 0{_at_end(record)} with power "
        f"{settings['power']:g}{_warm_up(settings['warmup_steps'], steps)}"
        f"{_changed_length(record)}",
        "data's code": record.get("dataset_code"),
        "metrics' code": record.get("metrics_code"),
        "augmentation": _augmentation(train.get("augmentation", {})),
        "recipe": record["recipe"],
        "seed": str(training["seed"]),
        "precision": PRECISIONS[training["precision"]],
        "hardware": record["machine"],
        "versions": listed(record["versions"]),
        "command": f"`{record['command']}`" if record["command"] else None,
    }
    return [(key, value) for key, value in rows.items() if value]


def _equations(record: Mapping[str, Any]) -> str | None:
    """Whether the method's equations were those that its paper prints; None where that is not
    recorded, or its options leave nothing open.
    """
    options, printed = record["method"]["options"], record.get("as_printed")
    if not printed:
        return None
    others = {name: value for name, value in printed.items() if options[name] != value}
    if not others:
        return "as the paper prints them"
    own = {name: options[name] for name in others}
    return f"not as the paper prints them: {listed(own)} (printed: {listed(others)})"


def _held_out(record: Mapping[str, Any]) -> str:
    """Where the validation images are from, if they had no split of their own."""
    share = record.get("validation_share")  # which older versions did not record
    if share is None:
        return ""
    number = (record["data"]["validation"] or {}).get("images")
    return (
        f"; the {number} validation images, a share of {share:g}, were held out of the same split"
    )


def _part(parts: Mapping[str, int | None]) -> str | None:
    """What is to be said where images were left out by number."""
    told = []
    if parts.get("train") is not None:
        told.append(f"at most {parts['train']} training images")
    if parts.get("scored") is not None:
        told.append(
            f"at most {parts['scored']} of each split that is scored: its numbers are no "
            "benchmark's"
        )
    return ", and ".join(told) or None


def _is_cut_short(record: Mapping[str, Any]) -> bool:
    # the latter older versions lack
    return 0 < (record["steps"] or 0) < record.get("planned_steps", 0)


def _of_planned(record: Mapping[str, Any]) -> str:
    return f" of {record['planned_steps']} that were planned" if _is_cut_short(record) else ""


def _at_end(record: Mapping[str, Any]) -> str:
    """Where the rate would have come to 0, if the run ended before."""
    return f" at step {record['planned_steps']}, not reached," if _is_cut_short(record) else ""


def _changed_length(record: Mapping[str, Any]) -> str:
    """What is to be said of a run that went on from a checkpoint with another length."""
    changed = record.get("earlier_lengths", [])  # which older versions lack
    told = [f"over {planned} steps until step {step}" for step, planned in changed]
    return f"; {', then '.join(told)}, and then over {record['planned_steps']}" if told else ""


def _warm_up(warmup: int, steps: int) -> str:
    """What is to be said of so many steps of linear warm-up in a run of `steps`, 0 if unknown."""
    if not warmup:
        return ""
    if 0 < steps <= warmup:
        return (
            f"; the run ended in step {steps} of a linear warm-up of {warmup}, before the rate had "
            "risen to that"
        )
    return f", after a linear warm-up of {warmup} {'step' if warmup == 1 else 'steps'}"


def _augmentation(told: Mapping[str, Any]) -> str:
    """What happened to training images, as `ctcl_hf.training.record` wrote it down."""
    if told.keys() != {"image_size", "crop_size", "scale_range", "photometric"}:
        return listed(told)
    size, crop = ("x".join(map(str, told[name])) for name in ("image_size", "crop_size"))
    lowest, highest = told["scale_range"]
    jitter = ", colours distorted" if told["photometric"] else ""
    return (
        f"fitted into {size} pixels (height x width), times {lowest:g} to {highest:g}, a crop of "
        f"{crop}, flipped sideways or not{jitter}"
    )


def weights_text(weights: Mapping[str, Any] | None, steps: int) -> str | None:
    """Which step a student's weights are of, and how that was chosen; None if it was not recorded.

    steps: that were made in all.
    """
    if weights is None or not steps:
        return None
    chosen = weights["chosen"]
    if chosen is None:
        return f"of the last step, {weights['step']}"
    title = HUB_METRICS.get(chosen["by"], (None, chosen["by"]))[1]
    return (
        f"of step {weights['step']} of {steps}, chosen by {title} on validation as the best of "
        f"{chosen['evaluations']} evaluations, so that its score there flatters it"
    )
