"""A grid as Jobs of the Hub, which a Hub on loopback starts as processes, each with a disk of its
own that is gone when it ends.
"""

import sys
import time
from pathlib import Path

import pytest
from helpers.commands import SMALL
from helpers.grids import STAND_IN, make_grid, wait_until
from helpers.jobs import JobsHub
from huggingface_hub import HfApi, constants

from ctcl_hf.arguments.launch import ENGINES, Launch
from ctcl_hf.cli.launched import TRAIN
from ctcl_hf.runs.comparison.grid import read_grid
from ctcl_hf.runs.comparison.paper import CTCL, VANILLA, Row
from ctcl_hf.runs.launch.engine import Record, engine_of
from ctcl_hf.runs.launch.hub_engine import HubEngine, prepared
from ctcl_hf.runs.launch.launching import launch, stop
from ctcl_hf.training.checkpoints import problem_of

BUCKET = "tester/ctcl-hf-grid"
SLOW = Row("slow", "--method dml slow")
FAILS = Row("fails", "--method dml fail")
# Its mark is of a checkpoint: what a Job has written is copied when there is a new one.
SAVES = STAND_IN.replace(
    "again.touch()", "again.touch(); (folder / 'checkpoint-1').mkdir(exist_ok=True)"
)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that this process talks to as the user `tester`, from a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with JobsHub(tmp_path / "hub") as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of the Jobs, which fetch nothing
        session = "huggingface_hub.utils._xet.get_xet_session"
        monkeypatch.setattr(session, running.xet_session)
        yield running


class Launched:
    """A grid of a folder `grid`, which lies where this process does and nowhere else."""

    def __init__(self, rows, common=("--recipe", "demo"), program=None, **options):
        self.grid = make_grid("grid", rows, seeds=(1,), common=common)
        self.cells = list(self.grid.cells())
        self.grid.save()
        script = Path("../run_ctcl.py").resolve()
        script.write_text(SAVES)
        self.program = program or (sys.executable, str(script))
        options = ENGINES["hf_jobs"] | {"image": "user/image", **options}
        self.options = prepared(Launch("hf_jobs", 0, options), self.grid.folder, ()).options

    def record(self):
        launched = Launch("hf_jobs", 0, self.options)
        return Record.read(self.grid.folder) or Record(self.grid.folder, launched)

    def engine(self):
        engine = HubEngine(self.grid.folder, self.program, self.options)
        engine.interval = 0.2
        return engine

    def launch(self, show=lambda states: None):
        end = time.monotonic() + 200

        def shows(states):
            assert time.monotonic() < end, states
            show(states)

        told = launch(self.grid, self.cells, self.record(), self.engine(), shows)
        return {cell.row.title: problem for cell, problem in told.items()}


def test_runs_are_jobs_each_after_its_vanilla_run_and_their_results_are_seen_everywhere(
    hub, tmp_path
):
    launched = Launched((VANILLA, CTCL), flavor="l4x1", time=60, attempts=3)
    assert launched.launch() == {}
    first, second = (hub.jobs[name].asked for name in ("job1", "job2"))
    assert first["command"] != second["command"]
    assert (first["dockerImage"], first["flavor"]) == ("user/image", "l4x1")
    assert (first["timeoutSeconds"], first["attempts"]) == (3600, 3)
    assert first["secrets"] == {"HF_TOKEN": "hf_writer"} and "HF_TOKEN" not in first["environment"]
    (volume,) = first["volumes"]
    assert volume["source"] == BUCKET == launched.options["bucket"]
    for cell in launched.cells:
        assert cell.is_complete and "this cell's own words" in cell.log_file.read_text()
    # as `hf buckets sync` does it on another machine
    HfApi().sync_bucket(f"hf://buckets/{BUCKET}", str(tmp_path / "there"), quiet=True)
    record = Record.read(tmp_path / "there")
    grid, _ = read_grid(tmp_path / "there")
    states = record.states(grid, engine_of(record, launched.program))
    assert [state.kind for state in states.values()] == ["done", "done"]


def test_a_job_that_is_lost_goes_on_by_itself_from_what_it_has_left_in_the_bucket(hub):
    launched = Launched((VANILLA, SLOW))

    def lose(states):
        job = hub.jobs.get("job2")
        if job and job.starts == 1 and [*hub.bucket(BUCKET).rglob("begun")]:
            job.process.kill()

    assert launched.launch(lose) == {}
    assert hub.jobs["job2"].starts == 2 and len(hub.jobs) == 2


def test_a_run_that_fails_is_told_not_started_again_by_the_hub_and_begun_anew_by_the_command(hub):
    launched = Launched((VANILLA, FAILS))
    told = {"fails": "ctcl-hf train: error: the sky has fallen."}
    assert launched.launch() == told
    assert hub.jobs["job2"].starts == 1
    assert launched.launch() == told
    assert len(hub.jobs) == 3


def test_jobs_go_on_when_the_command_ends_and_are_cancelled_by_another(hub):
    launched = Launched((VANILLA, SLOW))

    def leave(states):
        if any(state.words.startswith("step") for state in states.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launched.launch(leave)
    assert hub.jobs["job2"].stage == "RUNNING"
    stop(launched.grid, launched.record(), launched.engine(), lambda states: None)
    wait_until(lambda: hub.jobs["job2"].process.poll() is not None)
    states = launched.record().states(launched.grid, launched.engine())
    state = states[launched.cells[1]]
    assert state.kind == "failed" and state.words.startswith("the Hub says CANCELED of http")


def test_what_stands_in_the_way_of_jobs_is_told_before_anything_is_built(hub, monkeypatch):
    Path("photos").mkdir()
    asked = Launch("hf_jobs", 0, ENGINES["hf_jobs"])
    with pytest.raises(ValueError, match="photos lies on this machine, where no Job sees it"):
        prepared(asked, Path("runs/table-3"), ["--dataset_name", "photos"])
    assert prepared(asked, Path("runs/table-3"), []).options["bucket"] == "tester/ctcl-hf-table-3"
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    with pytest.raises(PermissionError, match="does not accept this token"):
        prepared(asked, Path("runs/table-3"), [])
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("ctcl_hf.runs.launch.hub_engine.get_token", lambda: None)
    with pytest.raises(PermissionError, match="needs a token of the Hugging Face Hub"):
        prepared(asked, Path("runs/table-3"), [])


@pytest.mark.slow
def test_a_run_whose_job_is_lost_goes_on_from_its_checkpoint(hub):
    short = (*SMALL, "--max_steps", "12", "--save_steps", "4", "--eval_strategy", "no")
    launched = Launched((VANILLA,), common=short, program=TRAIN)
    launched.grid = make_grid("grid", (VANILLA,), ("mobilenetv2_035+mit-b0",), (1,), short)
    launched.grid.save()
    launched.cells = list(launched.grid.cells())

    def lose(states):
        job = hub.jobs["job1"] if hub.jobs else None
        kept = [*hub.bucket(BUCKET).rglob("checkpoint-4")]
        if job and job.starts == 1 and kept and problem_of(kept[0]) is None:
            job.process.kill()

    assert launched.launch(lose) == {}
    assert hub.jobs["job1"].starts == 2
    (cell,) = launched.cells
    assert cell.facts()["resumed"] and "training goes on" in cell.log_file.read_text()
    # The Job deletes them last, once the run counts as finished. (A bucket has no folders.)
    kept = hub.bucket(BUCKET).rglob
    wait_until(lambda: not [path for path in kept("checkpoint-*/**/*") if path.is_file()])
