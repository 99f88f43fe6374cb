"""Anyone's data: a data set on the Hub, one that `ctcl-hf prepare` wrote, or a folder of images and
masks.
"""

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .. import DATASETS
from ..images import open_stored
from ..masks import IGNORE_INDEX, Colour, colours_of_ids
from ..pairs import LACKS, Incomplete, LeftOut, files_in, image_files
from ..samples import BadSample, SegmentationSamples
from ..segmentation import SegmentationData
from ..streaming import StreamedRows
from ..unscored import is_unscored
from .class_lists import LIST_FILES
from .classes import (
    CLASSES_FILE,
    PALETTE_FILE,
    classes_under,
    drawn_colours,
    has_colours,
    ids_of_colours,
    read_class_names,
    read_json,
    read_palette,
)
from .effects import check_colours, check_map, check_source
from .layouts import Layout
from .refusals import of_no_pairs
from .sources import files_beside, hub_splits, streams
from .splits import named_splits, without_use

if TYPE_CHECKING:
    import datasets

# what `ctcl-hf prepare` keeps of a benchmark: how it is scored and handed in
BENCHMARK_FILE = "benchmark.json"
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
    image_folder: str | None = None,
    mask_folder: str | None = None,
    mask_ending: str | None = None,
    streaming: bool = False,
    shuffle_buffer: int = 1000,
    names_of_model: Sequence[str] = (),
    skip_unpaired: bool = False,
    needs_validation: bool = True,
) -> SegmentationData:
    """Images and masks of any source as `SegmentationData`.

    Args:
        name: a Hub id ("user/name"); a folder of Parquet files; or a folder of images and masks,
            see `Layout`.
        image_column, label_column: columns of images and of masks; found by their names if there is
            no doubt.
        train_split, validation_split, test_split: their names in the source; found if they are
            usual ones.
        validation_share: share of the training images to validate on, where there is no such split.
        class_names: names of classes 0..K-1, or one file: `id2label.json` or a list of any kind
            that `read_class_list` knows. Default: those that lie with the data, or the names of the
            palette.
        palette: a file `palette.json` or a list with each class's colour: to draw it, and to read
            masks of colours. Default: one that lies with the data; else what masks with a palette
            are shown in; else drawn colours.
        label_map: ids in the masks, or those of the classes that their colours mean, that stand for
            other ids; 255 is ignored.
        ignore_index: the id in the masks that is not scored, beside 255.
        reduce_labels: id 0 in the masks is not scored, and ids 1..K are classes 0..K-1.
        image_folder, mask_folder, mask_ending: names of folders in a folder of images and masks,
            and what a mask's name has beyond its image's. Default: found.
        streaming: read Parquet files where they lie, see `StreamedRows`.
        shuffle_buffer: images that are shuffled together when streaming.
        names_of_model: names of the classes where nothing above and no file says them.
        skip_unpaired: leave out images without a mask and masks without an image, instead of
            refusing them.
        needs_validation: whether there must be images to validate on, as for training.

    Raises:
        Incomplete: counterparts of images or masks, names of classes or images to validate on are
            missing, and nothing else is wrong.
        ValueError: what is missing, ambiguous, contradictory or without effect, and the argument
            that mends it.
        OSError: a data set that cannot be had from the Hub.
    """
    check_map(label_map, ignore_index, reduce_labels)
    folder = Path(name) if Path(name).is_dir() else None
    found = {}
    problems: list[ValueError] = []  # all that is to be asked for, at once
    told, left_out, unusable = "", (), 0
    if folder is not None:
        parquet = [
            path for path in files_in(folder, True, LeftOut(folder)) if path.suffix == ".parquet"
        ]
        if streaming and not parquet:
            raise ValueError(
                f"--streaming reads Parquet, and {folder} has none: `ctcl-hf prepare` writes it."
            )
        layout = Layout(folder, image_folder, mask_folder, mask_ending, parquet, skip_unpaired)
        found = layout.splits()
        told = str(layout) if found else ""
        left_out = (layout.left_out.sentence,) if found and layout.left_out.paths else ()
        unusable = sum(len(layout.left_out.paths.get(lack, ())) for lack in LACKS)
        problems += layout.problems
        images = image_files(folder, below=True, unique=False) if mask_ending else {}
        if not found and (images or not parquet):
            raise ValueError(of_no_pairs(folder, mask_ending))
        if found and streaming:
            raise ValueError(
                f"--streaming reads Parquet, and {folder} holds images and masks as well: give the "
                f"folder of Parquet in it, such as {parquet[0].parent}."
            )
    check_source(
        name,
        bool(found),
        image_column=image_column,
        label_column=label_column,
        image_folder=image_folder,
        mask_folder=mask_folder,
        mask_ending=mask_ending,
    )
    if streaming:
        if validation_share is not None:
            raise ValueError(
                "--validation_share cannot hold out images of a stream: give it a split of its own."
            )
        found = streams(name, image_column, label_column, shuffle_buffer)
    elif not found:
        found = hub_splits(name, image_column, label_column)
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    benchmark, names_file, palette_file = files_beside(
        name, BENCHMARK_FILE, CLASSES_FILE, PALETTE_FILE
    )
    exported = None if folder is None else _exported_list(folder)
    if palette is None and palette_file is None:
        palette_file = (
            class_names[0]
            if has_colours(class_names)
            else exported
            if has_colours(exported)
            else None
        )
    is_used = exported is not None and (exported == palette_file or not (class_names or names_file))
    lists = f", classes of {exported}" if is_used else ""
    colours = read_palette(palette or palette_file)
    named = class_names or names_file or exported
    if names_of_model and not (named or colours):
        named, lists = names_of_model, ", classes as the model names them"
    if exported is not None and named == exported != palette_file:
        decided = classes_under(colours, exported)
        named, lists = (decided, "") if decided else (named, lists)
    with _noted(problems):
        splits = named_splits(name, found, wanted, validation_share, needs_validation)
    with _noted(problems):
        names = read_class_names(named, colours, name, "--palette" if palette else palette_file)
        if reduce_labels and is_unscored(names[0]):
            raise ValueError(
                f"--reduce_labels takes id 0 away, and {names[0]}, the first name, would be of id "
                f"1: give the names without it, --class_names {' '.join(names[1:])}."
            )
    if problems:
        is_readable = all(isinstance(problem, Incomplete) for problem in problems)
        raise (Incomplete if is_readable else ValueError)("\n".join(map(str, problems)))
    mapped = dict(label_map or {})
    if ignore_index is not None:
        mapped[ignore_index] = IGNORE_INDEX
    shift = ""
    if reduce_labels:
        mapped = {0: IGNORE_INDEX} | {i + 1: i for i in range(len(names))}
        shift = f", id 0 is not scored and 1 is {names[0]} (--reduce_labels)"
    # What was prepared holds ids, whose colours are for the eye.
    meanings = {} if benchmark else ids_of_colours(colours, names)
    mask = _first_mask(splits["train"])
    check_colours(mask, meanings, names, mapped, reduce_labels)
    return SegmentationData(
        name=_name_of(folder) if folder is not None else name.rpartition("/")[2],
        title=None if folder is not None else name,
        hub_id=None if folder is not None else name,
        splits=splits,
        class_names=names,
        palette=drawn_colours(names, colours) if colours else _shown(mask, names, mapped),
        label_map=mapped,
        # without 255 as --ignore_index, which says nothing new
        told_ids=tuple({*(label_map or {}), ignore_index or 0} & mapped.keys()),
        colours=meanings,
        source=f"from {name}{told}{shift}{lists}{without_use(found, wanted)}",
        left_out=left_out,
        **_benchmark(benchmark, splits["train"], unusable),
    )


def _name_of(folder: Path) -> str:
    """A folder's own name, unless a benchmark is called so, for which scores would be taken."""
    own = folder.resolve().name
    return f"own-{own}" if own.lower() in DATASETS else own


@contextmanager
def _noted(problems: list[ValueError]) -> Iterator[None]:
    """Goes on after a step that fails, with what it lacks among the problems."""
    try:
        yield
    except ValueError as error:
        problems.append(error)


def _first_mask(train: "datasets.Dataset | StreamedRows") -> Image.Image | None:
    """The header of the first mask; None if it cannot be read: the check of all files will name
    it.
    """
    try:
        if not len(train):
            return None
        return open_stored(SegmentationSamples(train, 1, transform=None).stored(0)["label"])
    except (OSError, ValueError):
        return None


def _shown(
    mask: Image.Image | None, names: Sequence[str], label_map: Mapping[int, int]
) -> tuple[Colour, ...]:
    """The colours in which the first mask shows the classes, if it has a palette of its own; else
    drawn ones.
    """
    try:
        shown = {} if mask is None else colours_of_ids(mask)
    except (OSError, ValueError):
        shown = {}
    by_class: dict[int, Colour] = {}
    for mask_id, colour in shown.items():  # of several ids that stand for a class, the first
        by_class.setdefault(label_map.get(mask_id, mask_id), colour)
    colours = [by_class[k] for k in range(len(names)) if k in by_class]
    tells_classes_apart = len(set(colours)) == len(names)
    is_grey = all(len(set(colour)) == 1 for colour in colours)  # ids made visible
    return tuple(colours) if tells_classes_apart and not is_grey else drawn_colours(names, {})


def _exported_list(folder: Path) -> str | None:
    """The list of classes that a tool has exported with a folder, or into each split.

    ValueError if lists differ.
    """
    for file in LIST_FILES:
        lists = [
            path
            for path in (folder / file, *sorted(folder.glob(f"*/{glob.escape(file)}")))
            if path.is_file()
        ]
        if lists:
            if odd := [path for path in lists if path.read_bytes() != lists[0].read_bytes()]:
                raise ValueError(
                    f"{lists[0]} and {odd[0]} differ: which are the classes? Give --class_names."
                )
            return str(lists[0])
    return None


def _benchmark(path: str | None, train: "datasets.Dataset", unusable: int) -> dict[str, Any]:
    """Fields of `SegmentationData` that `ctcl-hf prepare` has kept; of other data the usual size,
    and how many files cannot be used.
    """
    if path is None:
        return {"image_size": usual_size(train), "unusable": unusable}
    told = read_json(path, BENCHMARK_FILE)
    if missing := {"image_size", "protocol", "prediction_ids"} - told.keys():
        raise ValueError(
            f"{path} lacks {', '.join(sorted(missing))}: `ctcl-hf prepare` writes it. Prepare the "
            "data again."
        )
    ids = told["prediction_ids"]
    return {
        "image_size": tuple(told["image_size"]),
        "protocol": told["protocol"],
        "prediction_ids": None if ids is None else tuple(ids),
        "unusable": told.get("unusable", 0),  # which was not kept always
    }


def usual_size(rows: "datasets.Dataset") -> tuple[int, int]:
    """(height, width) that most of some evenly spaced images have, made smaller if a side is over
    LARGEST_SIDE.
    """
    # A stream gives the first ones soonest.
    step = 1 if isinstance(rows, StreamedRows) else max(len(rows) // SIZES_SEEN, 1)
    samples = SegmentationSamples(rows, 1, transform=None)
    sizes: Counter[tuple[int, int]] = Counter()
    problem = "there are none."
    for index in reversed(range(0, len(rows), step)[:SIZES_SEEN]):
        try:
            sizes[samples.size(index)] += 1
        except BadSample as error:
            problem = str(error)  # the check of all files will name the others
    if not sizes:
        raise ValueError(f"None of the training images could be read. The first: {problem}")
    height, width = sizes.most_common(1)[0][0]
    scale = min(LARGEST_SIDE / max(height, width), 1)
    return round(height * scale), round(width * scale)
