"""The comparison runner: the paper's tables, a grid that resumes, what it writes, and gradients of
terms.
"""

import csv
import json
import runpy
import shlex
import shutil
import sys

import PIL.Image
import pytest
import torch
from conftest import make_cnn, make_vit
from helpers.commands import EXAMPLES, SMALL, TINY, run, run_apart
from helpers.grids import make_grid

from ctcl_hf import METHODS
from ctcl_hf.arguments.method import MethodArguments
from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.cli.grid_arguments import parse
from ctcl_hf.runs.comparison import report
from ctcl_hf.runs.comparison.grid import Grid
from ctcl_hf.runs.comparison.names import folder_name
from ctcl_hf.runs.comparison.paper import CTCL, DML, TABLES, VANILLA, Row, rows_of, students_of
from ctcl_hf.scoring.image_counts import COUNTS_FILE

TWO_STEPS = (
    "--max_steps",
    "2",
    "--eval_strategy",
    "steps",
    "--eval_steps",
    "2",
)
SHORT = (*SMALL, *TWO_STEPS)  # without students, which a grid names by --pair

# Δ as printed, of the rows after vanilla. None: what is printed is not what its own row adds up to
# (-1.28 for -1.82, -0.41 for -0.11); elsewhere the paper's sums are off by up to 0.08.
PRINTED = {
    ("2", "mobilenetv2+mit-b1"): (1.43, 0.63, 0.74, 0.20, 1.86),
    ("3", "mobilenetv2+mit-b1"): (-2.14, -0.80, 0.98, -0.92, 2.75),
    ("3", "resnet50+mit-b2"): (None, None, -0.26, 0.46, 2.77),
    ("4", "mobilenetv2+mit-b1"): (0.65, 2.08, 2.72),
    ("5", "mobilenetv2+mit-b1"): (0.72, 1.66, 2.08),
    ("6", "resnet50+mit-b1"): (2.62,),
    ("7", "mobilenetv2+mit-b1"): (1.06, 1.57, 2.08, 2.00, 2.92),
    ("8", "mobilenetv2+mit-b1"): (0.28, 0.65, 0.43, -0.15),
    ("9", "mobilenetv2+mit-b1"): (1.65, 1.85, 1.95, 1.66, 2.40),
    ("s4", "mit-b1+mit-b2"): (-0.78, 0.14, -0.14, 1.88),
    ("s5", "resnet50+maxvit"): (2.86, 0.24, 1.69, 7.59),
    ("s5", "mit-b2+maxvit"): (-1.95, 1.10, 0.53, 5.45),
}


@pytest.mark.parametrize(("table", "pair"), PRINTED)
def test_the_papers_numbers_are_transcribed_as_their_printed_sums_say(table, pair):
    vanilla, *others = TABLES[table].scores[pair].values()
    for scores, printed in zip(others, PRINTED[table, pair], strict=True):
        if printed is not None:
            assert sum(scores) - sum(vanilla) == pytest.approx(printed, abs=0.08)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_the_papers_tables_is_a_command_line(table, tmp_path):
    rows = TABLES[table].rows
    assert rows[0] == VANILLA and len({folder_name(row) for row in rows}) == len(rows)
    for row in rows:
        teachers = ["--teachers", "runs/vanilla"] if "offline_kd" in row.arguments else []
        parse_arguments(
            "test", [*row.arguments.split(), *teachers, "--use_cpu", "--output_dir", str(tmp_path)]
        )
    for scores in TABLES[table].scores.values():
        assert list(scores) == [row.title for row in rows]


def test_ablations_train_the_terms_of_their_table():
    def terms(arguments):
        told = parse_arguments("test", [*arguments.split(), "--use_cpu"])
        objective = METHODS[told.method.method](make_cnn(), make_vit(), **told.options.values())
        return {k: v for k, v in objective.weights[1].items() if k != "ce"}

    assert [terms(row.arguments) for row in TABLES["4"].rows] == [
        {},
        {"hfd": 0.1},
        {"region": 1.0, "pixel": 1.0},
        {"hfd": 0.1, "region": 1.0, "pixel": 1.0},
    ]
    assert [terms(row.arguments) for row in TABLES["5"].rows[1:3]] == [
        {"region": 1.0},
        {"pixel": 1.0},
    ]
    assert terms(TABLES["7"].rows[-1].arguments) == {"region": 1.0, "pixel": 5.0}
    assert terms(TABLES["8"].rows[1].arguments) == {"hfd": 0.05}
    assert terms(TABLES["9"].rows[-1].arguments) == {"hfd": 0.1, "region": 5.0, "pixel": 5.0}
    assert MethodArguments().method == "ctcl"


def test_pairs_are_named_after_their_students():
    assert students_of("mobilenetv2+mit-b1") == ["mobilenetv2_100", "mit-b1"]
    assert students_of("runs/a/cnn+resnet18") == ["runs/a/cnn", "resnet18"]
    assert students_of("resnet18+mit-b0+mobilevitv2_050") == [
        "resnet18",
        "mit-b0",
        "mobilevitv2_050",
    ]
    for wrong in ("resnet18", "a+b+", "+b"):
        with pytest.raises(ValueError, match="expected two students as A\\+B"):
            students_of(wrong)


def test_the_cells_of_a_seed_share_its_vanilla_run_as_control_and_teacher(tmp_path):
    cells = list(make_grid(tmp_path, TABLES["3"].rows).cells())
    assert [cell.seed for cell in cells] == [1] * 6 + [2] * 6
    vanilla = str(tmp_path / "a+b" / "seed-2" / "vanilla")
    offline = cells[7].arguments
    assert (
        offline[offline.index("--teachers") + 1]
        == offline[offline.index("--control") + 1]
        == vanilla
    )
    assert "--control" not in cells[6].arguments
    assert len({cell.folder for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((VANILLA, DML, Row("again", "--method dml")), "dml occurs more than once"),
        ((CTCL, VANILLA), "first row"),
    ],
)
def test_a_grid_without_a_control_or_with_one_method_twice_is_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        make_grid(tmp_path, rows)


def test_rows_are_called_by_method_and_options_as_far_as_that_tells_them_apart():
    """Their names were whole command lines, which no picture had room for."""
    given = ["dml --temperature 4", "dml --temperature=2 --alpha 1", "ctcl --no_hfd", "a.py:DML"]
    own = ["deep/mine.py:Loss --sides 3 4", "x.py:Same", "y.py:Same"]
    assert [row.title for row in rows_of([*given, *own], (VANILLA, DML))] == [
        "DML, temperature 4",
        "DML, temperature 2, alpha 1",
        "CTCL, no_hfd",
        "a.py:DML",
        "Loss, sides 3 4",
        "x.py:Same",
        "y.py:Same",
    ]
    assert rows_of(given, ())[2].arguments == "--method ctcl --no_hfd"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Vanilla, DML, offline KD and CTCL for two steps, one seed, in a process of their own."""
    folder = tmp_path_factory.mktemp("grid")
    options = [
        "--methods",
        "dml",
        "offline_kd",
        "ctcl --kl_direction reverse",
        "--pair",
        "mobilenetv2_035+mit-b0",
    ]
    # of 8 images, blocks of 10 would be too few for an interval
    command = [*options, *SHORT, "--block_length", "1", "--output_dir", str(folder)]
    done = run_apart("compare.py", *command)
    assert done.returncode == 0, done.stderr
    return folder, command, done


def test_a_comparison_writes_tables_curves_and_predictions(compared):
    folder, _, done = compared
    text = (folder / "table.md").read_text()
    assert text in done.stdout
    assert (
        "| Vanilla " in text
        and "| CTCL, kl_direction reverse " in text
        and "random initial weights" in text
    )
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [
        "Vanilla",
        "DML",
        "Offline KD",
        "CTCL, kl_direction reverse",
    ]
    results = json.loads((folder / "mobilenetv2_035+mit-b0/seed-42/dml/results.json").read_text())
    assert (
        float(rows[1]["first_miou"])
        == 100 * results["scores"]["validation"]["students"]["cnn"]["mean_iou"]
    )
    assert float(rows[1]["sum_of_gains"]) == pytest.approx(
        float(rows[1]["first_gain"]) + float(rows[1]["second_gain"])
    )
    for name in ("curves-mobilenetv2_035+mit-b0.png", "figure-mobilenetv2_035+mit-b0.png"):
        assert PIL.Image.open(folder / name).size[0] > 400
    config = json.loads((folder / "grid.json").read_text())
    assert config["seeds"] == [42] and "torch" in config["versions"]
    card = (folder / "mobilenetv2_035+mit-b0/seed-42/dml/cnn/README.md").read_text()
    assert "trained alone" in card
    assert "grid: 4 of 4 runs are finished" in done.stdout


def logs_of(cell):
    logs = json.loads((cell / "trainer_state.json").read_text())["log_history"]
    return [
        {k: v for k, v in log.items() if "runtime" not in k and "per_second" not in k}
        for log in logs
    ]


def test_a_table_of_other_data_than_the_papers_says_so(compared, tmp_path):
    pair = "mobilenetv2_035+mit-b0"
    shutil.copytree(compared[0] / pair, tmp_path / pair)
    text = report.write_tables(Grid(tmp_path, (VANILLA,), (pair,), (42,), ()), TABLES["3"], 10)
    assert text.startswith("On synthetic; the paper's numbers beside ours are of other data (")
    assert "data set: synthetic (paper: camvid)" in text
    assert f"students: {pair} (paper: mobilenetv2+mit-b1 or resnet50+mit-b2)" in text
    text = report.write_tables(Grid(tmp_path, (VANILLA,), (pair,), (42,), ()), None, 10)
    assert "data set: synthetic (paper: ade20k or camvid or cityscapes or voc); students: " in text
    for path in tmp_path.glob("*/*/*/results.json"):
        facts = json.loads(path.read_text())
        path.write_text(
            json.dumps(
                facts | {"data": facts["data"] | {"dataset": "camvid", "dataset_name": "photos"}}
            )
        )
    text = report.write_tables(Grid(tmp_path, (VANILLA,), (pair,), (42,), ()), TABLES["3"], 10)
    assert text.startswith("On photos; ") and "data set: photos (paper: camvid)" in text


def test_all_methods_of_a_seed_start_from_the_same_cross_entropies_bit_for_bit(compared):
    folder, _, _ = compared
    first = [
        logs_of(cell)[0] for cell in sorted((folder / "mobilenetv2_035+mit-b0/seed-42").iterdir())
    ]
    assert len(first) == 4
    for key in ("ce_cnn", "ce_vit", "aux_cnn"):
        assert len({log[key] for log in first}) == 1, key


def test_a_cell_is_the_run_that_its_command_says(compared, tmp_path):
    folder, _, _ = compared
    cell = folder / "mobilenetv2_035+mit-b0/seed-42/ctcl-kl_direction-reverse"
    command = shlex.split(json.loads((cell / "cell.json").read_text())["command"])
    assert command[:2] == ["ctcl-hf", "train"]
    done = run("run_ctcl.py", *command[2:-1], str(tmp_path / "alone"))
    assert done.returncode == 0, done.stderr
    assert logs_of(tmp_path / "alone") == logs_of(cell)
    for name in ("cnn", "vit"):
        ours, theirs = (
            (at / name / "model.safetensors").read_bytes() for at in (tmp_path / "alone", cell)
        )
        assert ours == theirs


def test_a_comparison_says_what_each_row_ran_and_what_its_intervals_cover(compared):
    folder, _, _ = compared
    text = (folder / "table.md").read_text()
    for expected in (
        "| gain over vanilla ",
        " 8 images |",
        " lost classes, of those that vanilla knows with any seed |",
    ):
        assert expected in text
    listed = text[text.index("Check list, mobilenetv2_035+mit-b0") :]
    for expected in (
        "train 240 images, ",
        "(fingerprints, as in run.json)",
        "8 classes: ",
        "scored: whole images at ",
        "the last of 2 steps; nothing is selected",
        "**seeds**: 42\n",
        "blocks of 1 consecutive images",
        " CPU\n- **precision**: float32",
        "runs at a time: 1",
        "ran `--method ctcl --kl_direction reverse`: cnn ce 1",
        "kl_direction reverse",
    ):
        assert expected in listed, expected
    with (folder / "table.csv").open() as file:
        vanilla, dml, *_ = csv.DictReader(file)
    assert vanilla["first_gain_low_over_images"] == "" and vanilla["lost_classes"] == ""
    low, gain, high = (
        float(dml[f"first_gain{which}"]) for which in ("_low_over_images", "", "_high_over_images")
    )
    assert low <= gain <= high
    assert dml["first_gain_low_over_seeds"] == "", "one seed has no interval"
    assert dml["lost_classes"].startswith("cnn: ")
    assert PIL.Image.open(folder / "classes-mobilenetv2_035+mit-b0.png").size[0] > 400


def test_run_again_it_runs_only_what_is_missing(compared):
    folder, command, _ = compared
    cells = folder / "mobilenetv2_035+mit-b0/seed-42"
    before = {cell.name: (cell / "cell.json").stat().st_mtime_ns for cell in cells.iterdir()}
    shutil.rmtree(cells / "dml")
    (cells / "vanilla" / COUNTS_FILE).unlink()  # as of a run that an older version has made
    done = run("compare.py", *command)
    assert done.returncode == 0, done.stderr
    after = {cell.name: (cell / "cell.json").stat().st_mtime_ns for cell in cells.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"dml"}
    assert (cells / "vanilla" / COUNTS_FILE).is_file()
    assert " 8 images |" in (folder / "table.md").read_text()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("results.json", "[]"),
        ("results.json", '{"scores": {}}'),
        ("cell.json", "7"),
        ("trainer_state.json", '{"log_hist'),
        ("trainer_state.json", "{}"),
        ("trainer_state.json", None),
    ],
)
def test_a_damaged_run_is_named_and_left_out_of_the_report_of_the_others(
    file, text, compared, tmp_path, monkeypatch, capsys
):
    grid, again, of_seed = copied(compared, tmp_path)
    if text is None:
        (of_seed / "dml" / file).unlink()
    else:
        (of_seed / "dml" / file).write_text(text)
    monkeypatch.setattr(sys, "argv", ["compare.py", *again])
    with pytest.raises(SystemExit) as exit:  # runs nothing, and so no report comes to grief later
        runpy.run_path(str(EXAMPLES / "compare.py"), run_name="__main__")
    told = f"{exit.value} {capsys.readouterr().err}"
    assert str(of_seed / "dml") in told and (
        "away, to run it again." in told or "Delete it" in told
    )
    monkeypatch.setattr(sys, "argv", ["compare.py", *again, "--report_only"])
    runpy.run_path(str(EXAMPLES / "compare.py"), run_name="__main__")
    told = capsys.readouterr()
    assert str(of_seed / "dml") in told.err and told.err.count("Left out.") == 1
    written = (grid / "table.md").read_text()
    assert written in told.out and "| CTCL, kl_direction reverse " in written
    assert written.startswith(
        "3 of 4 runs are finished. Damaged, and left out: DML (mobilenetv2_035+mit-b0, seed 42)."
    )
    assert "| DML " not in written
    assert "left out: DML (mobilenetv2_035+mit-b0, seed 42)." in (grid / "report.html").read_text()


def copied(compared, tmp_path):
    """A copy of the grid, the arguments of its command, and the folder of its seed."""
    folder, command, _ = compared
    grid = tmp_path / "grid"
    shutil.copytree(folder, grid)
    (of_seed,) = grid.glob("*/seed-42")
    arguments = command[: command.index("--output_dir")]
    return grid, [*arguments, "--output_dir", str(grid)], of_seed


@pytest.mark.parametrize("text", [None, '{"scores": {"valid'])
def test_scores_that_are_gone_are_made_again_and_nothing_is_trained(text, compared, tmp_path):
    """The run's folder was to be moved away, and the run to be made again."""
    _, command, of_seed = copied(compared, tmp_path)
    results = of_seed / "dml" / "results.json"
    before = json.loads(results.read_text())["scores"]
    del before["eval"]  # while it trained, which the log keeps
    weights = (of_seed / "dml" / "cnn" / "model.safetensors").read_bytes()
    results.unlink()
    if text is not None:
        results.write_text(text)
        refused = run("compare.py", *command)
        assert refused.returncode == 1
        told = f"is damaged, or no JSON file: {'Unterminated'}"
        assert told in refused.stderr and "Delete it: the grid's command scores" in refused.stderr
        results.unlink()
    done = run("compare.py", *command)
    assert done.returncode == 0, done.stderr
    assert json.loads(results.read_text())["scores"] == before
    assert (of_seed / "dml" / "cnn" / "model.safetensors").read_bytes() == weights
    assert "| DML " in (of_seed.parents[1] / "table.md").read_text()


@pytest.mark.parametrize("file", ["run.json", "cell.json"])
def test_a_report_says_what_a_missing_file_of_a_run_leaves_unknown(file, compared, tmp_path):
    grid, command, of_seed = copied(compared, tmp_path)
    (of_seed / "dml" / file).unlink()
    done = run("compare.py", *command, "--report_only")
    assert done.returncode == 0, done.stderr
    table = (grid / "table.md").read_text()
    assert "| DML " in table and "NOT THE SAME" not in table
    if file == "run.json":
        assert "- **DML** ran `--method dml`: what it ran was not recorded" in table


def test_a_report_that_names_no_method_is_of_all_and_one_that_does_tells_of_the_others(
    compared, tmp_path
):
    """It replaced the tables of the whole grid by one row, and the file that says what it is."""
    grid, command, _ = copied(compared, tmp_path)
    before = (grid / "table.md").read_text(), (grid / "grid.json").read_text()
    for arguments in (["--output_dir", str(grid)], [*SHORT, "--output_dir", str(grid)]):
        done = run("compare.py", *arguments, "--report_only")
        assert done.returncode == 0, done.stderr
        assert "Not in these tables" not in done.stderr
        assert ((grid / "table.md").read_text(), (grid / "grid.json").read_text()) == before
    place = command.index("dml")
    done = run("compare.py", *command[: place + 1], *command[place + 3 :], "--report_only")
    assert done.returncode == 0, done.stderr
    assert f"Not in these tables, and finished in {grid}: Offline KD (" in done.stderr
    assert "; CTCL, kl_direction reverse (mobilenetv2_035+mit-b0, seed 42)." in done.stderr
    assert (grid / "grid.json").read_text() == before[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "dlm"], "--methods dlm: expected one of vanilla, offline_kd, dml"),
        (["--methods", "dml --no_hfd"], "--no_hfd has no effect on --method dml"),
        (["--pair", "resnet18", "--methods", "dml"], "expected two students as A+B"),
        (["--pair", "resnet18+nothing", "--methods", "dml"], "nothing"),
        (["--methods", "dml", "--crop", "32"], "did you mean --crop_size"),
        # which ran vanilla, that there was nothing beside
        ([], "nothing to compare: give --methods METHOD ..., beside which vanilla always is"),
        (["--methods", "vanilla"], "nothing to compare: give --methods"),
        (["--method", "dml"], "--method: give --methods"),
        (["--cnn=resnet18"], "--cnn: give --pair A+B"),
        (
            ["--hub_token=hf_secret"],
            "--hub_token: a grid publishes nothing, and writes down what it is given",
        ),
        (["--methods", "dml --hub_token hf_secret"], "--hub_token: a grid publishes nothing"),
        (
            ["--run_name", "https://me:word@hub.example"],
            "https://hub.example: a grid writes down what it is given",
        ),
        (["--methods", "dml --seed 7"], "--seed: rows are paired by seed"),
        (["--methods", "dml --recipe=cpu"], "--recipe: rows are compared on the same data"),
        (
            ["--methods", "ctcl", "--no_hfd"],
            'go into quotes with it, such as --methods "ctcl --no_',
        ),
        (["--methods", "dml", "--seeds", "42", "43"], "43. --seeds is how many there are"),
        (
            ["--resume_from_checkpoint", "auto"],
            "--resume_from_checkpoint: a grid goes on by itself",
        ),
        (["--jobs", "2"], "--jobs: give --launch local:N"),
        (["--launch", "local"], "--launch local: expected local:N, slurm or hf_jobs"),
        (["--launch", "hf_jobs"], "--launch hf_jobs: give --launch_image"),
        (["--launch", "local:0"], "--launch local:0: expected a number of runs at a time"),
        (["--launch_gpus", "1"], "--launch_gpus: give --launch as well"),
        (
            ["--launch", "local:2", "--launch_time", "9"],
            "--launch_time has no effect on --launch local:2, only on slurm",
        ),
        (["--launch", "slurm", "--launch_time", "0"], "--launch_time 0: at least 1"),
        (["--launch", "slurm", "--launch_gpus", "2"], "a run of a grid is one process"),
        (["--launch_status"], "holds no grid with --launch"),
        (["--push_to_hub"], "every run would be published under one name"),
        (["--seeds", "0"], "--seeds 0: at least 1"),
        (["--report_only"], "nothing of this grid is finished in"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["compare.py", *SHORT, *arguments, "--output_dir", str(tmp_path / "grid")]
    )
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(EXAMPLES / "compare.py"), run_name="__main__")
    assert exit.value.code not in (0, None)
    assert message in f"{exit.value} {capsys.readouterr().err}"  # told by sys.exit, or by argparse
    assert not list(tmp_path.glob("grid/*/*/*/cell.json"))


def test_what_an_engine_lacks_is_told_before_anything_is_imported_for_it(
    tmp_path, monkeypatch, capsys
):
    """It was told after thirteen seconds, by the engine itself."""
    monkeypatch.setattr("ctcl_hf.base.extras.find_spec", lambda module: None)
    monkeypatch.chdir(tmp_path)
    for engine in ("local:2", "slurm"):
        words = ["compare", "--methods", "dml", "--launch", engine]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit):
            parse("")
        assert "submitit not installed: pip install 'ctcl-hf[slurm]'" in capsys.readouterr().err
        monkeypatch.setattr(sys, "argv", [*words, "--report_only"])
        parse("")  # which reads files


def test_what_a_table_takes_at_full_scale_is_printed_and_not_run(tmp_path):
    done = run("compare.py", "--paper_table", "6", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("ctcl-hf train ")]
    assert len(commands) == 2 * 2 * 2
    assert (
        "158,700 steps (60 epochs)" in done.stdout
        and "an assumption, not a measurement" in done.stdout
    )
    assert not list(tmp_path.iterdir())


def test_gradients_of_terms_are_measured_at_every_checkpoint(tmp_path):
    kept = [
        "--save_strategy",
        "steps",
        "--save_steps",
        "1",
        "--save_total_limit",
        "9",
        "--output_dir",
        str(tmp_path),
    ]
    assert run("run_ctcl.py", *TINY, *TWO_STEPS, "--gamma", "0.5", *kept).returncode == 0
    done = run("gradients.py", str(tmp_path), "--batches", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gradients.json").read_text())
    assert list(found) == ["1", "2"]
    for students in found.values():
        for name, terms in students.items():
            assert set(terms) == {"ce", "hfd", "region", "pixel"} | (
                {"aux"} if name == "cnn" else set()
            )
            assert terms["ce"]["ratio"] == pytest.approx(1) and terms["ce"][
                "cosine"
            ] == pytest.approx(1)
            assert all(
                -1.001 <= pull["cosine"] <= 1.001 and pull["norm"] >= 0 for pull in terms.values()
            )
            ratio = terms["pixel"]["norm"] / terms["ce"]["norm"]
            assert terms["pixel"]["ratio"] == pytest.approx(ratio)
    assert "| step 2 " in done.stdout and PIL.Image.open(tmp_path / "gradients.png").size[0] > 400
    shutil.rmtree(tmp_path / "checkpoint-1")
    shutil.rmtree(tmp_path / "checkpoint-2")
    refused = run("gradients.py", str(tmp_path))
    assert (
        refused.returncode == 1
        and "kept no checkpoints" in refused.stderr
        and "Traceback" not in refused.stderr
    )


def test_a_pull_is_the_weighted_gradient_of_its_term():
    from ctcl_hf.runs.comparison.gradients import _pulls

    student = torch.nn.Linear(2, 1, bias=False)
    x, y = torch.tensor([3.0, 4.0]), torch.tensor([4.0, -3.0])
    pulls = _pulls(
        student, {"ce": student(x).sum(), "other": student(x + y).sum()}, {"ce": 1.0, "other": 0.5}
    )
    assert pulls["other"].norm == pytest.approx(0.5 * 50**0.5)
    assert pulls["other"].ratio == pytest.approx(0.5 * 2**0.5)
    assert pulls["other"].cosine == pytest.approx(0.5**0.5)
