"""Jobs by submitit: processes of this machine, and arrays of Slurm's."""

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...base.extras import require
from ...training.cpu import threads_of_environment
from ..comparison.cell import Cell
from .job import CellJob
from .states import UNKNOWN, Word, process_exists

YEARS = 10 * 365 * 24 * 60  # minutes; submitit's own default ends a job of this machine after two
SAVING = 180  # seconds before Slurm ends a job at which it says so: for a step and a checkpoint
QUEUED = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SUSPENDED"}
RUNNING = {"RUNNING", "CONFIGURING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"}


class LocalEngine:
    """Processes of this machine, which share its cores and its GPUs.

    A job is the process of submitit's that looks after the run's, and queues it again.

    Args:
        folder: for what submitit leaves.
        program: the words of a command line that trains, before the arguments of the run.
        at_once: how many runs the machine is shared by.
    """

    orders = False
    is_here = True
    interval = 0.5

    def __init__(self, folder: Path, program: tuple[str, ...], at_once: int):
        require("slurm", "submitit")
        from submitit import AutoExecutor

        self.program = program
        self.at_once = at_once
        self.executor = AutoExecutor(folder, cluster="local")
        self.executor.update_parameters(timeout_min=YEARS)
        self.jobs: dict[str, Any] = {}  # those that this process has started
        self.gpus: dict[str, str] = {}  # job -> the GPU that it was given

    def submit(self, cells: Sequence[Cell], after: str | None = None) -> list[str]:
        return [self._submit(cell) for cell in cells]

    def look(self, jobs: Collection[str]) -> None:
        for job in self.jobs.values():
            job.done()  # which also lets the system forget a process that has ended

    def word_of(self, job: str) -> Word:
        return Word("running" if process_exists(int(job)) else "ended")

    def cancel(self, job: str) -> None:
        # submitit's own cancel() leaves a job a second, which is no time to save in; this signal
        # it passes on.
        if process_exists(int(job)):
            os.kill(int(job), signal.SIGTERM)

    def forget(self, cell: Cell) -> None:
        """Nothing: all stands in the grid's folder."""

    def _submit(self, cell: Cell) -> str:
        threads = max((os.cpu_count() or 1) // self.at_once, 1)
        # The executor takes all GPUs away from whoever has not asked for any.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpu = self._idle_gpu() if visible is None or "," in visible else visible
        environment = {"CUDA_VISIBLE_DEVICES": gpu}
        if self.at_once > 1:  # a thread that waits for others is not to keep a core from them
            environment["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
        job = CellJob(
            with_threads(cell, threads), self.program, self.at_once, environment=environment
        )
        # Ctrl-C reaches every process of this terminal, and submitit's would kill the run: what
        # is to be done about it is up to this process alone.
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            submitted = self.executor.submit(job)
        finally:
            signal.signal(signal.SIGINT, heard)
        self.jobs[submitted.job_id] = submitted
        if gpu:
            self.gpus[submitted.job_id] = gpu
        return submitted.job_id

    def _idle_gpu(self) -> str | None:
        """The GPU that the fewest runs share; None if there are none to choose from."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            import torch  # not before it is needed

            names = [str(number) for number in range(torch.cuda.device_count())]
        else:
            names = visible.split(",")
        if len(names) < 2:
            return visible
        taken = Counter(gpu for job, gpu in self.gpus.items() if process_exists(int(job)))
        return min(names, key=lambda name: taken[name])


class SlurmEngine:
    """Arrays of Slurm's, each a job a run. Slurm itself holds back what needs another run.

    Args:
        folder: for what submitit leaves, on a disk that all machines share.
        program: the words of a command line that trains, before the arguments of the run.
        options: of `arguments.launch`: time in minutes, memory in GB, gpus, cpus, partition,
            attempts.
    """

    orders = True
    is_here = False
    interval = 15.0

    def __init__(self, folder: Path, program: tuple[str, ...], options: Mapping[str, Any]):
        require("slurm", "submitit")
        self.folder = folder
        self.program = program
        self.options = options

    def submit(self, cells: Sequence[Cell], after: str | None = None) -> list[str]:
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError

        options = self.options
        try:
            executor = AutoExecutor(
                self.folder, cluster="slurm", slurm_max_num_timeout=options["attempts"] - 1
            )
        except RuntimeError as error:
            raise OSError(f"--launch slurm: {error}") from error
        executor.update_parameters(
            name="ctcl-hf",
            timeout_min=options["time"],
            mem_gb=options["memory"],
            cpus_per_task=options["cpus"],
            gpus_per_node=options["gpus"] or None,
            slurm_partition=options["partition"],
            slurm_signal_delay_s=SAVING,
            slurm_dependency=None if after is None else f"afterok:{after}",
            # one whose control fails would wait for good
            slurm_additional_parameters={"requeue": True, "kill-on-invalid-dep": "yes"},
        )
        jobs = [CellJob(with_threads(cell, options["cpus"]), self.program) for cell in cells]
        try:
            return [job.job_id for job in executor.submit_array(jobs)]
        except (FailedJobError, subprocess.SubprocessError, OSError) as error:
            raise OSError(f"--launch slurm: sbatch took no jobs. {error}") from error

    def look(self, jobs: Collection[str]) -> None:
        if shutil.which("sacct") is None:  # a cluster without accounts: the files tell
            return
        for job in jobs:
            watcher = self._job(job).watcher
            watcher.clear()  # a job that Slurm has queued again is not over
        if jobs:
            watcher.update()

    def word_of(self, job: str) -> Word:
        state = self._job(job).watcher.get_state(job, mode="cache").split(" ")[0].upper()
        if state in QUEUED:
            return Word("queued")
        if state in RUNNING:
            return Word("running")
        return UNKNOWN if state == "UNKNOWN" else Word("ended", f"Slurm says {state} of job {job}")

    def cancel(self, job: str) -> None:
        self._job(job).cancel(check=False)

    def forget(self, cell: Cell) -> None:
        """Nothing: all stands in the grid's folder."""

    def _job(self, job: str) -> Any:
        from submitit import SlurmJob

        return SlurmJob(self.folder, job)


def with_threads(cell: Cell, threads: int) -> Cell:
    """The cell with the number of threads that it may use, unless its user has said one."""
    if "--cpu_threads" in cell.arguments or threads_of_environment() is not None:
        return cell
    return replace(cell, arguments=(*cell.arguments, "--cpu_threads", str(threads)))
