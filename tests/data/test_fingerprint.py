"""What tells one data set from another, in run.json and in a comparison's check list."""

import io

import numpy as np
import PIL.Image
from datasets import Dataset, DatasetDict, Features, Image

from ctcl_hf import SegmentationData
from ctcl_hf.data.fingerprint import fingerprint


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def data_of(masks, names=None, **told):
    names = names or [f"{i}.png" for i in range(len(masks))]
    picture = png(np.zeros((8, 8, 3), np.uint8))
    images = [{"bytes": picture, "path": name} for name in names]
    labels = [{"bytes": png(mask), "path": name} for name, mask in zip(names, masks, strict=True)]
    rows = Dataset.from_dict(
        {"image": images, "label": labels}, Features(image=Image(), label=Image())
    )
    splits = DatasetDict(train=rows)
    return SegmentationData(
        "drawn", splits, ("a", "b"), ((0, 0, 0), (9, 9, 9)), (8, 8), **told
    ).samples("train", None)


def test_a_fingerprint_changes_with_a_mask_a_name_the_number_and_the_order_of_images():
    masks = [np.full((8, 8), i % 2, np.uint8) for i in range(4)]
    other = [*masks[:3], np.zeros((8, 8), np.uint8)]
    shorter, renamed = masks[:3], data_of(masks, ["0.png", "1.png", "2.png", "x.png"])
    found = [data_of(masks), data_of(other), data_of(shorter), renamed, data_of(masks[::-1])]
    prints = [fingerprint(samples) for samples in found]
    assert len(set(prints)) == len(prints)
    assert fingerprint(data_of(masks)) == prints[0]


def test_a_fingerprint_is_the_same_wherever_the_files_lie(tmp_path):
    prints = []
    for place in ("here", "there"):
        folder = tmp_path / place / "masks"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png(np.ones((8, 8), np.uint8)))
        columns = {name: [str(folder / "0.png")] for name in ("image", "label")}
        rows = Dataset.from_dict(columns, Features(image=Image(), label=Image()))
        data = SegmentationData(
            "drawn", DatasetDict(train=rows), ("a", "b"), ((0, 0, 0), (9, 9, 9)), (8, 8)
        )
        prints.append(fingerprint(data.samples("train", None)))
    assert prints[0] == prints[1]
