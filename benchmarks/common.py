"""What every benchmark shares: the paper's pair, alternated timing, and one Markdown row."""

import gc
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctcl_hf import CTCL, StudentPair, load_student
from ctcl_hf.students import Student

IGNORE = 255


def make_pair(classes: int, size: tuple[int, int], aspp_channels: int = 512) -> StudentPair:
    """The paper's pair, from scratch: DeepLabV3+ on MobileNetV2 at stride 8, and SegFormer MiT-B1."""
    names = [str(i) for i in range(classes)]
    cnn = load_student("mobilenetv2_100", names, size, from_scratch=True, aspp_channels=aspp_channels)
    vit = load_student("nvidia/mit-b1", names, size, from_scratch=True)
    return StudentPair({"cnn": cnn, "vit": vit}, CTCL(cnn, vit)).train()


def make_batch(classes: int, size: tuple[int, int], images: int = 4) -> dict[str, Tensor]:
    """Random images, and labels in blocks with ignored borders, as real ones are."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    blocks = torch.randint(0, classes, (images, 1, height // 20, width // 20), generator=generator)
    labels = F.interpolate(blocks.float(), size=size, mode="nearest")[:, 0].long()
    labels[:, :: height // 8] = IGNORE
    return {"pixel_values": torch.randint(0, 256, (images, 3, *size), generator=generator), "labels": labels}


def ordinary_loss(student: Student, batch: dict[str, Tensor]) -> Tensor:
    """What a training script does for one model: upsample the logits, cross entropy; the auxiliary head's likewise."""
    output = student.model(pixel_values=student.normalize(batch["pixel_values"]))
    heads = [(1.0, output.logits)]
    if student.auxiliary_weight:
        heads.append((student.auxiliary_weight, output.auxiliary_logits))
    size = batch["labels"].shape[-2:]
    return sum(
        weight
        * F.cross_entropy(
            F.interpolate(logits, size=size, mode="bilinear", align_corners=False), batch["labels"], ignore_index=IGNORE
        )
        for weight, logits in heads
    )


def step(loss: Callable[[], Tensor], model: nn.Module) -> None:
    """Forward and backward. Optimizer steps are left out: they are the same on both sides of every ratio."""
    loss().backward()
    model.zero_grad(set_to_none=True)


def alternated(functions: dict[str, Callable[[], None]], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each function, called in turn so that a drift of the machine meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(warmup + repeats):
        for name, function in functions.items():
            gc.collect()
            start = time.perf_counter()
            function()
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of paired runs."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
