"""Cityscapes (Cordts et al., CVPR 2016), fine annotations: 2,975/500/1,525 images of 1024x2048, 19
classes.
"""

from pathlib import Path

from ..masks import IGNORE_INDEX, UNKNOWN
from ..pairs import existing_folder, image_files, lazy_rows, paired_rows
from ..segmentation import SegmentationData
from .published import published

# name -> (id in labelIds, colour), in the order of the train ids
_CLASSES = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
CITYSCAPES_CLASSES = tuple(_CLASSES)
CITYSCAPES_PALETTE = tuple(colour for _, colour in _CLASSES.values())
CITYSCAPES_IDS = tuple(label_id for label_id, _ in _CLASSES.values())
# Of labelIds, all of 0..33 are legal. 255 is not: a file that holds it has train ids under the
# wrong name.
LABEL_IDS = (
    dict.fromkeys(range(34), IGNORE_INDEX)
    | {label_id: i for i, label_id in enumerate(CITYSCAPES_IDS)}
    | {IGNORE_INDEX: UNKNOWN}
)


@published(2_975, len(_CLASSES), {name: colour for name, (_, colour) in _CLASSES.items()})
def build_cityscapes(data_dir: str | None = None) -> SegmentationData:
    """Cityscapes from its folders leftImg8bit and gtFine.

    Masks are `*_gtFine_labelTrainIds.png` where there are any, else `*_gtFine_labelIds.png`, whose
    ids are mapped to the 19 of training. The labels of test are not public, so that split has
    images alone.

    Args:
        data_dir: the folder with leftImg8bit/ and gtFine/, or the one above it.

    Raises:
        ValueError: a folder that is not there, or images without masks.
    """
    import datasets

    folder = existing_folder(data_dir, "leftImg8bit", "cityscapes")
    images = {
        split: _files(folder / "leftImg8bit" / split, "_leftImg8bit")
        for split in ("train", "val", "test")
    }
    kinds = {
        kind: {
            split: _files(folder / "gtFine" / split, f"_gtFine_{kind}")
            for split in ("train", "val")
        }
        for kind in ("labelTrainIds", "labelIds")
    }
    kind = "labelTrainIds" if any(kinds["labelTrainIds"].values()) else "labelIds"
    splits = {
        name: paired_rows(
            images[split], kinds[kind][split], f"Cityscapes' {split} split in {folder}"
        )
        for split, name in (("train", "train"), ("val", "validation"))
    }
    if images["test"]:
        splits["test"] = lazy_rows(image=[images["test"][name] for name in sorted(images["test"])])
    return SegmentationData(
        name="cityscapes",
        title="Cityscapes",
        splits=datasets.DatasetDict(splits),
        class_names=CITYSCAPES_CLASSES,
        palette=CITYSCAPES_PALETTE,
        image_size=(1024, 2048),
        label_map=LABEL_IDS if kind == "labelIds" else {},
        protocol="sliding",
        source=f"masks *_gtFine_{kind}.png",
        prediction_ids=CITYSCAPES_IDS,
    )


def _files(folder: Path, ending: str) -> dict[str, str]:
    """Files of all cities by city/name."""
    return image_files(folder, ending, below=True)
