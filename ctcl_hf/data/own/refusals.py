"""What is said of a folder in which no images with masks are found."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from ...base.tables import counted
from ..pairs import LeftOut, files_in, image_files
from .class_lists import LIST_FILES
from .classes import CLASSES_FILE, PALETTE_FILE
from .splits import SPLITS

WANTED = (
    "Expected images, and masks named as they are: train/images/ and train/masks/ (and the same in "
    "validation/), images/train/ and masks/train/, train/ and train_masks/, NAME.jpg and "
    "NAME_mask.png or NAME.png in one folder, or as VOC has them, JPEGImages/, SegmentationClass/ "
    "and ImageSets/Segmentation/."
)
# of services and tools: COCO, LabelMe, CVAT, YOLO
ANNOTATION_SUFFIXES = (".json", ".xml", ".txt")
OWN_FILES = (*LIST_FILES, CLASSES_FILE, PALETTE_FILE, "benchmark.json")


def of_no_pairs(folder: Path, mask_ending: str | None) -> str:
    """What a folder of no known layout lacks."""
    images = image_files(folder, below=True, unique=False)
    if not images:
        return f"{folder}: found neither Parquet files nor images. {WANTED}"
    first = next(iter(images.values()))
    if mask_ending is not None:
        return _of_no_ending(mask_ending, folder, first)
    return (
        f"{folder}: found {counted(len(images), 'image')} ({first}{', ...' * (len(images) > 1)}), "
        f"and no masks.{hint_of_annotations(folder)} {WANTED}"
    )


def check_ending(ending: str, masks: dict[str, str], folder: Path) -> None:
    """ValueError if no mask of a folder ends so."""
    if not any(name.endswith(ending) for name in masks):
        raise ValueError(_of_no_ending(ending, folder, next(iter(masks.values()))))


def _of_no_ending(ending: str, folder: Path, first: str) -> str:
    return (
        f"--mask_ending {ending}: no mask in {folder} ends so, before its suffix (there is "
        f"{Path(first).name}). Leave it out, and it is found where masks have one."
    )


def check_holds_images(files: dict[str, str], folder: Path, what: str, split: str) -> None:
    """ValueError if a folder of images, or of masks, of a split holds none."""
    if files:
        return
    others = [path.name for path in files_in(folder, True, LeftOut(folder))]
    holds = f"holds no image, but {', '.join(others[:3])}" if others else "is empty"
    way_on = ""
    if split.lower() in SPLITS["validation"]:
        way_on = (
            f" If there is nothing to validate on, delete {split}, and hold out some of the "
            "training images: --validation_share 0.1."
        )
    raise ValueError(
        f"The folder of {what}, {folder}, {holds}.{hint_of_annotations(folder)}{way_on}"
    )


def check_is_there(option: str, name: str | None, folder: Path, there: Iterable[Path]) -> None:
    """ValueError if an option names none of the folders that are there."""
    names = {path.name.lower(): path.name for path in there}
    if name is None or name.lower() in names:
        return
    near = difflib.get_close_matches(name.lower(), names, n=1)
    meant = f" Did you mean {names[near[0]]}?" if near else ""
    raise ValueError(
        f"{option} {name}: no folder in {folder} is called so. There are "
        f"{', '.join(sorted(names.values())) or 'none'}.{meant}"
    )


def hint_of_annotations(folder: Path) -> str:
    """What to do about files that may hold polygons or boxes; "" if there are none."""
    found = [
        path
        for path in files_in(folder, True, LeftOut(folder))
        if path.suffix.lower() in ANNOTATION_SUFFIXES
        and path.name not in OWN_FILES
        and not path.name.lower().startswith("readme")
    ]
    if not found:
        return ""
    return (
        f" Annotations in text, such as {found[0]}, are not read: where they hold polygons (COCO, "
        'LabelMe, YOLO, CVAT), export them as "semantic segmentation masks", a PNG for each image.'
    )
