"""Students that know the drawn halves almost perfectly, and wrong labels for them to find."""

import dataclasses
import io

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from conftest import make_cnn, make_data, make_vit
from datasets import Dataset, DatasetDict, Features, Image

from ctcl_hf.scoring.scorer import Scorer

COLOURS = torch.tensor([[60, 60, 80], [190, 180, 160], [200, 60, 60]]).float()
SIZE = (64, 96)


def by_colour(blur):
    """Logits of pixels by the classes' colours, after a blur of so many pixels."""

    def predict(pixels):
        smooth = F.avg_pool2d(pixels.float(), blur, 1, blur // 2, count_include_pad=False)
        distances = (smooth[:, None] - COLOURS[None, :, :, None, None]).square().sum(2)
        return -distances / 2000

    return predict


def make_scorer(data):
    """Of two students whose predictions are replaced by those of colours."""
    students = {"cnn": make_cnn(size=SIZE), "vit": make_vit(size=SIZE)}
    scorer = Scorer(students, data, Accelerator(cpu=True))
    scorer.predictors = {"cnn": by_colour(3), "vit": by_colour(5)}
    return scorer


def named_data(images=8, changed=(), change=lambda mask: mask):
    """The drawn halves, whose validation images are called NUMBER.png; masks of some are
    changed.
    """
    data = make_data(2, images, SIZE)
    rows = {"image": [], "label": []}
    for number, row in enumerate(data.splits["validation"]):
        mask = np.asarray(row["label"])
        mask = change(mask.copy()) if number in changed else mask
        for column, picture in (("image", row["image"]), ("label", PIL.Image.fromarray(mask))):
            content = io.BytesIO()
            picture.save(content, "png")
            rows[column].append({"bytes": content.getvalue(), "path": f"{number}.png"})
    features = Features(image=Image(), label=Image())
    splits = {"train": data.splits["train"], "validation": Dataset.from_dict(rows, features)}
    return dataclasses.replace(data, splits=DatasetDict(splits))


def unlabelled(data):
    return dataclasses.replace(
        data,
        splits=DatasetDict(
            {split: rows.remove_columns("label") for split, rows in data.splits.items()}
        ),
    )
