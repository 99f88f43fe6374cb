"""Options

What each option does to a CTCL step of the `cpu` recipe (crops of 160x224, batch 8, 11 classes,
ASPP 128, stride 16): median seconds, and bytes resident at the peak beyond those before, each in
processes of its own, in turn. "default" is what CTCLTrainer does on a CPU: freed memory kept, the
CNN in channels-last, float32. `--compile` adds torch.compile, which on 2026-11-21 took 185 s for
the first step and 1.09 times the default's seconds for each that followed.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import torch
from common import header, in_own_process, make_batch, make_pair, peak_bytes, row, step
from torch import nn

from ctcl_hf import StudentPair


def first_format(pair: StudentPair) -> nn.Module:
    pair.students["cnn"].model.to(memory_format=torch.contiguous_format)
    cnn = pair.students["cnn"]
    cnn.normalize = lambda pixels: super(type(cnn), cnn).normalize(pixels)
    return pair


def recomputed(pair: StudentPair) -> nn.Module:
    pair.activation_checkpointing_enable()
    return pair


KINDS: dict[str, Callable[[StudentPair], nn.Module]] = {
    "default": lambda pair: pair,
    "freed memory given back": lambda pair: pair,
    "CNN not channels-last": first_format,
    "--bf16": lambda pair: pair,
    "--activation_checkpointing": recomputed,
    "--torch_compile": torch.compile,
}


def measure(kind: str, steps: int) -> dict[str, float]:
    pair, batch = (
        make_pair(11, (180, 240), 128, output_stride=16),
        make_batch(11, (160, 224), images=8),
    )
    model = KINDS[kind](pair)
    before, seconds = peak_bytes(), []

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "--bf16"):
            return model(**batch).loss

    for _ in range(steps + 2):
        start = time.perf_counter()
        step(loss, pair)
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    return {"seconds": statistics.median(rest[1:]), "first": first, "bytes": peak_bytes() - before}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="Measure torch.compile as well.")
    parser.add_argument("--kind", choices=list(KINDS), help="Measure this one here.")
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.steps)))
        return
    kinds = [kind for kind in KINDS if kind != "--torch_compile" or arguments.compile]
    runs: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for _ in range(arguments.rounds):
        for kind in kinds:
            os.environ["BENCH_GIVE_BACK"] = "1" if kind == "freed memory given back" else ""
            runs[kind].append(
                in_own_process(__file__, "--steps", arguments.steps, f"--kind={kind}")
            )
    base = statistics.median(run["seconds"] for run in runs["default"])
    header("option", "s / step", "against the default", "peak (GiB)", "first step (s)")
    for kind, results in runs.items():
        seconds, first, peak = (
            statistics.median(run[key] for run in results) for key in ("seconds", "first", "bytes")
        )
        row(kind, f"{seconds:.2f}", f"{seconds / base:.2f}", f"{peak / 2**30:.2f}", f"{first:.1f}")


if __name__ == "__main__":
    main()
