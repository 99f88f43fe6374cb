"""From the files of a grid's runs to what they say: gains, intervals, lost classes, equal seconds,
the check list.
"""

import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.pages import text_of

from ctcl_hf.base.tables import markdown_table
from ctcl_hf.cli.report import write
from ctcl_hf.data import build_synthetic
from ctcl_hf.data.fingerprint import fingerprint
from ctcl_hf.figures import class_gains_figure
from ctcl_hf.metrics import scores_from_counts
from ctcl_hf.metrics.scores import Evaluation, Scores
from ctcl_hf.runs.comparison import pictures, report
from ctcl_hf.runs.comparison.checklist import checklist
from ctcl_hf.runs.comparison.evidence import (
    blocks_text,
    evidence_of,
    gains_table,
    lost_table,
    seconds_table,
)
from ctcl_hf.runs.comparison.grid import Grid, read_grid
from ctcl_hf.runs.comparison.paper import DML, VANILLA, Row
from ctcl_hf.runs.comparison.tables import AT_EQUAL_SECONDS, sections_of, table_of
from ctcl_hf.scoring.image_counts import SplitCounts, load_counts, save_counts

CLASSES = ("sky", "road", "pole")
IMAGES = tuple(f"frame-{i}" for i in range(7))
LABELLED = np.random.default_rng(0).integers(20, 60, (len(IMAGES), len(CLASSES)))


def write_run(cell, quality, seconds=100.0, poles=None, options=("alpha", 1.0), **changes):
    """A finished run of two students whose pixels are right with a probability of `quality`; of
    poles, of `poles`.
    """
    rng = np.random.default_rng(cell.seed)
    students = {}
    for name in ("cnn", "vit"):
        table = np.zeros((len(IMAGES), 3, 3), dtype=np.uint32)
        for i, k in np.ndindex(len(IMAGES), 3):
            right = quality if k < 2 or poles is None else poles
            chances = np.full(3, (1 - right) / 2)
            chances[k] = right
            table[i, k] = rng.multinomial(LABELLED[i, k], chances)
        students[name] = table
    cell.folder.mkdir(parents=True)
    save_counts(cell.folder, CLASSES, {"validation": SplitCounts(IMAGES, students)})
    scores = {}
    for name, table in students.items():
        found = scores_from_counts(torch.from_numpy(table.sum(0, dtype=np.int64)), 3, None)
        ious = dict(zip(CLASSES, found["per_category_iou"].tolist(), strict=True))
        shares = (float(found[what]) for what in ("mean_iou", "mean_accuracy", "overall_accuracy"))
        scores[name] = Scores(*shares, loss=1.0, ious=ious)
    evaluation = Evaluation(len(IMAGES), scores)
    facts = {
        "command": "run_ctcl.py",
        "scores": {split: evaluation.to_json() for split in ("eval", "validation")},
        "data": {
            "dataset": "synthetic",
            "dataset_name": None,
            "image_size": [60, 80],
            "crop_size": [32, 32],
            "scale_range": [0.5, 2.0],
        },
        "students": {"from_scratch": True, "aspp_channels": 128, "output_stride": 16},
        "training": {
            "bf16": True,
            "fp16": False,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "cnn_lr": 0.1,
            "vit_lr": 0.1,
        },
        "method": {"method": "ctcl"},
        "protocol": "whole images at 60x80",
        "machine": "1 x 2 threads",
        "versions": {"torch": "2.15"},
    } | changes
    (cell.folder / "results.json").write_text(json.dumps(facts))
    logs = [
        {"step": step, "eval_loss": 1.0}
        | {f"eval_{n}_mean_iou": scores[n].mean_iou * step / 4 for n in students}
        for step in (1, 2, 3, 4)
    ]
    history = [*logs, {"step": 4, "train_runtime": seconds}]
    (cell.folder / "trainer_state.json").write_text(
        json.dumps({"log_history": history, "global_step": 4})
    )
    method = {
        "weights": {name: {"ce": 1.0, "kl": 1.0} for name in students},
        "options": dict([options]),
    }
    (cell.folder / "run.json").write_text(json.dumps({"method": method}))
    (cell.folder / "cell.json").write_text(
        json.dumps({"command": "", "minutes": seconds / 60, "resumed": False})
    )


@pytest.fixture
def grid(tmp_path):
    """Three seeds of vanilla and of two methods, of which one has run with two seeds and loses the
    poles.
    """
    loses = Row("Loses", "--method ctcl")
    grid = Grid(tmp_path, (VANILLA, DML, loses), ("a+b",), (1, 2, 3), ("--recipe", "demo"))
    for seed in grid.seeds:
        write_run(grid.cell(VANILLA, "a+b", seed), 0.6)
        write_run(grid.cell(DML, "a+b", seed), 0.6 + 0.05 * seed, seconds=150.0)
        if seed < 3:
            write_run(grid.cell(loses, "a+b", seed), 0.7, seconds=100.0, poles=0.05)
    return grid


def test_a_gain_over_fewer_seeds_is_told_with_vanillas_mean_over_the_same(grid):
    """10.03 (+2.53) stood under 7.11, which was over more seeds, and did not subtract."""
    third = grid.control_of(grid.cell(DML, "a+b", 3))
    shutil.rmtree(third.folder)
    write_run(third, 0.9)
    _, vanilla, dml, loses = table_of(grid, "a+b", "validation", ("cnn", "vit"), None)
    assert [row[4] for row in (vanilla, dml, loses)] == ["3", "3", "2"]
    assert " over " not in vanilla[1] and " over " not in dml[1]
    told = re.fullmatch(r"([\d.]+) ± [\d.]+ \(([+-][\d.]+) over ([\d.]+)\)", loses[1])
    score, gain, control = map(float, told.groups())
    assert gain == pytest.approx(score - control, abs=0.02)
    assert control < float(vanilla[1].split()[0])


def test_minutes_are_of_runs_that_were_not_interrupted_where_there_are_any(grid):
    """A run's last part of 2 minutes was averaged with whole ones."""
    resumed = json.dumps({"command": "", "minutes": 0.5, "resumed": True})
    (grid.cell(DML, "a+b", 1).folder / "cell.json").write_text(resumed)
    for seed in (1, 2):
        (grid.cell(grid.rows[2], "a+b", seed).folder / "cell.json").write_text(resumed)
    _, vanilla, dml, loses = table_of(grid, "a+b", "validation", ("cnn", "vit"), None)
    assert [row[5] for row in (vanilla, dml, loses)] == [
        "2",
        "2 (of 2 runs; 1 resumed or not timed)",
        "0.5 (its last part)",
    ]


def test_gains_are_paired_by_seed_and_their_sum_is_of_both_students(grid):
    dml, loses = evidence_of(grid, "a+b", "validation", 1)
    assert dml.seeds == (1, 2, 3) and loses.seeds == (1, 2)
    scores = {
        (row, seed, name): grid.cell(row, "a+b", seed)
        .evaluations()["validation"]
        .students[name]
        .mean_iou
        for row in (VANILLA, DML)
        for seed in grid.seeds
        for name in ("cnn", "vit")
    }
    gains = [
        [100 * (scores[DML, s, name] - scores[VANILLA, s, name]) for s in grid.seeds]
        for name in ("cnn", "vit")
    ]
    assert [interval.mean for interval in dml.over_seeds[:2]] == pytest.approx(
        [np.mean(gain) for gain in gains]
    )
    assert dml.over_seeds[2].mean == pytest.approx(np.mean(gains) * 2)
    for by_seed, by_image in zip(dml.over_seeds, dml.over_images, strict=True):
        assert by_image.mean == pytest.approx(by_seed.mean)  # the counts add up to the scores
        assert by_image.low < by_image.mean < by_image.high and by_image.count == 7
    text = markdown_table(gains_table([dml, loses], ("cnn (a)", "vit (b)"), 1))
    assert "| cnn (a) |" in " ".join(text.split())
    assert f"| DML | 3 seeds | {dml.over_seeds[0]} | {dml.over_seeds[1]} |" in " ".join(
        text.split()
    )
    assert "| DML | 7 images | " in " ".join(text.split())


@pytest.mark.parametrize(
    ("count", "length", "text"),
    [
        (11, 10, "11 blocks of 10 images"),
        (2, 10, "2 blocks of 10 images: too few, an interval takes 6"),
        (1, 10, "1 block of 10 images: too few, an interval takes 6"),
        (40, 1, "40 images"),
        (1, 1, "1 image: too few, an interval takes 6"),
    ],
)
def test_what_an_interval_is_over_and_where_there_is_none_is_said_in_words(count, length, text):
    """A table gave an interval over two blocks, as if it said something."""
    assert blocks_text(count, length) == text


def test_classes_that_a_student_has_lost_are_named_with_how_often(grid):
    dml, loses = evidence_of(grid, "a+b", "validation", 2)
    assert dml.lost() == "cnn: none of 3; vit: none of 3"
    assert loses.lost() == "cnn: pole 2/2; vit: pole 2/2"
    assert ["Loses", "cnn: pole 2/2; vit: pole 2/2"] in lost_table([dml, loses])


def test_a_class_that_only_one_run_predicts_is_compared_where_it_occurs(grid):
    """A class that no label holds is in the scores of a run that predicts it alone: the others
    ended in KeyError.
    """
    path = grid.cell(DML, "a+b", 2).folder / "results.json"
    told = json.loads(path.read_text())
    told["scores"]["validation"]["students"]["vit"]["ious"]["train"] = 0.0
    path.write_text(json.dumps(told))
    dml, _ = evidence_of(grid, "a+b", "validation", 2)
    assert dml.class_names == (*CLASSES, "train")
    assert np.isnan(dml.ious[:, :, 3]).sum() == 5 and dml.ious[1, 1, 3] == 0


def test_at_equal_seconds_the_slower_method_is_read_where_vanilla_had_ended(grid):
    dml, loses = evidence_of(grid, "a+b", "validation", 2)
    # 100 of 150 seconds: 2.67 of 4 steps
    assert [reading.share for reading in dml.equal_seconds] == [0.5] * 3
    assert [reading.share for reading in loses.equal_seconds] == [1.0] * 2
    rows = seconds_table([dml, loses], ("cnn (a)", "vit (b)"))
    assert [row[4] for row in rows] == ["of the method's steps", "50 %", "100 %"]
    cell = grid.cell(DML, "a+b", 1)
    facts = cell.facts()
    # of its last part alone; of another load, by which a loss beyond chance was found
    for other in ({"resumed": True}, {"jobs": 2}):
        (cell.folder / "cell.json").write_text(json.dumps(facts | other))
        first, *others = evidence_of(grid, "a+b", "validation", 2)[0].equal_seconds
        assert first is None and None not in others


def test_without_counts_there_is_no_interval_over_images_and_all_else_is_there(grid):
    (grid.cell(VANILLA, "a+b", 2).folder / "counts.npz").unlink()
    dml, loses = evidence_of(grid, "a+b", "validation", 2)
    assert dml.over_images is loses.over_images is None and dml.over_seeds[0].low is not None
    assert [row[1] for row in gains_table([dml, loses], ("cnn", "vit"), 2)[1:]] == [
        "3 seeds",
        "2 seeds",
    ]


@pytest.mark.parametrize("wrong", ["images", "labels"])
def test_runs_that_were_scored_on_other_images_or_labels_are_not_compared(grid, wrong):
    folder = grid.cell(VANILLA, "a+b", 2).folder
    counts = load_counts(folder)[1]["validation"]
    images, students = counts.images, dict(counts.students)
    if wrong == "images":
        images = images[1:] + images[:1]
    else:
        students = {name: table + np.uint32(1) for name, table in students.items()}
    save_counts(folder, CLASSES, {"validation": SplitCounts(images, students)})
    with pytest.raises(ValueError, match="were scored on other images or labels of validation"):
        evidence_of(grid, "a+b", "validation", 2)


def test_the_check_list_names_every_loss_and_tells_seeds_apart_that_ran_another(grid):
    cells = [cell for cell in grid.cells() if cell.is_finished]
    sections = sections_of(grid, "a+b", None, 2)
    text = checklist(grid, cells, sections, 2)
    validation = build_synthetic().samples("validation", None)
    for expected in (
        f"validation {len(validation)} images, {fingerprint(validation)} (fingerprints, as in "
        "run.json)",
        "3 classes: sky, road, pole; masks as stored",
        "crops of 32x32 from images scaled about 60x80",
        "the last of 4 steps; nothing is selected by validation or test",
        "**seeds**: Vanilla: 1, 2, 3; DML: 1, 2, 3; Loses: 1, 2",
        "blocks of 2 consecutive images",
        "Vanilla: 1.7; DML: 2.5; Loses: 1.7 minutes a run",
        "bfloat16",
        "- **DML** ran `--method dml`: cnn ce 1, kl 1; vit ce 1, kl 1; options: alpha 1",
    ):
        assert expected in text, expected
    path = grid.cell(DML, "a+b", 3).folder / "run.json"
    path.write_text(path.read_text().replace('"alpha": 1.0', '"alpha": 2.0'))
    assert "NOT THE SAME WITH EVERY SEED: seeds [1, 2]: cnn ce 1" in checklist(
        grid, cells, sections, 2
    )
    assert "- **equal seconds**: both runs of a seed" in text
    without = [section for section in sections if section.remark != AT_EQUAL_SECONDS]
    assert "equal seconds" not in checklist(grid, cells, without, 2)


def test_tables_and_the_chart_of_classes_are_written_into_the_grids_folder(grid):
    text = report.write_tables(grid, None, 2)
    assert (grid.folder / "table.md").read_text() == text
    assert text.startswith("8 of 9 runs are finished. Missing: Loses (a+b, seed 3).\n")
    # where spreadsheets would not compute them: no apostrophe
    assert ",DML,dml," in (grid.folder / "table.csv").read_text()
    assert (
        text.index("| gain over vanilla")
        < text.index("lost classes")
        < text.index("Check list, a+b")
    )
    (path,) = pictures.write_class_gains(grid, 2)
    assert path == grid.folder / "classes-a+b.png" and PIL.Image.open(path).size[0] > 400
    assert sorted(path.name for path in grid.folder.iterdir()) == [
        "a+b",
        "classes-a+b.png",
        "table.csv",
        "table.md",
    ]


def test_the_page_of_a_comparison_holds_every_cell_of_its_tables_and_every_interval(grid):
    grid.save(versions={}, block_length=2)
    pictures.write_class_gains(grid, 2)
    path = write(grid.folder)
    text = text_of(path)
    lines = [
        line for line in report.write_tables(grid, None, 2).splitlines() if line.startswith("| ")
    ]
    cells = [cell.strip() for line in lines for cell in line.split("|") if cell.strip(" -:")]
    assert len(cells) > 60
    for cell in cells:
        assert cell in text, cell
    for evidence in evidence_of(grid, "a+b", "validation", 2):
        for interval in (*evidence.over_seeds, *evidence.over_images):
            assert str(interval) in text
    assert f"ctcl-hf compare --methods dml {grid.rows[2].arguments[9:]} --pair a+b" in text
    assert "<td class=words>2 " in path.read_text()  # may wrap: the last column was cut off
    assert "8 of 9 runs are finished" in text and "cnn: mIoU on validation (%)" in text
    assert path.read_text().count('src="data:image/png') == 1


def test_a_grid_is_read_back_as_it_was_written_down(grid):
    grid.save(table="3", block_length=2, versions={})
    assert read_grid(grid.folder)[0] == grid
    assert {"table": "3", "block_length": 2}.items() <= read_grid(grid.folder)[1].items()


def test_of_many_classes_those_that_change_most_are_drawn():
    gains = np.zeros((2, 50))
    gains[:, 7], gains[:, 31], gains[:, 40] = 3.0, -4.0, np.nan
    figure = class_gains_figure(
        {"dml": {"cnn": gains, "vit": gains}}, [f"class {k}" for k in range(50)], most=2
    )
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == ["class 31", "class 7"]
