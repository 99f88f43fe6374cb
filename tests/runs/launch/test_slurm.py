"""A grid as arrays of Slurm's, with stand-ins for Slurm's commands: what submitit asks of them, and
the jobs that come of it.
"""

import os
import re
import sys

import pytest
from helpers.grids import STAND_IN, make_grid

from ctcl_hf.arguments.launch import ENGINES, Launch
from ctcl_hf.runs.comparison.paper import CTCL, DML, VANILLA, Row
from ctcl_hf.runs.launch.engine import Record
from ctcl_hf.runs.launch.launching import launch, stop
from ctcl_hf.runs.launch.states import Word
from ctcl_hf.runs.launch.submitit_engines import SlurmEngine

# Starts a process for each job of an array, once what it depends on is done.
SBATCH = """
import os, re, subprocess, sys
from pathlib import Path

script, states = Path(sys.argv[1]), Path(os.environ["STATES"])
text = script.read_text()
number = len([*states.glob("*.sh")]) + 1
(states / f"{number}.sh").write_text(text)
array = re.search(r"--array=0-(\\d+)", text)
before = re.search(r"--dependency=afterok:(\\S+)", text)
wait = f"until grep -qs COMPLETED {states}/{before[1]}; do sleep 0.1; done; " if before else ""
for index in range(int(array[1]) + 1 if array else 1):
    name, variables = f"{number}", {"SLURM_JOB_ID": str(100 * number + index)}
    if array:
        name = f"{number}_{index}"
        variables |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
    else:
        variables["SLURM_JOB_ID"] = name
    state = states / name
    state.write_text("PENDING")
    if "HELD" not in os.environ:
        end = f"bash {script} && echo COMPLETED > {state} || echo FAILED > {state}"
        subprocess.Popen(
            ["bash", "-c", f"{wait}echo RUNNING > {state}; {end}"],
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
print("Submitted batch job", number)
"""
STAND_INS = {
    "srun": 'shift 5\nexec "$@"',  # after --unbuffered --output OUT --error ERR
    "sacct": """echo 'JobID|State|NodeList'
for state in "$STATES"/*; do
    [[ $state == *.* ]] || echo "$(basename "$state")|$(cat "$state")|here"
done""",
    "scancel": 'echo CANCELLED > "$STATES/$1"',
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder in which a Slurm notes what it was told, a script for each array."""
    states, commands = tmp_path / "states", tmp_path / "bin"
    states.mkdir()
    commands.mkdir()
    (commands / "sbatch.py").write_text(SBATCH)
    start = f'exec {sys.executable} {commands / "sbatch.py"} "$@"'
    for name, body in {**STAND_INS, "sbatch": start}.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("STATES", str(states))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # or it says how many threads a run takes
    return states


def prepared(tmp_path, rows, **options):
    (tmp_path / "run_ctcl.py").write_text(STAND_IN)
    grid = make_grid(tmp_path / "grid", rows)
    grid.folder.mkdir()
    launched = Launch("slurm", 0, ENGINES["slurm"] | options)
    program = (sys.executable, str(tmp_path / "run_ctcl.py"))
    engine = SlurmEngine(grid.folder / "launch", program, launched.options)
    engine.interval = 0.2
    return grid, Record(grid.folder, launched), engine


def test_slurm_is_given_an_array_of_vanilla_runs_and_holds_back_what_waits_for_them(
    tmp_path, slurm
):
    fails = Row("fails", "--method dml fail")
    grid, record, engine = prepared(tmp_path, (VANILLA, CTCL, fails), partition="gpu", time=60)
    told = launch(grid, list(grid.cells()), record, engine, lambda states: None)
    assert {cell.title for cell in told} == {"fails, a+b, seed 1", "fails, a+b, seed 2"}
    assert {*told.values()} == {"ctcl-hf train: error: the sky has fallen."}
    scripts = [(slurm / f"{number}.sh").read_text() for number in (1, 2, 3)]
    options = [dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.M)) for text in scripts]
    assert [found["array"] for found in options] == ["0-1%2"] * 3
    dependencies = [found.get("dependency") for found in options]
    assert dependencies == [None, "afterok:1_0", "afterok:1_1"]
    for found in options:
        assert (found["partition"], found["time"], found["mem"]) == ("gpu", "60", "16GB")
        assert (found["gpus-per-node"], found["cpus-per-task"]) == ("1", "8")
        assert found["signal"] == "USR2@180" and "requeue" in found
        assert found["kill-on-invalid-dep"] == "yes"
    for cell in grid.cells():
        if cell.is_complete:
            assert "--cpu_threads 8" in cell.facts()["command"]


def test_jobs_in_slurms_queue_are_shown_and_cancelled(tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("HELD", "1")  # nothing begins

    def leave(states):
        if all(state.kind == "queued" for state in states.values()):
            raise KeyboardInterrupt

    grid, record, engine = prepared(tmp_path, (VANILLA, DML))
    with pytest.raises(KeyboardInterrupt):
        launch(grid, list(grid.cells()), record, engine, leave)
    again = Record.read(grid.folder)
    states = {cell.title: state for cell, state in again.states(grid, engine).items()}
    assert states["Vanilla, a+b, seed 2"] == ("queued", "job 1_1")  # which Ctrl-C has left alone
    stop(grid, again, engine, lambda states: None)
    kinds = {(state.kind, state.words) for state in again.states(grid, engine).values()}
    assert ("failed", "Slurm says CANCELLED of job 1_1") in kinds and len(kinds) == 4


def test_a_job_that_slurm_has_queued_again_is_not_over(tmp_path, slurm):
    """submitit remembers what has ended, and asks no more."""
    _, _, engine = prepared(tmp_path, (VANILLA,))
    for state, word in (("NODE_FAIL", "ended"), ("PENDING", "queued"), ("RUNNING", "running")):
        (slurm / "5_0").write_text(state)
        engine.look(["5_0"])
        assert engine.word_of("5_0").kind == word
    (slurm / "5_0").write_text("CANCELLED by 1000")
    engine.look(["5_0"])
    assert engine.word_of("5_0") == Word("ended", "Slurm says CANCELLED of job 5_0")


def test_without_slurm_it_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    grid, record, engine = prepared(tmp_path, (VANILLA,))
    with pytest.raises(OSError, match='--launch slurm: Could not detect "srun"'):
        launch(grid, list(grid.cells()), record, engine, lambda states: None)
