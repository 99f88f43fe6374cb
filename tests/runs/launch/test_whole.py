"""Launched runs that train: what ends their jobs costs them nothing."""

import os
import signal
import subprocess
import sys

import pytest
from helpers.commands import EXAMPLES, SMALL
from helpers.grids import facts_of, make_grid, wait_until

from ctcl_hf.arguments.launch import Launch
from ctcl_hf.cli.launched import TRAIN
from ctcl_hf.runs.comparison.grid import read_grid
from ctcl_hf.runs.comparison.paper import VANILLA
from ctcl_hf.runs.launch.engine import Record
from ctcl_hf.runs.launch.launching import launch
from ctcl_hf.runs.launch.states import progress_of
from ctcl_hf.runs.launch.submitit_engines import LocalEngine

PAIR = "mobilenetv2_035+mit-b0"
SHORT = (*SMALL, "--max_steps", "30", "--eval_strategy", "no", "--save_steps", "1000")


def trains(cell):
    return facts_of(cell) and "left" in progress_of(cell, 0)


def assert_went_on(cell):
    """Finished in two parts, of which the second began where the first ended."""
    assert cell.facts()["resumed"]
    assert cell.log_file.read_text().count("training goes on") == 1
    # The job marks the cell, which ends the waiting of whoever launched it, and then deletes these.
    wait_until(lambda: not [*cell.folder.glob("checkpoint-*")])


@pytest.mark.slow
def test_a_pre_empted_run_goes_on_from_its_checkpoint_while_its_user_looks_on(tmp_path):
    def compare(*arguments):
        return subprocess.Popen(
            [sys.executable, EXAMPLES / "compare.py", *arguments, "--output_dir", str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    process = compare("--methods", "dml", *SHORT, "--pair", PAIR, "--launch", "local:1")
    wait_until((tmp_path / "grid.json").is_file)
    cell, _ = read_grid(tmp_path)[0].cells()  # the vanilla run comes first
    wait_until(lambda: trains(cell))
    os.kill(facts_of(cell)["pid"], signal.SIGUSR2)
    told, _ = process.communicate()
    assert process.returncode == 0 and "2 done of 2 runs\n" in told, told
    assert_went_on(cell)
    assert (tmp_path / "table.md").is_file()
    status = compare("--launch_status")
    told, _ = status.communicate()
    assert status.returncode == 0 and "done     Vanilla" in told, told


@pytest.mark.slow
def test_a_run_whose_job_was_killed_saves_and_gives_its_folder_to_the_next(tmp_path):
    """It trained on, and held its folder."""
    grid = make_grid(tmp_path, (VANILLA,), (PAIR,), (1,), SHORT)
    (cell,) = grid.cells()
    killed = []

    def kill(states):
        if not killed and trains(cell):
            killed.append(os.kill(facts_of(cell)["pid"], signal.SIGKILL))

    def launched(show):
        record = Record.read(tmp_path) or Record(tmp_path, Launch("local", 1, {}))
        return launch(grid, [cell], record, LocalEngine(tmp_path / "launch", TRAIN, 1), show)

    assert "has ended without a word" in launched(kill)[cell]
    assert launched(lambda states: None) == {}
    assert_went_on(cell)
