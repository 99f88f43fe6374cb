"""The runs of a grid as Jobs of the Hugging Face Hub, which leave what they write in a bucket."""

import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, JobInfo, Volume, get_token
from huggingface_hub.errors import BucketNotFoundError

from ...arguments.launch import Launch
from ...base.registry import is_reference
from ...data import DATASETS
from ...publishing.hub import answered, identity
from ..comparison.cell import Cell
from ..comparison.grid import GRID_FILE
from ..comparison.names import safe_name
from .job import state_file
from .states import UNKNOWN, Word

MOUNTED = "/ctcl-hf-bucket"  # where a Job sees the bucket
QUEUED = {"SCHEDULING"}
RUNNING = {"RUNNING"}


def prepared(launch: Launch, folder: Path, words: Sequence[str]) -> Launch:
    """The launch with its bucket, USER/NAME; by default the user's of the folder's name.

    Args:
        words: what the runs of the grid are given.

    Raises:
        ValueError: a file is named that lies on this machine alone.
        OSError: no token, one that the Hub does not know, or no Hub.
    """
    for word in (part for given in words for part in shlex.split(given)):
        if is_reference(word) or (os.path.exists(word) and word not in DATASETS):
            raise ValueError(
                f"--launch hf_jobs: {word} lies on this machine, where no Job sees it. Put data on "
                "the Hub (ctcl-hf prepare --push_to_hub), and code of your own into --launch_image."
            )
    if get_token() is None:
        raise PermissionError(
            "--launch hf_jobs needs a token of the Hugging Face Hub that may write: run `hf auth "
            "login`, or set HF_TOKEN."
        )
    user = identity()
    bucket = launch.options["bucket"] or f"ctcl-hf-{safe_name(folder.name)}"
    bucket = bucket if "/" in bucket else f"{user}/{bucket}"
    return replace(launch, options=launch.options | {"bucket": bucket})


class HubEngine:
    """Jobs, each a container with a disk of its own. `hub_job` runs in it.

    Args:
        folder: of the grid, into which what the Jobs leave in the bucket is fetched.
        program: the words of a command line that trains, before the arguments of the run; the
            image's own Python is taken for the first.
        options: of `arguments.launch`: time in minutes, attempts, image, flavor, bucket.
    """

    orders = False
    is_here = False
    interval = 30.0

    def __init__(self, folder: Path, program: tuple[str, ...], options: Mapping[str, Any]):
        self.folder = folder
        self.program = ("python", *program[1:])
        self.options = options
        self.bucket: str = options["bucket"]
        self.namespace = self.bucket.partition("/")[0]
        self.api = HfApi()
        self.told: dict[str, JobInfo] = {}
        self._is_ahead = False  # the record here names jobs that the one in the bucket does not

    def submit(self, cells: Sequence[Cell], after: str | None = None) -> list[str]:
        jobs: list[str] = []

        def start() -> None:
            self.api.create_bucket(self.bucket, private=True, exist_ok=True)
            self._send(GRID_FILE)  # by which a Job knows what its run is made of
            for cell in cells:
                jobs.append(self._submit(cell))

        try:
            answered(start)
        except OSError:  # none may run that no record names
            for job in jobs:
                self.cancel(job)
            raise
        self._is_ahead = True
        return jobs

    def look(self, jobs: Collection[str]) -> None:
        try:
            answered(lambda: self._ask(jobs))
        except ConnectionError as error:  # the Jobs go on
            print(f"{error} What is known of the runs is of before.", file=sys.stderr)

    def word_of(self, job: str) -> Word:
        if job not in self.told:
            return UNKNOWN
        told = self.told[job]
        if told.status.stage in QUEUED:
            return Word("queued")
        if told.status.stage in RUNNING:
            return Word("running")
        reason = f" ({told.status.message})" if told.status.message else ""
        return Word("ended", f"the Hub says {told.status.stage} of {told.url}{reason}")

    def cancel(self, job: str) -> None:
        answered(lambda: self.api.cancel_job(job_id=job, namespace=self.namespace))

    def forget(self, cell: Cell) -> None:
        answered(lambda: self._send(self._key(state_file(cell))))  # which is here no more

    def _ask(self, jobs: Collection[str]) -> None:
        if self._is_ahead:
            self._send("launch/*.json")
            self._is_ahead = False
        for job in jobs:  # before the files: a Job that has ended by now wrote to them before
            self.told[job] = self.api.inspect_job(job_id=job, namespace=self.namespace)
        with suppress(BucketNotFoundError):  # no Job was started yet
            self.api.sync_bucket(
                f"hf://buckets/{self.bucket}",
                str(self.folder),
                exclude=["*/checkpoint-*/*", GRID_FILE, "launch/*"],
                quiet=True,
            )

    def _submit(self, cell: Cell) -> str:
        minutes = self.options["time"]
        folder = self.folder.name if self.folder.is_absolute() else str(self.folder)
        words = [MOUNTED, folder, self._key(cell.folder), str(minutes), *self.program]
        job = self.api.run_job(
            image=self.options["image"],
            command=["python", "-m", "ctcl_hf.runs.launch.hub_job", *words],
            env={"PYTHONUNBUFFERED": "1"},
            secrets={"HF_TOKEN": get_token()},  # for models and data that only its user may read
            flavor=self.options["flavor"],
            timeout=f"{minutes}m",
            attempts=self.options["attempts"],
            volumes=[Volume(type="bucket", source=self.bucket, mount_path=MOUNTED)],
            namespace=self.namespace,
        )
        return job.id

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _send(self, files: str) -> None:
        """Makes files of the bucket, by a pattern, what they are here; those that are not are
        deleted.
        """
        with suppress(BucketNotFoundError):  # no Job was started yet
            self.api.sync_bucket(
                str(self.folder),
                f"hf://buckets/{self.bucket}",
                include=[files],
                delete=True,
                quiet=True,
            )
