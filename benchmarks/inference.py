"""Inference

Released students, random weights (speed does not depend on them): images of 360x480 per second
through transformers' `pipeline`, through `ctcl_hf.segment` one by one and eight at a time, and the
network alone, eight at a time, in PyTorch and in onnxruntime, of float32 and of 8 bits (what such
files score: publishing.md, "Files for the Hub's runtimes"). Then one Cityscapes-size image,
1024x2048 and 19 classes, whole and in sliding windows: peak memory beyond the model's. One by one
the ViT's network itself takes nine tenths of `segment`'s time, so that there is little to gain.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from common import alternated, bar, header, in_own_process, make_pair, peak_bytes, row

from ctcl_hf.losses import upsample
from ctcl_hf.scoring.predict import segment, sliding_window_logits

SIZE, IMAGES = (360, 480), 8


def images_per_second(repeats: int) -> None:
    import numpy as np
    import onnxruntime
    from PIL import Image
    from transformers import pipeline

    from ctcl_hf.publishing.onnx_files import write_onnx_files

    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        for _ in range(IMAGES)
    ]
    pixels = torch.randn(IMAGES, 3, *SIZE)
    gains: dict[str, float] = {}
    header(
        "images / s",
        "`pipeline`",
        "`segment`, 1",
        "`segment`, 8",
        "network, PyTorch",
        "onnxruntime",
        "onnxruntime, 8 bits",
    )
    for name, student in make_pair(11, SIZE, 256, output_stride=16).students.items():
        model, processor = student.model.eval(), student.image_processor
        with tempfile.TemporaryDirectory() as folder:
            calibration = [torch.rand(3, *SIZE) * 255 for _ in range(2)]
            full, _, small = (
                onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                for path in write_onnx_files(student, SIZE, Path(folder), calibration)
            )
        pipe = pipeline("image-segmentation", model=model, image_processor=processor)

        @torch.no_grad()
        def network(model=model):
            model(pixel_values=pixels)

        seconds = alternated(
            {
                "pipeline": lambda pipe=pipe: [pipe(image) for image in images],
                "one": lambda model=model, processor=processor: [
                    segment(model, processor, image) for image in images
                ],
                "batch": lambda model=model, processor=processor: segment(model, processor, images),
                "pytorch": network,
                **{
                    bits: lambda session=session: session.run(
                        ["logits"], {"pixel_values": pixels.numpy()}
                    )
                    for bits, session in (("32", full), ("8", small))
                },
            },
            repeats,
        )
        row(name, *(f"{IMAGES / statistics.median(values):.1f}" for values in seconds.values()))
        for how, at_once in (("one", "one by one"), ("batch", "eight at a time")):
            ratios = [
                theirs / own for theirs, own in zip(seconds["pipeline"], seconds[how], strict=True)
            ]
            gains[f"`segment`, {at_once}, / `pipeline`, {name}"] = statistics.median(ratios)
    for what, gain in gains.items():
        bar(13, what, gain, at_least=1.3)


@torch.no_grad()
def large_image(family: str, how: str) -> dict[str, float]:
    """Bytes at the peak beyond those before, and seconds."""
    import time

    model = make_pair(19, (1024, 2048), 256, output_stride=16).students[family].model.eval()
    pixels = torch.randn(1, 3, 1024, 2048)
    before, start = peak_bytes(), time.perf_counter()

    def predict(values):
        return model(pixel_values=values).logits

    if how == "whole":
        upsample(predict(pixels), pixels.shape[-2:])
    else:
        sliding_window_logits(predict, pixels, (512, 512), (384, 384))
    return {"bytes": peak_bytes() - before, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--large", nargs=2, metavar=("STUDENT", "HOW"), help="Measure this one here."
    )
    arguments = parser.parse_args()
    if arguments.large:
        print(json.dumps(large_image(*arguments.large)))
        return
    # First, while this process is small: a child's peak starts at what its parent holds.
    header(
        "1024x2048", "whole (GiB)", "whole (s)", "windows of 512, stride 384 (GiB)", "windows (s)"
    )
    for family in ("cnn", "vit"):
        whole, windows = (
            in_own_process(__file__, "--large", family, how) for how in ("whole", "windows")
        )
        cells = [
            (f"{own['bytes'] / 2**30:.2f}", f"{own['seconds']:.1f}") for own in (whole, windows)
        ]
        row(family, *cells[0], *cells[1])
    print()
    images_per_second(arguments.repeats)


if __name__ == "__main__":
    main()
