"""Arguments about where the runs of a grid run, each documented once.

Imported without torch, so that --help answers at once.
"""

import argparse
from dataclasses import dataclass
from typing import Any

# engine -> its options, and what they are if they are not given
ENGINES: dict[str, dict[str, Any]] = {
    "local": {},
    "slurm": {
        "time": 240,
        "memory": 16,
        "gpus": 1,
        "cpus": 8,
        "partition": None,
        "attempts": 20,
    },
    "hf_jobs": {
        "time": 240,
        "attempts": 20,
        "image": None,
        "flavor": "t4-small",
        "bucket": None,
    },
}
ON_SUBMITIT = ("local", "slurm")


@dataclass(frozen=True)
class Launch:
    """What runs the runs of a grid: an engine, how many at a time (0: as many as it likes), and its
    options.
    """

    engine: str
    at_once: int
    options: dict[str, Any]


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """What `launch_of` reads, as a group of its own in --help."""
    group = parser.add_argument_group(
        "engines",
        "Runs as jobs, each a process of its own that prints into ROW.log beside its folder. The "
        "same command goes on after whatever happens to them.",
    )
    group.add_argument(
        "--launch",
        metavar="ENGINE",
        help="local:N, N runs at a time on this machine, which share its cores and GPUs; slurm, "
        "arrays of jobs; or hf_jobs, Jobs of the Hugging Face Hub. Default: one after the other in "
        "this process.",
    )
    group.add_argument(
        "--launch_time",
        type=int,
        metavar="MINUTES",
        help="Of a job, after which it goes on as the next attempt (slurm, hf_jobs; default: 240).",
    )
    group.add_argument(
        "--launch_memory", type=int, metavar="GB", help="Of a job (slurm; default: 16)."
    )
    group.add_argument("--launch_gpus", type=int, help="Of a job: 1, or 0 (slurm; default: 1).")
    group.add_argument("--launch_cpus", type=int, help="Cores of a job (slurm; default: 8).")
    group.add_argument(
        "--launch_partition",
        help="Of the cluster (slurm). What else it wants to know is told by sbatch's own "
        "variables, such as SBATCH_ACCOUNT.",
    )
    group.add_argument(
        "--launch_attempts",
        type=int,
        help="How often a run may be started, when its time is over or it is pre-empted (slurm, "
        "hf_jobs; default: 20).",
    )
    group.add_argument(
        "--launch_image",
        metavar="IMAGE",
        help="Of Docker, or hf.co/spaces/USER/SPACE, in which ctcl_hf is installed (hf_jobs).",
    )
    group.add_argument(
        "--launch_flavor",
        help="The machine of a job, as `hf jobs hardware` lists them (hf_jobs; default: t4-small).",
    )
    group.add_argument(
        "--launch_bucket",
        metavar="USER/NAME",
        help="Where jobs leave what they write, one for each grid (hf_jobs; default: "
        "ctcl-hf-FOLDER, of --output_dir).",
    )
    group.add_argument(
        "--launch_status",
        action="store_true",
        help="Show how the runs in --output_dir are doing, on any machine that sees the folder.",
    )
    group.add_argument(
        "--launch_cancel",
        action="store_true",
        help="Stop the jobs of the grid in --output_dir; those that train save a checkpoint first.",
    )


def launch_of(told: argparse.Namespace) -> Launch | None:
    """What the command line says; None if all runs are to be made in this process.

    ValueError says what is wrong with it.
    """
    names = sorted({name for options in ENGINES.values() for name in options})
    given = {
        name: value for name in names if (value := getattr(told, f"launch_{name}")) is not None
    }
    if told.launch is None:
        if given:
            raise ValueError(f"--launch_{next(iter(given))}: give --launch as well.")
        return None
    engine, _, number = told.launch.partition(":")
    if engine not in ENGINES or (engine == "local") != bool(number):
        raise ValueError(f"--launch {told.launch}: expected local:N, slurm or hf_jobs.")
    if number and not (number.isdecimal() and int(number)):
        raise ValueError(f"--launch {told.launch}: expected a number of runs at a time, local:2.")
    defaults = ENGINES[engine]
    for name, value in given.items():
        if name not in defaults:
            engines = ", ".join(other for other, options in ENGINES.items() if name in options)
            raise ValueError(
                f"--launch_{name} has no effect on --launch {told.launch}, only on {engines}."
            )
        least = 0 if name == "gpus" else 1
        if isinstance(value, int) and value < least:
            raise ValueError(f"--launch_{name} {value}: at least {least}.")
    if engine == "hf_jobs" and "image" not in given:
        raise ValueError("--launch hf_jobs: give --launch_image, in which ctcl_hf is installed.")
    if given.get("gpus", 0) > 1:
        raise ValueError(f"--launch_gpus {given['gpus']}: a run of a grid is one process: 1, or 0.")
    return Launch(engine, int(number or 0), defaults | given)
