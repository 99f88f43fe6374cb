"""The benchmarks in their official layouts, made small."""

import numpy as np
import PIL.Image
from helpers.pictures import SIZE, picture


def mask(path, ids, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(np.resize(np.array(ids, dtype=np.uint8), SIZE))
    if mode == "P":
        image = image.copy()
        image.putpalette([i % 256 for i in range(768)])
    image.save(path)


def make_voc(root, train=("a", "b"), val=("c",), extra=("d", "e")):
    folder = root / "VOCdevkit" / "VOC2012"
    for i, name in enumerate([*train, *val, *extra]):
        picture(folder / "JPEGImages" / f"{name}.jpg", i)
    for name in [*train, *val]:
        mask(folder / "SegmentationClass" / f"{name}.png", [0, 15, 255, 20], "P")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(train) + "\n")
    (lists / "val.txt").write_text("\n".join(val) + "\n")
    return folder


def make_cityscapes(root, kind="labelIds", ids=(0, 7, 33, 29)):
    for split, cities in (
        ("train", ("aachen", "bochum")),
        ("val", ("lindau",)),
        ("test", ("berlin",)),
    ):
        for city in cities:
            picture(root / "leftImg8bit" / split / city / f"{city}_000000_000019_leftImg8bit.png")
            if split != "test":
                mask(
                    root / "gtFine" / split / city / f"{city}_000000_000019_gtFine_{kind}.png", ids
                )
                mask(
                    root / "gtFine" / split / city / f"{city}_000000_000019_gtFine_instanceIds.png",
                    [1],
                )
    return root


def make_ade20k(root, ids=(0, 1, 150)):
    folder = root / "ADEChallengeData2016"
    for split, count in (("training", 2), ("validation", 1)):
        for i in range(count):
            picture(folder / "images" / split / f"ADE_{split}_{i:08}.jpg")
            mask(folder / "annotations" / split / f"ADE_{split}_{i:08}.png", ids)
    names = [f"{i + 1}\t0.1\t1\t1\tthing {i + 1}, other" for i in range(150)]
    names[149] = "150\t0.1\t1\t1\tthing 1, flag"
    (folder / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(names) + "\n"
    )
    return folder
