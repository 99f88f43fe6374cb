"""PASCAL VOC 2012 (Everingham et al., IJCV 2015), with the training masks of SBD (Hariharan et al.,
ICCV 2011).

The field's "augmented" split: 10,582 training and 1,449 validation images, 21 classes, 255 = void.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...base.heartbeat import watched
from ..masks import IGNORE_INDEX, Colour
from ..pairs import existing_folder, image_files, listed, paired_rows, read_list
from ..segmentation import SegmentationData
from .published import published

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def colour_map(count: int) -> tuple[Colour, ...]:
    """VOC's colours of ids 0, 1, ...: bits 0, 3, 6 of an id are red's highest, 1, 4, 7 green's, 2,
    5 blue's.
    """
    return tuple(
        tuple(
            sum((i >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)
        )
        for i in range(count)
    )


VOC_PALETTE = colour_map(len(VOC_CLASSES))
# whatever palette a copy shows them in
VOC_IDS = {i: i for i in (*range(len(VOC_CLASSES)), IGNORE_INDEX)}
# For copies that hold the colours themselves; the last is the border's, which is not scored.
VOC_COLOURS = {colour: i for i, colour in enumerate(VOC_PALETTE)} | {
    colour_map(256)[255]: IGNORE_INDEX
}


@published(10_582, len(VOC_CLASSES), dict(zip(VOC_CLASSES, VOC_PALETTE, strict=True)))
def build_voc(data_dir: str | None = None) -> SegmentationData:
    """VOC 2012 from VOCdevkit/VOC2012, with the training masks that lie beside VOC's own.

    The training images are all with a mask but VOC's validation images. Masks: VOC's
    `SegmentationClass` for its own 1,464; for the others a folder `SegmentationClassAug` in
    VOC2012, or SBD as it is distributed, its folder `benchmark_RELEASE` anywhere up to two folders
    above VOC2012. SBD's .mat files are written as PNG, once, into the cache of `datasets`.

    Args:
        data_dir: VOC2012, or a folder up to two above it.

    Raises:
        ValueError: a folder that is not there, or a file that a list names and that is missing.
    """
    root = Path(data_dir) if data_dir is not None else None
    if root is not None and (root / "VOCdevkit").is_dir():
        root = root / "VOCdevkit"
    folder = existing_folder(None if root is None else str(root), "JPEGImages", "voc")
    images = image_files(folder / "JPEGImages")
    own = image_files(folder / "SegmentationClass")
    lists = {
        split: folder / "ImageSets" / "Segmentation" / f"{split}.txt" for split in ("train", "val")
    }
    if missing := [str(path) for path in lists.values() if not path.is_file()]:
        raise ValueError(
            f"{' and '.join(missing)} not found, which say what is trained on and what is scored "
            "on."
        )
    names = {split: read_list(path) for split, path in lists.items()}
    masks = listed(names["train"], own, lists["train"])
    source = f"{len(masks)} training masks of SegmentationClass"
    added, origin = _augmented(folder)
    added = {name: path for name, path in added.items() if name not in {*names["val"], *masks}}
    source += (
        f", {len(added)} of {origin}"
        if origin
        else "; without SegmentationClassAug/ or SBD's benchmark_RELEASE/"
    )
    masks |= added
    splits = {"train": masks, "validation": listed(names["val"], own, lists["val"])}
    import datasets

    return SegmentationData(
        name="voc",
        title="PASCAL VOC 2012" + (" (augmented)" if added else ""),
        splits=datasets.DatasetDict(
            {
                split: paired_rows(
                    listed(chosen, images, folder / "JPEGImages"), chosen, f"VOC's {split} split"
                )
                for split, chosen in splits.items()
            }
        ),
        class_names=VOC_CLASSES,
        palette=VOC_PALETTE,
        label_map=VOC_IDS,
        colours=VOC_COLOURS,
        image_size=(512, 512),
        protocol="centre_crop",
        source=source,
    )


def _augmented(folder: Path) -> tuple[dict[str, str], str | None]:
    """Masks by image beyond VOC's own, and what they were found in."""
    ready = folder / "SegmentationClassAug"
    if ready.is_dir():
        return image_files(ready), str(ready)
    for parent in (folder, *folder.resolve().parents[:2]):
        matrices = parent / "benchmark_RELEASE" / "dataset" / "cls"
        if matrices.is_dir():
            return image_files(_as_png(matrices)), str(matrices)
    return {}, None


def _as_png(matrices: Path) -> Path:
    """SBD's class masks as PNG, in the cache of `datasets`; written once."""
    from datasets import config
    from filelock import FileLock

    files = sorted(matrices.glob("*.mat"))
    told = "\n".join(f"{path.name} {path.stat().st_size}" for path in files)
    key = hashlib.sha256(f"{matrices.resolve()}\n{told}".encode()).hexdigest()[:16]
    folder = Path(config.HF_DATASETS_CACHE) / f"sbd-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            staged = folder.with_suffix(".partial")
            staged.mkdir(exist_ok=True)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                written = pool.map(lambda path: _write_png(path, staged), files)
                for _ in watched(written, "Reading SBD's masks", len(files), unit="mask"):
                    pass
            staged.rename(folder)
    return folder


def _write_png(matrix: Path, folder: Path) -> None:
    from PIL import Image
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        ids = loadmat(matrix)["GTcls"]["Segmentation"][0, 0]
    except (MatReadError, ValueError, LookupError, TypeError, OSError) as error:
        # what a broken or foreign file gives
        raise ValueError(f"Cannot read the mask in {matrix}: {error}") from error
    Image.fromarray(ids.astype("uint8")).save(folder / f"{matrix.stem}.png")
