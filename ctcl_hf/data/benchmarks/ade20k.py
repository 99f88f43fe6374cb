"""ADE20K's scene parsing benchmark (Zhou et al., CVPR 2017): 20,210/2,000 images, 150 classes."""

from pathlib import Path

from ..masks import IGNORE_INDEX
from ..pairs import existing_folder, image_files, paired_rows
from ..segmentation import SegmentationData
from .published import published
from .voc import colour_map

NUM_CLASSES = 150
# Mask id 0 is "other objects", which are not scored; classes 0..149 are stored as 1..150. This is
# the only place where ids are reduced: the students' image processors leave labels alone.
LABEL_MAP = {0: IGNORE_INDEX} | {i + 1: i for i in range(NUM_CLASSES)}


@published(20_210, NUM_CLASSES)
def build_ade20k(data_dir: str | None = None) -> SegmentationData:
    """ADE20K from ADEChallengeData2016: images/, annotations/ (training and validation) and
    objectInfo150.txt.

    Args:
        data_dir: ADEChallengeData2016, or the folder above it.

    Raises:
        ValueError: a folder or the list of classes that is not there, or images without masks.
    """
    import datasets

    folder = existing_folder(data_dir, "annotations", "ade20k")
    splits = {
        name: paired_rows(
            image_files(folder / "images" / split),
            image_files(folder / "annotations" / split),
            f"ADE20K's {split} split in {folder}",
        )
        for split, name in (("training", "train"), ("validation", "validation"))
    }
    return SegmentationData(
        name="ade20k",
        title="ADE20K (150 classes)",
        splits=datasets.DatasetDict(splits),
        class_names=_class_names(folder / "objectInfo150.txt"),
        palette=colour_map(NUM_CLASSES + 1)[1:],
        image_size=(512, 512),
        label_map=LABEL_MAP,
        prediction_ids=tuple(range(1, NUM_CLASSES + 1)),
    )


def _class_names(path: Path) -> tuple[str, ...]:
    """The first name of each class that is not taken yet, from the last column of ADE20K's own
    table.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} not found: it names the {NUM_CLASSES} classes, and is part of "
            "ADEChallengeData2016."
        )
    rows = [
        line.split("\t")
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
        if line.strip()
    ]
    if [row[0].strip() for row in rows] != [str(i + 1) for i in range(NUM_CLASSES)]:
        raise ValueError(
            f"{path} must have a line for each of the {NUM_CLASSES} classes in order, got "
            f"{len(rows)}."
        )
    names: list[str] = []
    for row in rows:
        synonyms = [name.strip() for name in row[-1].split(",")]
        names.append(next((name for name in synonyms if name not in names), row[-1].strip()))
    return tuple(names)
