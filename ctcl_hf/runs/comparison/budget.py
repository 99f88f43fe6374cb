"""What a table of the paper would take at full scale: commands, steps, and an estimate of GPU
hours.
"""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...data import DATASETS
from ...data.benchmarks.published import published_of
from ...losses import cross_entropy_loss
from ...students.loading import load_student
from .grid import Grid
from .paper import Table, students_of

BATCH, CROP = 4, 512
EPOCHS = 60  # the paper's of VOC, and the recipe's where it names none


def step_flops(pair: str, num_classes: int) -> float:
    """Floating-point operations of one step of all students alone: forward and backward on a batch
    of 4 x 512 x 512.

    Counted by torch on one image of a quarter of the sides, which nearly all of them are
    proportional to.
    """
    total = 0
    side = CROP // 2
    for name in students_of(pair):
        names = [str(i) for i in range(num_classes)]
        # eval: BatchNorm takes one image
        student = load_student(name, names, (CROP, CROP), from_scratch=True).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            logits = student.logits(torch.zeros(1, 3, side, side))
            cross_entropy_loss(
                logits, torch.zeros(1, side, side, dtype=torch.long), 255
            ).value.backward()
        total += counter.get_total_flops()
    return total * BATCH * (CROP / side) ** 2


def requirements(
    table: Table, folder: Path, common: tuple[str, ...], seeds: tuple[int, ...], teraflops: float
) -> str:
    """Every command of a table at the paper's scale, its steps, and GPU hours at so many sustained
    TFLOP/s.
    """
    benchmark = published_of(DATASETS[table.dataset])
    steps = EPOCHS * (benchmark.train_images // BATCH)
    common = ("--dataset", table.dataset, *common)
    lines = [table.caption, table.remark] if table.remark else [table.caption]
    hours = 0.0
    for pair in table.scores:
        operations = step_flops(pair, benchmark.num_classes)
        of_run = operations * steps / (teraflops * 1e12) / 3600
        grid = Grid(folder, table.rows, (pair,), seeds, common)
        cells = list(grid.cells())
        hours += of_run * len(cells)
        lines.append(
            f"\n{pair}: {len(cells)} runs of {steps:,} steps ({EPOCHS} epochs), "
            f"{operations / 1e12:.2f} TFLOP a step, about {of_run:.1f} hours a run"
        )
        lines += [cell.command() for cell in cells]
    lines.append(
        f"\nIn all about {hours:.0f} hours of one GPU, if it sustains {teraflops:g} TFLOP/s "
        "(--sustained_tflops; an assumption, not a measurement), for forward and backward of the "
        "students; what the methods add is not in it (docs/benchmarks.md). The paper gives epochs "
        "for VOC alone: 60."
    )
    return "\n".join(lines)
