"""Where rows of images and masks are found: on the Hub, or in Parquet files; and what lies beside
them.
"""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants

from ...base.hub_access import (
    from_cache_unless_hub_answers,
    hub_answers,
    near_folder,
    refuse_missing_folder,
    refuse_near_folder,
    shown_endpoint,
)
from ..streaming import StreamedRows

if TYPE_CHECKING:
    import datasets

IMAGE_COLUMNS = ("image", "img", "pixel_values")
LABEL_COLUMNS = (
    "label",
    "labels",
    "mask",
    "annotation",
    "segmentation",
    "semantic_mask",
    "segmentation_mask",
)


def _local_parquet(folder: str) -> "datasets.DatasetDict":
    """The splits of a folder, which `datasets` tells from the names of its files.

    Not by the folder's name: where its card lists the files, `datasets` would take another folder
    of that name, or an older state of this one, from its cache.
    """
    import datasets

    return datasets.load_dataset("parquet", data_files=_parquet_files(folder))


def _parquet_files(folder: str) -> dict[str, list[str]]:
    """The Parquet files of each split, which the names of the files tell."""
    from datasets.data_files import DataFilesDict, get_data_patterns

    folder = glob.escape(folder)  # a name with brackets is no pattern
    return DataFilesDict.from_patterns(
        get_data_patterns(folder), base_path=folder, allowed_extensions=[".parquet"]
    )


def hub_splits(
    name: str, image_column: str | None, label_column: str | None
) -> dict[str, "datasets.Dataset"]:
    """Every split of a Hub id, or of a folder of Parquet files, through the cache of `datasets`."""
    import datasets

    with _explained(name), _from_hub_or_cache(name):
        splits = _local_parquet(name) if Path(name).is_dir() else datasets.load_dataset(name)
    return {
        split: _two_columns(rows, name, image_column, label_column)
        for split, rows in splits.items()
    }


def streams(
    name: str, image_column: str | None, label_column: str | None, shuffle_buffer: int
) -> dict[str, StreamedRows]:
    """Every split as a stream. ValueError if the data is not in Parquet."""
    import datasets
    import pyarrow.parquet
    from fsspec.core import url_to_fs

    with _explained(name):
        if not Path(name).is_dir() and not hub_answers():
            raise OSError(f"--streaming reads from {shown_endpoint()}, which does not answer")
        files = (
            _parquet_files(name)
            if Path(name).is_dir()
            else datasets.load_dataset_builder(name).config.data_files
        )
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
        raise ValueError(
            f"--streaming reads Parquet, and {name} has none: `ctcl-hf prepare` writes it."
        )
    return streams


@contextmanager
def _from_hub_or_cache(name: str) -> Iterator[None]:
    """Within it `datasets` asks the Hub if it answers, and else its cache alone: its client would
    try for half a minute.
    """
    import datasets

    if Path(name).is_dir():
        yield
        return
    before = datasets.config.HF_HUB_OFFLINE
    with from_cache_unless_hub_answers():
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE
        try:
            yield
        finally:
            datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Says what to do about data that the Hub, or `datasets`, does not give."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    refuse_missing_folder(name)
    refuse_near_folder(name)
    try:
        yield
    except (DatasetNotFoundError, GatedRepoError) as error:
        raise OSError(
            f"--dataset_name {name}: no such folder, and no data set on the Hub that you can read "
            f"({error}). If it is gated or private, ask for access on its page and log in: hf auth "
            f"login.{near_folder(name)}"
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise ValueError(
            f"--dataset_name {name} is a script that downloads its data, which datasets no longer "
            "runs. Look for a copy in Parquet, or download it and give a folder of images and "
            "masks."
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        if Path(name).is_dir():
            raise OSError(f"--dataset_name {name}: it cannot be loaded: {error}") from error
        raise OSError(
            f"--dataset_name {name}: no such folder here, and it cannot be loaded: {error}."
            f"{near_folder(name)} Give the path of a folder, or the id of a data set on the Hub."
        ) from error


def _two_columns(
    rows: "datasets.Dataset", name: str, image_column: str | None, label_column: str | None
) -> "datasets.Dataset":
    """The rows with the columns image and label alone; without a label where no column can be
    one.
    """
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
            raise ValueError(
                f"{option} {column}: not a column of images in {name}. It has: {told}."
            )
    image = image_column or next(
        (c for c in IMAGE_COLUMNS if c in pictures and c != label_column), None
    )
    if image is None:
        raise ValueError(
            f"{name} has no column of images by a usual name. It has: {told}. Give --image_column."
        )
    others = [column for column in pictures if column != image]
    label = label_column or next(
        (c for c in LABEL_COLUMNS if c in others), others[0] if len(others) == 1 else None
    )
    if label is None and others:
        raise ValueError(
            f"{name} has several columns of images: {told}. Which has the masks? Give "
            "--label_column."
        )
    return {image: "image"} if label is None else {image: "image", label: "label"}


def files_beside(name: str, *files: str) -> list[str | None]:
    """Paths of files that lie with the data, in its folder or on the Hub; None where there is none.

    OSError if that cannot be known: without its classes or its protocol the data would be others.
    """
    from huggingface_hub.errors import HfHubHTTPError

    if Path(name).is_dir():
        return [str(path) if (path := Path(name, file)).is_file() else None for file in files]
    try:
        with from_cache_unless_hub_answers():
            return [_file_on_hub(name, file) for file in files]
    except (HfHubHTTPError, OSError) as error:
        raise OSError(
            f"--dataset_name {name}: whether {' or '.join(files)} lies with it cannot be known "
            f"({error})."
        ) from error


def _file_on_hub(name: str, file: str) -> str | None:
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        return hf_hub_download(name, file, repo_type="dataset")
    except RemoteEntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError):
        if try_to_load_from_cache(name, file, repo_type="dataset") is _CACHED_NO_EXIST:
            return None
        raise
