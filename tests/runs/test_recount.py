"""Counts of a finished run from its saved students: those that it would have kept, or a sentence
that says why not.
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.commands import TINY

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.metrics import scores_from_counts
from ctcl_hf.runs.comparison.recount import recount
from ctcl_hf.runs.run import complete, prepare
from ctcl_hf.scoring.image_counts import COUNTS_FILE, load_counts
from ctcl_hf.training.locks import lock_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one step on drawn scenes, to its end."""
    folder = tmp_path_factory.mktemp("run")
    options = [
        "--max_steps",
        "1",
        "--eval_strategy",
        "no",
        "--output_dir",
        str(folder),
    ]
    run = prepare(parse_arguments("test", [*TINY, *options]))
    assert complete(run)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_keeps_the_counts_of_every_image_which_add_up_to_its_scores(finished):
    names, splits = load_counts(finished)
    reported = json.loads((finished / "results.json").read_text())["scores"]
    assert splits.keys() == reported.keys()
    for split, counts in splits.items():
        assert len(counts.images) == reported[split]["images"]
        for student, table in counts.students.items():
            total = torch.from_numpy(table.sum(0, dtype=np.int64))
            scores = scores_from_counts(total, len(names), None)
            assert scores["mean_iou"] == pytest.approx(
                reported[split]["students"][student]["mean_iou"], abs=1e-12
            )


def test_a_run_that_kept_no_counts_gets_them_from_its_students(finished, folder):
    (folder / COUNTS_FILE).unlink()
    recount(folder)
    (names, kept), (again, made) = load_counts(finished), load_counts(folder)
    assert names == again and kept.keys() == made.keys()
    for split in kept:
        assert kept[split].images == made[split].images
        assert kept[split].students.keys() == made[split].students.keys() == {"cnn", "vit"}
        for student, table in kept[split].students.items():
            moved = np.abs(table.astype(np.int64) - made[split].students[student]).sum()
            # pixels that another size of a batch rounds otherwise
            assert moved <= 1e-4 * table.sum()


def test_students_that_do_not_score_what_was_reported_are_refused(folder):
    (folder / COUNTS_FILE).unlink()
    facts = json.loads((folder / "results.json").read_text())
    facts["scores"]["validation"]["students"]["vit"]["mean_iou"] += 0.01
    (folder / "results.json").write_text(json.dumps(facts))
    with pytest.raises(
        ValueError, match=r"vit scores .* % on validation, but its run reported .* %\. Is "
    ):
        recount(folder)
    assert not (folder / COUNTS_FILE).exists()


def test_a_folder_is_locked_until_its_report_is_written(tmp_path, monkeypatch):
    """It was locked while it trained alone: another run could start, or a grid delete it, before
    its results.
    """
    run = prepare(
        parse_arguments("test", [*TINY, "--max_steps", "1", "--output_dir", str(tmp_path)])
    )
    monkeypatch.setattr("ctcl_hf.runs.run.train", lambda run: True)

    def reporting(run):
        with pytest.raises(OSError, match="Another run is writing to"):
            lock_folder(tmp_path)

    monkeypatch.setattr("ctcl_hf.runs.run.finish", reporting)
    assert complete(run)
    with lock_folder(tmp_path):
        pass


def test_counts_are_not_written_into_a_folder_that_another_run_writes_to(folder):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from pathlib import Path\nfrom ctcl_hf.training.locks import "
            f"lock_folder\nlock = lock_folder(Path({str(folder)!r}))\nprint('held', "
            "flush=True)\ninput()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    before = (folder / COUNTS_FILE).stat().st_mtime_ns
    with pytest.raises(OSError, match="Another run is writing to"):
        recount(folder)
    assert (folder / COUNTS_FILE).stat().st_mtime_ns == before
    holder.communicate("\n")
    with lock_folder(folder):  # the holder has ended
        pass
