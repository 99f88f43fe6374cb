"""Which of a source's splits is trained on, validated on and tested on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..pairs import Incomplete

if TYPE_CHECKING:
    import datasets

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}


def named_splits(
    name: str,
    found: Mapping[str, "datasets.Dataset"],
    wanted: Mapping[str, str | None],
    share: float | None,
    needs_validation: bool,
) -> dict[str, "datasets.Dataset"]:
    """The splits under our names; a share of train to validate on if there is no split for that.

    ValueError names what is wrong; Incomplete if there is nothing to validate on.
    """
    splits = {}
    for split in SPLITS:
        source = _source(split, found, wanted)
        if source is None:
            continue
        if source not in found:
            raise ValueError(f"--{split}_split {source}: {name} has the splits {', '.join(found)}.")
        splits[split] = found[source]
    if "train" not in splits:
        raise ValueError(f"{name} has the splits {', '.join(found)}: give --train_split.")
    if "validation" in splits and share is not None:
        raise ValueError(
            f"--validation_share {share:g} has no effect: {name} has a split to validate on, "
            f"{_source('validation', found, wanted)}. Leave it out."
        )
    if "validation" not in splits and (share is not None or needs_validation):
        if share is None:
            raise Incomplete(
                f"{name} has nothing to validate on: its splits are {', '.join(found)}. Give "
                "--validation_split, or --validation_share 0.1 to hold out a tenth of the training "
                "images."
            )
        parts = splits["train"].train_test_split(share, seed=0)  # always the same images
        splits |= {"train": parts["train"], "validation": parts["test"]}
    if unlabelled := [
        split
        for split in ("train", "validation")
        if split in splits and "label" not in splits[split].column_names
    ]:
        raise ValueError(
            f"{name} has no masks in {' and '.join(unlabelled)}: no second column of images was "
            "found."
        )
    return splits


def without_use(found: Mapping[str, "datasets.Dataset"], wanted: Mapping[str, str | None]) -> str:
    """What is to be said of splits that have no use."""
    used = [_source(split, found, wanted) for split in SPLITS]
    unused = [f"{split} ({len(rows)})" for split, rows in found.items() if split not in used]
    return f"; splits without a use: {', '.join(unused)}" if unused else ""


def _source(split: str, found: Mapping[str, Any], wanted: Mapping[str, str | None]) -> str | None:
    """What one of our splits is called in the source, if it is there."""
    return wanted[split] or next(
        (t for usual in SPLITS[split] for t in found if t.lower() == usual), None
    )
