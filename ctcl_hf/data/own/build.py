"""Anyone's data: a data set on the Hub, one that `ctcl-hf prepare` wrote, or a folder of images and masks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..masks import IGNORE_INDEX
from ..segmentation import SegmentationData
from ..streaming import StreamedRows
from .classes import (
    CLASSES_FILE,
    PALETTE_FILE,
    drawn_colours,
    ids_of_colours,
    read_class_names,
    read_json,
    read_palette,
)
from .sources import file_beside, folder_splits, hub_splits, streams

if TYPE_CHECKING:
    import datasets

BENCHMARK_FILE = "benchmark.json"  # what `prepare.py` keeps of a benchmark: how it is scored and handed in
SPLITS = {"train": ("train", "training"), "validation": ("validation", "val", "valid", "dev"), "test": ("test",)}
SIZES_SEEN = 50  # images whose sizes the usual one is taken from
LARGEST_SIDE = 1024  # of the usual size, in pixels


def build_own(
    name: str,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    train_split: str | None = None,
    validation_split: str | None = None,
    test_split: str | None = None,
    validation_share: float | None = None,
    class_names: Sequence[str] | None = None,
    palette: str | None = None,
    label_map: Mapping[int, int] | None = None,
    ignore_index: int | None = None,
    reduce_labels: bool = False,
    streaming: bool = False,
    shuffle_buffer: int = 1000,
) -> SegmentationData:
    """Images and masks of any source as `SegmentationData`.

    Args:
        name: a Hub id ("user/name"); a folder of Parquet files; or a folder of images with masks of the same names, in
            train/images/ and train/masks/ or in images/train/ and masks/train/, and likewise validation and test.
        image_column, label_column: columns of images and of masks; found by their names if there is no doubt.
        train_split, validation_split, test_split: their names in the source; found if they are usual ones.
        validation_share: share of the training images to validate on, where there is no such split.
        class_names: names of classes 0..K-1, or one file: `id2label.json` or a text file with a line for each. Default:
            the names of the palette, or those that lie with the data as `id2label.json`.
        palette: a file `palette.json` with each class's colour: to draw it, and to read masks of colours. Default: one
            that lies with the data, or drawn colours.
        label_map: ids in the masks that stand for other ids; 255 is ignored.
        ignore_index: the id in the masks that is not scored, beside 255.
        reduce_labels: id 0 in the masks is not scored, and ids 1..K are classes 0..K-1.
        streaming: read Parquet files where they lie, see `StreamedRows`.
        shuffle_buffer: images that are shuffled together when streaming.

    Raises:
        ValueError: what is missing, ambiguous or contradictory, and the argument that mends it.
        OSError: a data set that cannot be had from the Hub.
    """
    folder = Path(name) if Path(name).is_dir() else None
    if streaming:
        if validation_share is not None:
            raise ValueError("--validation_share cannot hold out images of a stream: give it a split of its own.")
        found = streams(name, image_column, label_column, shuffle_buffer)
    elif folder is not None and not list(folder.rglob("*.parquet")):
        found = folder_splits(folder)
    else:
        found = hub_splits(name, image_column, label_column)
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    splits = _named_splits(name, found, wanted, validation_share)
    colours = read_palette(palette or file_beside(name, PALETTE_FILE))
    names = read_class_names(class_names or file_beside(name, CLASSES_FILE), colours, name)
    if reduce_labels and (label_map or ignore_index is not None):
        raise ValueError("--reduce_labels says what id 0 is: leave --label_map and --ignore_index out.")
    mapped = dict(label_map or {})
    if ignore_index is not None:
        mapped[ignore_index] = IGNORE_INDEX
    if reduce_labels:
        mapped = {0: IGNORE_INDEX} | {i + 1: i for i in range(len(names))}
    return SegmentationData(
        name=Path(name).resolve().name if folder is not None else name.rpartition("/")[2],
        title=None if folder is not None else name,
        hub_id=None if folder is not None else name,
        splits=splits,
        class_names=names,
        palette=drawn_colours(names, colours),
        label_map=mapped,
        colours=ids_of_colours(colours, names),
        source=f"from {name}",
        **_benchmark(file_beside(name, BENCHMARK_FILE), splits["train"]),
    )


def _benchmark(path: str | None, train: "datasets.Dataset") -> dict[str, Any]:
    """Fields of `SegmentationData` that a prepared benchmark has kept; of other data the usual size alone."""
    if path is None:
        return {"image_size": usual_size(train)}
    told = read_json(path, BENCHMARK_FILE)
    ids = told["prediction_ids"]
    return {
        "image_size": tuple(told["image_size"]),
        "protocol": told["protocol"],
        "prediction_ids": None if ids is None else tuple(ids),
    }


def usual_size(rows: "datasets.Dataset") -> tuple[int, int]:
    """(height, width) that most of some evenly spaced images have, made smaller if a side is over LARGEST_SIDE."""
    # A stream gives the first ones soonest.
    step = 1 if isinstance(rows, StreamedRows) else max(len(rows) // SIZES_SEEN, 1)
    sizes: Counter[tuple[int, int]] = Counter()
    for index in range(0, len(rows), step)[:SIZES_SEEN]:
        try:
            width, height = rows[index]["image"].size
        except (OSError, SyntaxError, ValueError):
            continue  # the check of all files will name it
        sizes[height, width] += 1
    if not sizes:
        raise ValueError("None of the training images could be read.")
    height, width = sizes.most_common(1)[0][0]
    scale = min(LARGEST_SIDE / max(height, width), 1)
    return round(height * scale), round(width * scale)


def _named_splits(
    name: str, found: Mapping[str, "datasets.Dataset"], wanted: Mapping[str, str | None], share: float | None
) -> dict[str, "datasets.Dataset"]:
    """The splits under our names; a share of train to validate on if there is no split for that."""
    splits = {}
    for split, usual in SPLITS.items():
        source = wanted[split] or next((title for title in usual if title in found), None)
        if source is None:
            continue
        if source not in found:
            raise ValueError(f"--{split}_split {source}: {name} has the splits {', '.join(found)}.")
        splits[split] = found[source]
    if "train" not in splits:
        raise ValueError(f"{name} has the splits {', '.join(found)}: give --train_split.")
    if "validation" not in splits:
        if share is None:
            raise ValueError(
                f"{name} has nothing to validate on: its splits are {', '.join(found)}. Give --validation_split, or "
                "--validation_share 0.1 to hold out a tenth of the training images."
            )
        parts = splits["train"].train_test_split(share, seed=0)  # always the same images
        splits |= {"train": parts["train"], "validation": parts["test"]}
    if unlabelled := [split for split in ("train", "validation") if "label" not in splits[split].column_names]:
        raise ValueError(f"{name} has no masks in {' and '.join(unlabelled)}: no second column of images was found.")
    return splits
