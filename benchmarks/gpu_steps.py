"""What a step takes on a GPU

Forward and backward of both students, batch 8: in CTCL, each apart in this package's own loop
(vanilla), and each with `F.interpolate` and `F.cross_entropy` (alone), by classes and precision.
Medians of steps, in turn; peak memory beyond what was allocated before the step.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from common import bar, header, make_batch, make_pair, median_ratio, ordinary_loss, row

from ctcl_hf import METHODS, StudentPair, Vanilla

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def timed(device: torch.device, function: Callable[[], None]) -> tuple[float, float]:
    """Milliseconds of a call, and GiB that it allocated at its peak."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    took = 1000 * (time.perf_counter() - start)
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30 if device.type == "cuda" else 0.0
    return took, peak


def in_turn(
    device: torch.device, functions: dict[str, Callable[[], None]], repeats: int, warmup: int = 3
) -> dict[str, list[tuple[float, float]]]:
    """`timed` of each function, called in turn."""
    measured = {name: [] for name in functions}
    for repeat in range(warmup + repeats):
        for name, function in functions.items():
            own = timed(device, function)
            if repeat >= warmup:
                measured[name].append(own)
    return measured


def step_of(model: torch.nn.Module, loss: Callable[[], torch.Tensor], device, dtype) -> Callable:
    """Forward and backward in a precision; gradients are dropped."""
    cast = (
        torch.autocast(device.type, dtype, cache_enabled=False)
        if dtype is not None
        else nullcontext()
    )

    def step() -> None:
        with cast:
            value = loss()
        value.backward()
        model.zero_grad(set_to_none=True)

    return step


def parser_of(description: str) -> argparse.ArgumentParser:
    """What both scripts that time batches on a GPU take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu: to try this script.")
    parser.add_argument("--size", default="360x480", help="HEIGHTxWIDTH")
    parser.add_argument("--images", type=int, default=8, help="Of a batch.")
    parser.add_argument("--repeats", type=int, default=10)
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--classes", nargs="+", type=int, default=[11, 150])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--methods", nargs="*", default=["ctcl"], help="Beside vanilla.")
    parser.add_argument("--compile", action="store_true", help="torch.compile both sides.")
    parser.add_argument("--profile", type=int, default=0, help="Rows of a profile of a CTCL step.")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    size = tuple(int(side) for side in arguments.size.split("x"))
    header("classes", "precision", "what", "ms / step", "min-max", "peak (GiB)", "/ vanilla")
    for classes in arguments.classes:
        batch = make_batch(classes, size, arguments.images)
        batch = {name: values.to(device) for name, values in batch.items()}
        pair = make_pair(classes, size, 512).to(device)
        students = dict(pair.students)
        pairs = {
            name: StudentPair(students, METHODS[name](*students.values())).to(device).train()
            for name in arguments.methods
            if name != "ctcl"
        }
        pairs |= {"ctcl": pair} if "ctcl" in arguments.methods else {}
        pairs["vanilla"] = StudentPair(students, Vanilla(*students.values())).to(device).train()
        if arguments.compile:
            pairs = {name: torch.compile(own) for name, own in pairs.items()}

        def alone(students=students, batch=batch) -> torch.Tensor:
            return sum(ordinary_loss(student, batch) for student in students.values())

        for precision in arguments.precisions:
            dtype = PRECISIONS[precision]
            functions = {
                name: step_of(own, lambda own=own, batch=batch: own(**batch).loss, device, dtype)
                for name, own in pairs.items()
            }
            functions["alone"] = step_of(pair, alone, device, dtype)
            measured = in_turn(device, functions, arguments.repeats)
            milliseconds = {name: [own[0] for own in each] for name, each in measured.items()}
            for name, each in measured.items():
                ratio = median_ratio(milliseconds[name], milliseconds["vanilla"])[0]
                row(
                    classes,
                    precision,
                    name,
                    f"{statistics.median(milliseconds[name]):.1f}",
                    f"{min(milliseconds[name]):.1f}-{max(milliseconds[name]):.1f}",
                    f"{max(peak for _, peak in each):.2f}",
                    f"{ratio:.2f}",
                )
            if "ctcl" in pairs:
                ratio = median_ratio(milliseconds["ctcl"], milliseconds["vanilla"])[0]
                what = f"CTCL step / vanilla step, {classes} classes, {precision}"
                bar(2, what, ratio, at_most=1.25)
        if arguments.profile:
            from torch.profiler import ProfilerActivity, profile

            kinds = [ProfilerActivity.CPU]
            kinds += [ProfilerActivity.CUDA] if device.type == "cuda" else []
            with profile(activities=kinds) as told:
                functions["ctcl"]()
            order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
            print(told.key_averages().table(sort_by=order, row_limit=arguments.profile))


if __name__ == "__main__":
    main()
