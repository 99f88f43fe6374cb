"""Every benchmark, in turn, into one page: python benchmarks/run.py --output docs/benchmarks.md

Wants an idle machine and the extra packages of `pip install -e '.[bench]'`; with --gpu those that
need a GPU, and no extra packages.
"""

import argparse
import ast
import datetime
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
# script -> arguments that it takes of --data_dir and --evaluate_metric
SCRIPTS = {
    "collaboration": (),
    "losses": (),
    "memory": (),
    "methods": (),
    "teachers": (),
    "peers": ("data_dir",),
    "metric": ("data_dir", "evaluate_metric"),
    "input_pipeline": ("data_dir",),
    "shards": ("data_dir",),
    "inference": (),
    "evaluation": ("data_dir",),
    "startup": ("data_dir",),
    "options": (),
    "precision": (),
    "growth": (),
}
ON_GPU = {"gpu_equality": (), "gpu_steps": (), "gpu_strips": ()}
PACKAGES = ("torch", "torchvision", "transformers", "datasets", "evaluate", "timm")
PEERS = ("segmentation-models-pytorch", "albumentations", "opencv-python-headless", "onnxruntime")


def machine(gpu: bool) -> str:
    """Processor, cores and memory, and which GPU."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        model = lines[0].split(":")[1].strip() if lines else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    told = f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{torch.cuda.get_device_name()}; {told}" if gpu else told


def section(script: str, arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """A script's title, command, explanation and tables as Markdown, and its verdicts."""
    path = FOLDER / f"{script}.py"
    title, text = ast.get_docstring(ast.parse(path.read_text())).split("\n\n", 1)
    options = [
        part
        for name in (SCRIPTS | ON_GPU)[script]
        if getattr(arguments, name)
        for part in (f"--{name}", getattr(arguments, name))
    ]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(path), *options], stdout=subprocess.PIPE, text=True)
    took = time.perf_counter() - start
    lines = done.stdout.splitlines()
    if done.returncode:
        lines.append(
            f"\n**`{script}.py` ended with code {done.returncode}**; its message is on the "
            "terminal."
        )
    verdicts = [line for line in lines if line.startswith("Bar ")]
    tables = "\n".join(line for line in lines if not line.startswith("Bar ")).strip()
    shown = "".join(
        f" --{name} {name.upper()}"
        for name in (SCRIPTS | ON_GPU)[script]
        if getattr(arguments, name)
    )
    print(f"{script}: {took:.0f} s", *verdicts, sep="\n  ", file=sys.stderr)
    return (
        f"## {title}\n\n{text}\n\n`python benchmarks/{script}.py{shown}` ({took:.0f} "
        f"s)\n\n{tables}\n",
        verdicts,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scripts", nargs="*", help=f"Of {', '.join(SCRIPTS)}; default: all.")
    parser.add_argument("--output", type=Path, help="The page to write. Default: printed.")
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn scenes of its size.")
    parser.add_argument(
        "--evaluate_metric", help="Folder of evaluate's mean_iou. Default: from the Hub."
    )
    parser.add_argument("--gpu", action="store_true", help=f"{', '.join(ON_GPU)} in their place.")
    arguments = parser.parse_args()
    scripts = ON_GPU if arguments.gpu else SCRIPTS
    if unknown := set(arguments.scripts) - set(scripts):
        parser.error(
            f"no benchmark is named {', '.join(sorted(unknown))}; expected some of "
            f"{', '.join(scripts)}"
        )
    start = time.perf_counter()
    parts, verdicts = [], []
    for script in arguments.scripts or scripts:
        part, own = section(script, arguments)
        parts.append(part)
        verdicts += own
    versions = ", ".join(
        f"{name} {version(name)}" for name in (*PACKAGES, *(() if arguments.gpu else PEERS))
    )
    page = "\n".join(
        [
            "# Benchmarks on a GPU" if arguments.gpu else "# Benchmarks",
            "",
            f"Written by `make {'bench-gpu' if arguments.gpu else 'bench'}` on "
            f"{datetime.date.today()} in {(time.perf_counter() - start) / 60:.0f} minutes. "
            f"Machine: {machine(arguments.gpu)}; Python {platform.python_version()}, {versions}. "
            "Ratios are medians of alternated runs on an "
            "otherwise idle machine; data sets are CamVid's where a folder was given.",
            "",
            *(f"- {verdict}" for verdict in verdicts),
            "",
            *parts,
        ]
    )
    if arguments.output:
        arguments.output.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
