"""Anyone's data: a data set on the Hub, one that `examples/prepare.py` wrote, or a folder of images and masks."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .masks import IGNORE_INDEX, Colour
from .pairs import image_files, paired_rows
from .palettes import palette_for
from .segmentation import SegmentationData
from .streaming import StreamedRows

if TYPE_CHECKING:
    import datasets

CLASSES_FILE = "id2label.json"  # {"0": "road", "1": "car"}
PALETTE_FILE = "palette.json"  # {"road": [128, 64, 128], "car": [[64, 0, 128], [0, 0, 142]], "ignored": [0, 0, 0]}
BENCHMARK_FILE = "benchmark.json"  # what `prepare.py` keeps of a benchmark: how it is scored and handed in
IGNORED = "ignored"  # what a palette calls the colours that are not scored
IMAGE_COLUMNS = ("image", "img", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "mask", "annotation", "segmentation", "semantic_mask", "segmentation_mask")
SPLITS = {"train": ("train", "training"), "validation": ("validation", "val", "valid", "dev"), "test": ("test",)}
MASK_FOLDERS = ("masks", "labels", "annotations")
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
        found = _streams(name, image_column, label_column, shuffle_buffer)
    elif folder is not None and not list(folder.rglob("*.parquet")):
        found = _folder_splits(folder)
    else:
        found = {
            split: _two_columns(rows, name, image_column, label_column) for split, rows in _hub_splits(name).items()
        }
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    splits = _named_splits(name, found, wanted, validation_share)
    colours = _palette(palette or _beside(name, PALETTE_FILE))
    names = _class_names(class_names or _beside(name, CLASSES_FILE), colours, name)
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
        splits=splits,
        class_names=names,
        palette=_drawn(names, colours),
        label_map=mapped,
        colours=_ids_of(colours, names),
        source=f"from {name}",
        **_benchmark(_beside(name, BENCHMARK_FILE), splits["train"]),
    )


def _benchmark(path: str | None, train: "datasets.Dataset") -> dict[str, Any]:
    """Fields of `SegmentationData` that a prepared benchmark has kept; of other data the usual size alone."""
    if path is None:
        return {"image_size": usual_size(train)}
    told = _json(path, BENCHMARK_FILE)
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


def _local_parquet(folder: str) -> "datasets.DatasetDict":
    """The splits of a folder, which `datasets` tells from the names of its files.

    Not by the folder's name: where its card lists the files, `datasets` would take another folder of that name, or an
    older state of this one, from its cache.
    """
    import datasets

    return datasets.load_dataset("parquet", data_files=_parquet_files(folder))


def _parquet_files(folder: str) -> dict[str, list[str]]:
    """The Parquet files of each split, which the names of the files tell."""
    from datasets.data_files import DataFilesDict, get_data_patterns

    return DataFilesDict.from_patterns(get_data_patterns(folder), base_path=folder, allowed_extensions=[".parquet"])


def _hub_splits(name: str) -> "datasets.DatasetDict":
    import datasets

    with _explained(name):
        return _local_parquet(name) if Path(name).is_dir() else datasets.load_dataset(name)


def _streams(
    name: str, image_column: str | None, label_column: str | None, shuffle_buffer: int
) -> dict[str, StreamedRows]:
    """Every split as a stream. ValueError if the data is not in Parquet."""
    import datasets
    import pyarrow.parquet
    from fsspec.core import url_to_fs

    with _explained(name):
        files = _parquet_files(name) if Path(name).is_dir() else datasets.load_dataset_builder(name).config.data_files
    streams = {}
    for split, paths in (files or {}).items():
        if not paths or not all(str(path).endswith(".parquet") for path in paths):
            continue
        filesystem, path = url_to_fs(str(paths[0]))
        with filesystem.open(path) as opened:
            features = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(opened))
        columns = _chosen_columns(features, name, image_column, label_column)
        streams[str(split)] = StreamedRows([str(path) for path in paths], columns, shuffle_buffer)
    if not streams:
        raise ValueError(f"--streaming reads Parquet, and {name} has none: prepare.py writes it.")
    return streams


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Says what to do about data that the Hub, or `datasets`, does not give."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    try:
        yield
    except (DatasetNotFoundError, GatedRepoError) as error:
        raise OSError(
            f"--dataset_name {name}: no such folder, and no data set on the Hub that you can read ({error}). If it is "
            "gated or private, ask for access on its page and log in: hf auth login."
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise ValueError(
            f"--dataset_name {name} is a script that downloads its data, which datasets no longer runs. Look for a "
            "copy in Parquet, or download it and give a folder of images and masks."
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise OSError(f"--dataset_name {name} cannot be loaded: {error}") from error


def _two_columns(
    rows: "datasets.Dataset", name: str, image_column: str | None, label_column: str | None
) -> "datasets.Dataset":
    """The rows with the columns image and label alone; without a label where no column can be one."""
    chosen = _chosen_columns(rows.features, name, image_column, label_column)
    rows = rows.select_columns(list(chosen))
    # In two steps: what is to be "image" may be what was "label".
    rows = rows.rename_columns({column: f"chosen {to}" for column, to in chosen.items()})
    return rows.rename_columns({f"chosen {to}": to for to in chosen.values()})


def _chosen_columns(
    features: "datasets.Features", name: str, image_column: str | None, label_column: str | None
) -> dict[str, str]:
    """Which column is to be "image", and which "label", if any can be."""
    import datasets

    pictures = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    told = ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())
    for option, column in (("--image_column", image_column), ("--label_column", label_column)):
        if column is not None and column not in pictures:
            raise ValueError(f"{option} {column}: not a column of images in {name}. It has: {told}.")
    image = image_column or next((c for c in IMAGE_COLUMNS if c in pictures and c != label_column), None)
    if image is None:
        raise ValueError(f"{name} has no column of images by a usual name. It has: {told}. Give --image_column.")
    others = [column for column in pictures if column != image]
    label = label_column or next((c for c in LABEL_COLUMNS if c in others), others[0] if len(others) == 1 else None)
    if label is None and others:
        raise ValueError(f"{name} has several columns of images: {told}. Which has the masks? Give --label_column.")
    return {image: "image"} if label is None else {image: "image", label: "label"}


def _folder_splits(folder: Path) -> dict[str, "datasets.Dataset"]:
    """Splits of a folder of images and masks, in either of the two layouts."""
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (path / "images").is_dir():
            found[path.name] = _folder_pairs(path / "images", [path / masks for masks in MASK_FOLDERS])
        elif path.name == "images":
            for split in sorted(part for part in path.iterdir() if part.is_dir()):
                found[split.name] = _folder_pairs(split, [folder / masks / split.name for masks in MASK_FOLDERS])
            if not found:
                found["train"] = _folder_pairs(path, [folder / masks for masks in MASK_FOLDERS])
    if not found:
        raise ValueError(
            f"{folder}: found neither Parquet files nor images. Expected train/images/ and train/masks/ in it (and "
            "validation/images/, validation/masks/), with masks named as their images."
        )
    return found


def _folder_pairs(images: Path, mask_folders: list[Path]) -> "datasets.Dataset":
    masks = next((folder for folder in mask_folders if folder.is_dir()), None)
    if masks is None:
        raise ValueError(f"{images} has no masks beside it: expected one of {', '.join(map(str, mask_folders))}.")
    return paired_rows(image_files(images, below=True), image_files(masks, below=True), f"{images} and {masks}")


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


def _beside(name: str, file: str) -> str | None:
    """Path of a file that lies with the data, in its folder or on the Hub; None if there is none."""
    if Path(name).is_dir():
        return str(Path(name, file)) if Path(name, file).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return hf_hub_download(name, file, repo_type="dataset")
    except (EntryNotFoundError, HfHubHTTPError, OSError):  # the data itself has been read by now
        return None


def _palette(path: str | None) -> dict[str, list[Colour]]:
    """Colours by class name, and by IGNORED."""
    if path is None:
        return {}
    told = _json(path, "--palette")
    palette = {}
    for name, colours in told.items():
        colours = colours if isinstance(colours, list) and colours and isinstance(colours[0], list) else [colours]
        for colour in colours:
            if not (isinstance(colour, list) and len(colour) == 3 and all(_is_byte(channel) for channel in colour)):
                raise ValueError(f"--palette {path}: {name} must have [red, green, blue] in 0..255, got {colour}.")
        palette[name] = [tuple(colour) for colour in colours]
    counts = Counter(colour for colours in palette.values() for colour in colours)
    if shared := [colour for colour, count in counts.items() if count > 1]:
        raise ValueError(f"--palette {path}: two classes have the colour {shared[0]}.")
    return palette


def _class_names(given: Sequence[str] | str | None, palette: Mapping[str, Any], name: str) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [given]
    if given is not None and len(given) == 1 and Path(given[0]).is_file():
        path = given[0]
        if path.endswith(".json"):
            told = _json(path, "--class_names")
            if sorted(told) != sorted(str(i) for i in range(len(told))):
                raise ValueError(f"--class_names {path}: expected ids 0..{len(told) - 1} as keys, got {sorted(told)}.")
            given = [str(told[str(i)]) for i in range(len(told))]
        else:
            given = [line.strip() for line in Path(path).read_text().splitlines() if line.strip()]
    names = tuple(given or (title for title in palette if title != IGNORED))
    if not names:
        raise ValueError(
            f"What are the classes of {name}? Give --class_names road car ..., in the order of their ids, or a file "
            f"with them; or put {CLASSES_FILE} beside the data."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"--class_names: {', '.join(n for n, c in Counter(names).items() if c > 1)} is named twice.")
    if unnamed := [title for title in palette if title not in (*names, IGNORED)]:
        raise ValueError(
            f"--palette has colours of {', '.join(unnamed)}, which is no class. Classes: {', '.join(names)}."
        )
    return names


def _drawn(names: Sequence[str], palette: Mapping[str, list[Colour]]) -> tuple[Colour, ...]:
    """A colour for each class to draw it in."""
    return tuple(
        palette[name][0] if name in palette else tuple(colour)
        for name, colour in zip(names, palette_for(names), strict=True)
    )


def _ids_of(palette: Mapping[str, list[Colour]], names: Sequence[str]) -> dict[Colour, int]:
    ids = {name: i for i, name in enumerate(names)} | {IGNORED: IGNORE_INDEX}
    return {colour: ids[name] for name, colours in palette.items() for colour in colours}


def _json(path: str, option: str) -> dict:
    try:
        told = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {path} cannot be read: {error}") from error
    if not isinstance(told, dict) or not told:
        raise ValueError(f"{option} {path}: expected a JSON object, see docs/data.md.")
    return told


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 255
