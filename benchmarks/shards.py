"""Preparing data

`prepare.py` over a thousand images and masks (480x360, JPEG and PNG; drawn scenes, or CamVid's
frames over and over): reading, checking and writing Parquet, and the most memory that the process
held, beside a quarter of them.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from common import camvid_or_scenes, header, in_own_process, peak_bytes, row
from PIL import Image

from ctcl_hf.data import build_own
from ctcl_hf.data.shards import write_shards

IMAGES = 1000


def make_folder(folder: Path, count: int, data_dir: str | None) -> None:
    """A folder of pairs, as a user has it."""
    data = camvid_or_scenes(data_dir)
    samples = data.samples("train", transform=None)
    for kind in ("images", "masks"):
        (folder / "train" / kind).mkdir(parents=True)
        (folder / "validation" / kind).mkdir(parents=True)
    for number in range(count):
        split = "validation" if number % 10 == 0 else "train"
        stem = f"{number:05}"
        if number < len(samples):
            image, labels = samples.read(number)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(
                folder / split / "images" / f"{stem}.jpg", quality=95
            )
            Image.fromarray(labels.numpy()).save(folder / split / "masks" / f"{stem}.png")
        else:
            first = f"{number % len(samples):05}"
            there = "validation" if number % len(samples) % 10 == 0 else "train"
            shutil.copy(
                folder / there / "images" / f"{first}.jpg",
                folder / split / "images" / f"{stem}.jpg",
            )
            shutil.copy(
                folder / there / "masks" / f"{first}.png", folder / split / "masks" / f"{stem}.png"
            )


def measure(count: int, data_dir: str | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pairs"
        make_folder(folder, count, data_dir)
        names = camvid_or_scenes(data_dir).class_names
        start = time.perf_counter()
        write_shards(build_own(str(folder), class_names=names), Path(scratch) / "shards")
        return {"seconds": time.perf_counter() - start, "peak": peak_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn scenes of its size.")
    parser.add_argument("--point", type=int, help="Measure so many images here.")
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure(arguments.point, arguments.data_dir)))
        return
    own = ["--data_dir", arguments.data_dir] if arguments.data_dir else []
    header("images", "seconds", "images / s", "images / s and core", "peak (MiB)")
    for count in (IMAGES // 4, IMAGES):
        found = in_own_process(__file__, "--point", str(count), *own)
        rate = count / found["seconds"]
        row(count, found["seconds"], rate, rate / os.cpu_count(), f"{found['peak'] / 2**20:.0f}")


if __name__ == "__main__":
    main()
