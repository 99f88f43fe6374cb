"""A student's score on a benchmark of which the Hub keeps a leaderboard: `.eval_results/` in its
folder, beside the `model-index` of its card.

https://huggingface.co/docs/hub/eval-results
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResultEntry, HfApi, eval_result_entries_to_yaml
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import yaml_dump

from ..base.files import write_whole
from ..base.hub_access import shown_endpoint
from ..metrics.scores import evaluations_from_json

FOLDER = ".eval_results"  # in a student's folder
REGISTRATION_FILE = "eval.yaml"  # in the repository of a data set that is a benchmark
UNITS = {"percent": 100, "share": 1}
OF_PART = ("max_eval_samples", "skip_bad")  # options of a run that scored a part


class Benchmark(NamedTuple):
    """A task of a data set that is registered as a benchmark, and how its leaderboard counts.

    dataset_id: "user/name".
    split: of the data set, on which the task is scored.
    """

    dataset_id: str
    task: str
    split: str
    unit: str  # of UNITS


def benchmark_of(record: Mapping[str, Any], task: str, unit: str) -> Benchmark:
    """The benchmark that a run's own data set is registered as, whose task its scores are of.

    ValueError: its data are no data set of the Hub, no benchmark with such a task, or scored in
    part. OSError: the Hub does not answer.
    """
    if unit not in UNITS:
        raise ValueError(
            f"--benchmark {task} {unit}: expected {' or '.join(UNITS)} after the task."
        )
    dataset_id = record["dataset_id"]
    if dataset_id is None:
        raise ValueError(
            "--benchmark: the run's data are no data set of the Hub (--dataset_name USER/NAME), "
            "which alone can be registered as a benchmark."
        )
    splits = _tasks(dataset_id)
    if task not in splits:
        raise ValueError(
            f"--benchmark {task}: {dataset_id} has the tasks {', '.join(splits) or 'none'}."
        )
    split = splits[task]
    if split not in record["scores"]:
        raise ValueError(
            f"--benchmark {task} is scored on {split}, and the run on "
            f"{', '.join(record['scores']) or 'nothing'}."
        )
    given = (record["command"] or "").replace("-", "_")  # which options may be spelled with
    of_part = [f"--{name}" for name in OF_PART if f"__{name}" in given]
    if split == "validation" and record.get("validation_share") is not None:
        of_part.append("--validation_share")
    if of_part:
        raise ValueError(
            f"--benchmark {task} is scored on all of {split}, and the run on a part of the data "
            f"({', '.join(of_part)})."
        )
    return Benchmark(dataset_id, task, split, unit)


def _tasks(dataset_id: str) -> dict[str, str]:
    """The splits that the tasks of a benchmark are scored on, by their ids."""
    try:
        path = HfApi().hf_hub_download(dataset_id, REGISTRATION_FILE, repo_type="dataset")
    except (RemoteEntryNotFoundError, RepositoryNotFoundError) as error:
        raise ValueError(
            f"--benchmark: {dataset_id} is registered as no benchmark on {shown_endpoint()}: there "
            f"is no {REGISTRATION_FILE} in it."
        ) from error
    try:
        told = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return {task["id"]: task["split"] for task in told["tasks"]}
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"--benchmark: {REGISTRATION_FILE} of {dataset_id} lists no tasks as the Hub wants "
            f"them ({error})."
        ) from error


def write_result(student: Path, record: Mapping[str, Any], name: str, benchmark: Benchmark) -> Path:
    """Writes the mean IoU of a run's student `name` into its folder; returns the file."""
    scores = evaluations_from_json(record["scores"])[benchmark.split].students[name]
    entry = EvalResultEntry(
        benchmark.dataset_id,
        benchmark.task,
        round(UNITS[benchmark.unit] * scores.mean_iou, 6),
        notes=f"mean IoU, {benchmark.unit}; {benchmark.split}: {record['protocol']}",
    )
    file = student / FOLDER / f"{benchmark.dataset_id.split('/')[1]}.yaml"
    file.parent.mkdir(exist_ok=True)
    write_whole(file, yaml_dump(eval_result_entries_to_yaml([entry])))
    return file


def drop_results(student: Path) -> None:
    """Deletes what was written beside an earlier card, whose scores may have been others."""
    shutil.rmtree(student / FOLDER, ignore_errors=True)
