"""What the fields of a record are called on the command line."""

from collections.abc import Iterable, Mapping
from typing import Any


def by_flag(differences: Iterable[str], optimization: Mapping[str, Any]) -> list[str]:
    """Sentences as of `record.differences`, their fields named by the flags that set them, where
    one does.

    optimization: that part of a record, which tells whose optimizer is of which kind.
    """
    told = (difference.partition(": ") for difference in differences)
    return list(dict.fromkeys(f"{_flag(name, optimization)}: {what}" for name, _, what in told))


def _flag(name: str, optimization: Mapping[str, Any]) -> str:
    """`optimization.cnn.lr` -> `--cnn_lr`; a field that no flag sets as it is."""
    match name.split("."):
        case ["optimization", student, setting] if student in optimization:
            is_sgd = optimization[student]["momentum"] is not None
            return f"--{'cnn' if is_sgd else 'vit'}_{setting}"
        case ["method", "name"]:
            return "--method"
        case ["method", "class_weights", *_]:
            return "--class_weights"
        case ["training", "precision"]:
            return "--bf16 or --fp16"
        case ["data", _, "colours", *_]:
            return "--palette"
        case ["data", _, "label_map" | "shuffle_buffer" as option, *_]:
            return f"--{option}"
        case (
            ["training", option]
            | ["method", "options", option, *_]
            | ["data", _, "augmentation", option, *_]
        ):
            return f"--{option}"
    return name
