"""How the runs of a launched grid are doing, as their files tell."""

import json
import os
import shlex
import socket
import time

from helpers.grids import make_grid

from ctcl_hf.runs.comparison.paper import DML, VANILLA
from ctcl_hf.runs.files import CELL_FILE
from ctcl_hf.runs.launch.job import state_file
from ctcl_hf.runs.launch.page import Page, lines_of
from ctcl_hf.runs.launch.states import SILENT, State, Word, counts_in_words, progress_of, state_of

NOBODY = 2**22 + 1  # no process has this number


def a_cell(tmp_path):
    cell = next(make_grid(tmp_path).cells())
    cell.folder.mkdir(parents=True)
    return cell


def say(cell, **facts):
    state_file(cell).write_text(json.dumps(facts))


def running(host=None, pid=NOBODY):
    place = {"host": socket.gethostname() if host is None else host, "pid": pid}
    return {"state": "running", "log_from": 0, **place}


def test_a_run_waits_is_queued_runs_and_is_done(tmp_path):
    cell = a_cell(tmp_path)
    assert state_of(cell, None) == ("waiting", "")
    assert state_of(cell, "7_0") == ("queued", "job 7_0")
    say(cell, **running(pid=os.getpid()))
    assert state_of(cell, "7_0") == ("running", "starting")
    cell.log_file.write_text("step  3/10  loss 1.2  ce cnn 0.6 vit 0.6  00:14 left\n")
    assert state_of(cell, "7_0") == ("running", "step 3/10, 0.50 steps/s, 00:14 left")
    (cell.folder / CELL_FILE).write_text("{}")
    assert state_of(cell, "7_0") == ("done", "")


def test_a_run_that_has_written_all_is_not_done_before_its_job_has_marked_it(tmp_path):
    """The command ended, and reported, while the job still had checkpoints to delete."""
    cell = a_cell(tmp_path)
    results = {"command": shlex.join(["ctcl-hf train", *cell.arguments])}
    (cell.folder / "results.json").write_text(json.dumps(results))
    say(cell, **running(pid=os.getpid()))
    assert cell.is_complete and state_of(cell, "7").kind == "running"
    say(cell, **running())  # and it is gone
    assert state_of(cell, "7").kind == "done"


def test_on_another_machine_a_run_is_known_by_its_signs_of_life(tmp_path):
    cell = a_cell(tmp_path)
    say(cell, **running(host="elsewhere"))
    assert state_of(cell, "7").kind == "running"
    before = time.time() - SILENT - 1
    os.utime(state_file(cell), (before, before))
    told = f"process {NOBODY} on elsewhere has ended without a word, as if it was killed"
    assert state_of(cell, "7") == ("failed", told)
    assert state_of(cell, "7", Word("running")).kind == "running"  # the cluster knows better
    # it lost a machine, and has queued the job again
    assert state_of(cell, "7", Word("queued")) == ("queued", "job 7")


def test_a_job_that_its_engine_ended_before_the_run_began_has_failed(tmp_path):
    cell = a_cell(tmp_path)
    word = Word("ended", "Slurm says CANCELLED of job 7")
    assert state_of(cell, "7", word) == ("failed", "Slurm says CANCELLED of job 7")


def test_the_pace_is_that_of_the_present_attempt(tmp_path):
    cell = a_cell(tmp_path)
    first = "step 90/100  loss 1.0  00:01 left\nStopped after step 90 by a signal.\n"
    cell.log_file.write_text(first)
    assert progress_of(cell, len(first)) == "starting"
    cell.log_file.write_text(f"{first}step 90/100  training goes on\n")
    assert progress_of(cell, len(first)) == "step 90/100"
    cell.log_file.write_text(f"{first}step 91/100  loss 1.0  1:01:30 left\nstep 92/100  scoring\n")
    assert progress_of(cell, len(first)) == "step 92/100, 410 s a step, 1:01:30 left"


def test_what_matters_most_stands_first_on_the_page(tmp_path):
    done, fails, runs = list(make_grid(tmp_path, (VANILLA, DML)).cells())[:3]
    states = {
        done: State("done"),
        runs: State("running", "step 3/10"),
        fails: State("failed", "ctcl-hf train: error: no disk"),
    }
    assert counts_in_words(states) == "1 failed, 1 running, 1 done of 3 runs"
    assert [line.split()[0] for line in lines_of(states)] == ["failed", "running", "done"]
    assert lines_of(states)[0].endswith("seed 1      ctcl-hf train: error: no disk")


def test_without_a_terminal_only_what_is_new_is_printed(tmp_path, capsys):
    first, second = list(make_grid(tmp_path, (VANILLA, DML)).cells())[:2]
    page = Page()
    page.show({first: State("running", "starting"), second: State("waiting")})
    page.show({first: State("running", "step 3/10"), second: State("waiting")})
    page.show({first: State("done"), second: State("waiting")})
    assert capsys.readouterr().out.splitlines() == [
        "running  Vanilla, a+b, seed 1  starting",
        "grid: 1 running, 1 waiting of 2 runs",
        "done     Vanilla, a+b, seed 1",
        "grid: 1 waiting, 1 done of 2 runs",
    ]


def test_on_a_terminal_the_page_is_drawn_over_itself_and_fits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "4")
    cells = list(make_grid(tmp_path).cells())
    page = Page()
    for step in (1, 2):
        page.show({cell: State("running", f"step {step}/10") for cell in cells})
    first, second = capsys.readouterr().out.split("\x1b[3A\x1b[J")
    assert len(first.splitlines()) == len(second.splitlines()) == 3
    assert first.splitlines()[-1] == "and 5 more: --launch_status shows all"
    assert "step 2/10" in second and max(map(len, second.splitlines())) <= 60
