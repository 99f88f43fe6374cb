"""A grid as jobs of this machine, by submitit's own local executor: it is finished whatever happens
to them.
"""

import json
import os
import signal
import sys
import threading
from functools import partial

import pytest
from helpers.grids import STAND_IN, facts_of, make_grid, wait_until

from ctcl_hf.arguments.launch import Launch
from ctcl_hf.cli.launched import told_problems
from ctcl_hf.runs.comparison.paper import CTCL, DML, VANILLA, Row
from ctcl_hf.runs.files import CELL_FILE
from ctcl_hf.runs.launch.engine import Record
from ctcl_hf.runs.launch.job import CellJob
from ctcl_hf.runs.launch.launching import launch, stop
from ctcl_hf.runs.launch.states import process_exists, state_of
from ctcl_hf.runs.launch.submitit_engines import LocalEngine
from ctcl_hf.training.locks import lock_folder

SLOW = Row("slow", "--method dml slow")
FAILS = Row("fails", "--method dml fail")


class Launched:
    """A grid, launched in this process as `compare --launch local:2` does it."""

    def __init__(self, folder, rows, seeds=(1,)):
        folder.mkdir(exist_ok=True)
        script = folder.parent / "run_ctcl.py"
        script.write_text(STAND_IN)
        self.grid = make_grid(folder, rows, seeds=seeds)
        self.cells = list(self.grid.cells())
        self.program = (sys.executable, str(script))
        self.shown = []

    def record(self):
        return Record.read(self.grid.folder) or Record(self.grid.folder, Launch("local", 2, {}))

    def engine(self):
        return LocalEngine(self.grid.folder / "launch", self.program, 2)

    def launch(self, show=lambda states: None, on_stop=lambda stopping: None):
        def shows(states):
            self.shown.append(states)
            show(states)

        return launch(self.grid, self.cells, self.record(), self.engine(), shows, on_stop)

    def states(self):
        """As --launch_status shows them."""
        return {
            cell.row.title: state
            for cell, state in self.record().states(self.grid, self.engine()).items()
        }

    def once_running(self, title, act):
        """What to show to: does something, once, when a run trains."""
        acted = []

        def show(states):
            for cell, state in states.items():
                if cell.row.title == title and state.words.startswith("step") and not acted:
                    acted.append(state.words)
                    act(cell)

        return show, acted


def test_runs_are_jobs_two_at_a_time_each_after_its_vanilla_run_and_print_into_a_file_each(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # or it says how many threads a run takes
    launched = Launched(tmp_path / "grid", (VANILLA, DML), seeds=(1, 2))
    assert launched.launch() == {}
    assert {state.kind for state in launched.states().values()} == {"done"}
    at_once = [
        sum(state.kind in ("queued", "running") for state in states.values())
        for states in launched.shown
    ]
    assert max(at_once) == 2
    for cell in launched.cells:
        facts = cell.facts()
        assert facts["jobs"] == 2 and not facts["resumed"] and "--cpu_threads" in facts["command"]
        assert f"this cell's own words {cell.folder.name}" in cell.log_file.read_text()
        assert not facts_of(cell)  # a finished run is told by its results alone


def test_what_fails_is_told_by_its_last_sentence_all_else_is_run_and_the_same_command_goes_on(
    tmp_path,
):
    launched = Launched(tmp_path / "grid", (VANILLA, FAILS, CTCL))
    told = {cell.row.title: problem for cell, problem in launched.launch().items()}
    assert told == {"fails": "ctcl-hf train: error: the sky has fallen."}
    assert launched.states()["fails"] == ("failed", "ctcl-hf train: error: the sky has fallen.")
    failed = launched.cells[1]
    assert told_problems({failed: "it fell."}) == f"{failed.title}: it fell. ({failed.log_file})"
    (launched.grid.folder / "mended").touch()
    assert launched.launch() == {}


def test_without_its_vanilla_run_a_run_is_not_begun(tmp_path, monkeypatch):
    impatient = partial(CellJob, patience=0.1)
    monkeypatch.setattr("ctcl_hf.runs.launch.submitit_engines.CellJob", impatient)
    launched = Launched(tmp_path / "grid", (VANILLA, DML))
    with lock_folder(launched.cells[0].folder):
        told = {cell.row.title: problem for cell, problem in launched.launch().items()}
    assert told["Vanilla"].startswith("Another run is writing to")
    assert told["DML"] == "its vanilla run is not finished"


def test_a_pre_empted_job_saves_is_queued_again_by_submitit_and_finished(tmp_path):
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW))
    show, acted = launched.once_running(
        "slow", lambda cell: os.kill(facts_of(cell)["pid"], signal.SIGUSR2)
    )
    assert launched.launch(show) == {}
    assert acted
    log = launched.cells[1].log_file.read_text()
    assert "Stopped after step" in log and log.count("this cell's own words") == 2
    assert len({*launched.record().jobs.values()}) == 2  # the same job, and no third


def test_a_node_that_dies_is_told_and_the_same_command_goes_on(tmp_path):
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW))
    show, _ = launched.once_running(
        "slow", lambda cell: os.kill(facts_of(cell)["pid"], signal.SIGKILL)
    )
    told = {cell.row.title: problem for cell, problem in launched.launch(show).items()}
    assert "has ended without a word, as if it was killed" in told["slow"]
    state = launched.states()["slow"]
    assert state.kind == "failed" and state.words == told["slow"]
    assert launched.launch() == {}
    assert launched.cells[1].is_complete


def test_a_job_outlives_what_looks_after_it(tmp_path):
    """submitit's own `job._interrupt()` kills the process that would queue the job again."""
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW))

    def act(cell):
        os.kill(int(launched.record().job_of(cell)), signal.SIGUSR2)
        wait_until(lambda: state_of(cell, "0").kind == "running")
        os.kill(facts_of(cell)["pid"], signal.SIGTERM)

    show, _ = launched.once_running("slow", act)
    told = {cell.row.title: problem for cell, problem in launched.launch(show).items()}
    assert told == {"slow": "stopped by a signal: the same command goes on"}
    assert launched.launch() == {}


def test_interrupted_it_stops_those_that_run_and_says_so_at_once(tmp_path):
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW))

    def interrupt(cell):
        raise KeyboardInterrupt

    show, _ = launched.once_running("slow", interrupt)
    stopping, started = [], threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        launched.launch(show, stopping.extend)
    assert stopping == launched.cells[1:]
    assert threading.active_count() == started
    assert launched.states()["slow"].kind == "stopped"
    assert "Stopped after step" in launched.cells[1].log_file.read_text()
    assert not (launched.cells[1].folder / CELL_FILE).exists()


def test_jobs_go_on_when_the_command_is_killed_and_it_finds_them_again(tmp_path):
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW))

    class Killed(Exception):
        pass

    def kill(cell):
        raise Killed

    engine = launched.engine()
    engine.is_here = False  # nobody is left to stop them
    show, _ = launched.once_running("slow", kill)
    with pytest.raises(Killed):
        launch(launched.grid, launched.cells, launched.record(), engine, show)
    assert launched.states()["slow"].kind == "running"  # as another process tells
    stop(launched.grid, launched.record(), launched.engine(), lambda states: None)
    assert launched.states()["slow"].kind == "stopped"
    assert launched.launch() == {}


def test_runs_are_spread_over_the_gpus_that_there_are(tmp_path, monkeypatch):
    """A process of a run that sees several would refuse to train."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    launched = Launched(tmp_path / "grid", (VANILLA, SLOW), seeds=(1, 2))
    engine = launched.engine()
    gpus = []
    monkeypatch.setattr(
        engine.executor, "submit", lambda job: gpus.append(job.environment) or Submitted(len(gpus))
    )
    engine.submit(launched.cells)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in gpus] == ["2", "5", "2", "5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    engine.submit(launched.cells[:1])
    assert gpus[-1]["CUDA_VISIBLE_DEVICES"] is None  # as a run without an engine has it


class Submitted:
    """A job whose process is this one, which is there."""

    def __init__(self, number):
        self.job_id = str(os.getpid())


def test_two_launches_of_one_grid_are_refused(tmp_path):
    with (
        Record.being_written(tmp_path, Launch("local", 2, {})),
        pytest.raises(OSError, match="Another run is writing to"),
        Record.being_written(tmp_path, Launch("local", 2, {})),
    ):
        pass


def test_the_record_of_a_launch_tells_which_job_is_whose(tmp_path):
    launched = Launched(tmp_path / "grid", (VANILLA,))
    record = launched.record()
    record.add(launched.cells, ["17"])
    record.save()
    facts = json.loads((tmp_path / "grid" / "launch" / "launch.json").read_text())
    assert facts["jobs"] == {"a+b/seed-1/vanilla": "17"}
    assert launched.record().job_of(launched.cells[0]) == "17"
    assert process_exists(os.getpid()) and not process_exists(2**22 + 1)
