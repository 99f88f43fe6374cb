"""Images and masks in files, and what is read of them."""

import numpy as np
import PIL.Image

SIZE = (24, 32)
NAMES = ("ground", "tree", "sky")


def picture(path, seed=0, size=SIZE, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).convert(mode).save(path)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def ids(*values):
    return np.resize(np.array(values, dtype=np.uint8), SIZE)


def read(data, split="train", index=0):
    return data.samples(split, lambda *pair: pair)[index]


def labels(data, split="train", index=0):
    return set(np.unique(read(data, split, index)["labels"]).tolist())
