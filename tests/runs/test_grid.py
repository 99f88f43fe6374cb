"""A grid of runs loses nothing: it goes on, and deletes neither results nor what is locked."""

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.grids import make_grid
from helpers.runs import Killed, killed

from ctcl_hf.cli import compare
from ctcl_hf.cli.compare import _other_grid, progress_of
from ctcl_hf.cli.grid_arguments import DEFAULT_PAIR, pair_of_recipe
from ctcl_hf.publishing.card import RECORD_FILE
from ctcl_hf.runs.comparison import execution
from ctcl_hf.runs.comparison.cell import Cell
from ctcl_hf.runs.comparison.execution import run_here
from ctcl_hf.runs.comparison.grid import GRID_FILE, OLD_GRID_FILE
from ctcl_hf.runs.comparison.names import folder_name, safe_name
from ctcl_hf.runs.comparison.paper import CTCL, DML, TABLES, VANILLA, Row
from ctcl_hf.runs.comparison.pictures import write_curves
from ctcl_hf.runs.files import CELL_FILE, FIGURE_FILE
from ctcl_hf.training.checkpoints import complete_checkpoint
from ctcl_hf.training.locks import lock_folder


def write_results(cell, arguments=None):
    """What a finished run leaves in its folder, as far as a grid looks at it."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(
        ["run_ctcl.py", *(cell.run_arguments() if arguments is None else arguments)]
    )
    (cell.folder / "results.json").write_text(json.dumps({"command": command}))
    history = [{"step": 5, "train_runtime": 120.0}, {"step": 5, "eval_loss": 1.0}]
    (cell.folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


# ---- where cells are ----


@pytest.mark.parametrize(
    "pair", ["runs/a/cnn+resnet18", "/abs/cnn+/abs/vit", "../../x+..", "resnet50+nvidia/mit-b2"]
)
def test_every_cell_is_inside_the_grids_folder_whatever_its_pair_is_called(pair, tmp_path):
    """A pair given as absolute paths was trained, and emptied before, in a folder of its own
    outside the grid.
    """
    grid = make_grid(tmp_path, pairs=(pair,))
    for cell in grid.cells():
        assert cell.folder.resolve().relative_to(tmp_path.resolve()).parts[1:] == (
            f"seed-{cell.seed}",
            folder_name(cell.row),
        )


def test_names_of_folders_differ_where_what_they_are_named_after_does():
    assert safe_name("mobilenetv2+mit-b1") == "mobilenetv2+mit-b1"  # as it always was
    names = [
        safe_name(name)
        for name in ("a/b+c", "a-b+c", "a//b+c", "a b+c", "ä+c", "x" * 300, "x" * 301)
    ]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name.encode()) < 140 for name in names)
    rows = [Row(value, f"--method ctcl --teachers {value}") for value in ("x" * 300, "x" * 301)]
    assert len({folder_name(row) for row in rows}) == 2 and len(folder_name(rows[0])) < 140


def test_which_run_a_cell_is_depends_on_who_teaches_but_for_the_grids_own_vanilla_run(tmp_path):
    """Teachers were left out of it: a run was taken for the one of another teacher."""

    def taken_for(before, now):
        command = f"ctcl-hf train --method ctcl --teachers {before}"
        (tmp_path / "results.json").write_text(json.dumps({"command": command}))
        arguments = ("--method", "ctcl", "--teachers", *now.split())
        return Cell(CTCL, "a+b", 1, tmp_path, arguments).is_finished

    assert taken_for("here/vanilla", "moved/to/vanilla") and taken_for("user/a", "user/a")
    assert not taken_for("user/a", "user/b") and not taken_for("user/a user/b", "user/b user/a")


def test_a_report_of_another_grid_is_answered_by_the_arguments_of_the_one_there(tmp_path):
    """It said that nothing was finished, where three runs were."""
    assert _other_grid(tmp_path) == ""
    make_grid(tmp_path).save()
    words = "--methods dml ctcl --pair a+b --seed 1 --seeds 2 --recipe demo"
    assert _other_grid(tmp_path) == f" It holds another, whose arguments are: {words}"


# ---- what a grid is made of ----


@pytest.mark.parametrize("pair", ["a+b", "runs/a/cnn+resnet18"])
def test_a_grid_of_other_runs_is_refused_and_more_rows_and_seeds_are_welcome(pair, tmp_path):
    """It was not refused where a pair has a slash, whose cells lay one folder deeper than was
    looked.
    """
    # of which nothing has run
    make_grid(tmp_path, pairs=(pair,), common=("--recipe", "paper")).save(versions={})
    grid = make_grid(tmp_path, pairs=(pair,))
    grid.save(versions={})
    next(grid.cells()).folder.mkdir(parents=True)
    make_grid(
        tmp_path, (VANILLA, CTCL), pairs=(pair,), seeds=(1, 2, 3), common=("--recipe=demo",)
    ).save(versions={})
    with pytest.raises(
        ValueError, match=r"holds a grid of other runs.*--recipe \(demo there, cpu here\)"
    ):
        make_grid(tmp_path, pairs=(pair,), common=("--recipe", "cpu")).save(versions={})


def test_a_grid_written_by_an_older_version_is_read_and_no_longer_looks_like_a_model(tmp_path):
    grid = make_grid(tmp_path)
    next(grid.cells()).folder.mkdir(parents=True)
    old = {"arguments of every run": ["--recipe", "demo", "--hub_token", "hf_secret"], "seeds": [1]}
    (tmp_path / OLD_GRID_FILE).write_text(json.dumps(old))
    with pytest.raises(
        ValueError, match=r"holds a grid of other runs.*--recipe \(demo there, cpu here\)"
    ):
        make_grid(tmp_path, common=("--recipe", "cpu")).save()
    grid.save()
    assert not (tmp_path / OLD_GRID_FILE).exists()
    assert b"hf_secret" not in b"".join(files_in(tmp_path).values())
    assert json.loads((tmp_path / GRID_FILE).read_text())["seeds"] == [1, 2]


def test_a_models_configuration_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / OLD_GRID_FILE).write_text('{"model_type": "segformer"}')
    make_grid(tmp_path).save()
    assert (tmp_path / OLD_GRID_FILE).read_text() == '{"model_type": "segformer"}'


# ---- what is finished ----


def test_a_run_of_a_cells_own_command_is_its_result_though_no_grid_ran_it(tmp_path):
    """It was deleted and trained again."""
    cell = list(make_grid(tmp_path, TABLES["3"].rows).cells())[1]
    write_results(
        cell, ["--seed", "1", *cell.arguments[:-4], "--cpu_threads", "2", "--output_dir=/elsewhere"]
    )
    assert not cell.is_finished, "its method's arguments are missing"
    words = [word for word in cell.arguments if word not in ("--recipe", "demo")]
    write_results(
        cell, [*words, "--recipe=demo", "--cpu_threads", "2", "--output_dir", "elsewhere"]
    )
    cell.check()
    assert cell.is_finished
    assert cell.facts()["minutes"] == 2


def test_results_of_another_run_in_a_cells_folder_are_refused_and_stay(tmp_path):
    """The folder was emptied."""
    cell = next(make_grid(tmp_path).cells())
    write_results(cell, ["--recipe", "paper"])
    before = files_in(tmp_path)
    with pytest.raises(
        ValueError, match=r"holds a finished run of other arguments \(run_ctcl.py --recipe paper\)"
    ):
        cell.check()
    assert not cell.is_finished and files_in(tmp_path) == before


class FakeTrainer:
    def __init__(self, folder):
        self.folder = folder
        self.accelerator = self

    def holding_output_folder(self):
        return lock_folder(self.folder)

    def is_world_process_zero(self):
        return True

    def free_memory(self):
        pass


class FakeRun:
    def __init__(self, arguments):
        self.trainer = FakeTrainer(Path(arguments[arguments.index("--output_dir") + 1]))


@pytest.fixture
def runs(monkeypatch):
    """Replaces training: `runs.complete` is what a run does, `runs.given` the arguments of each."""

    fake = SimpleNamespace(given=[], complete=lambda run: True)
    monkeypatch.setattr(execution, "parse_arguments", lambda description, arguments: arguments)
    monkeypatch.setattr(
        "ctcl_hf.runs.run.prepare",
        lambda arguments: fake.given.append(arguments) or FakeRun(arguments),
    )
    monkeypatch.setattr("ctcl_hf.runs.run.complete", lambda run: fake.complete(run))
    return fake


def test_an_interrupted_cell_goes_on_from_its_checkpoint_and_nothing_in_its_folder_is_deleted(
    tmp_path, runs
):
    cell = next(make_grid(tmp_path).cells())

    def interrupted(run):
        (cell.folder / "half-written").touch()
        raise KeyboardInterrupt

    runs.complete = interrupted
    for _ in range(2):  # the second finds the first's leavings, and no checkpoint
        with pytest.raises(KeyboardInterrupt):
            run_here(cell)
    assert not cell.is_finished and "--resume_from_checkpoint" not in runs.given[1]
    (cell.folder / "staged").mkdir()
    complete_checkpoint(cell.folder / "staged", cell.folder / "checkpoint-5")
    runs.complete = lambda run: False  # stopped by a signal
    assert not run_here(cell) and not cell.is_finished and cell.has_checkpoint
    runs.complete = lambda run: bool((cell.folder / "results.json").write_text("{}"))
    assert run_here(cell)
    assert runs.given[3][-2:] == ["--resume_from_checkpoint", "auto"]
    assert cell.is_finished and cell.facts()["resumed"]
    assert not cell.has_checkpoint and (cell.folder / "half-written").exists()


def test_a_cell_is_locked_until_it_is_marked_as_finished(tmp_path, runs, monkeypatch):
    cell = next(make_grid(tmp_path).cells())

    def locked(self, *arguments, **options):
        with pytest.raises(OSError, match="Another run is writing to"):
            lock_folder(cell.folder)

    monkeypatch.setattr(type(cell), "finish", locked)
    assert run_here(cell)
    with lock_folder(cell.folder):
        pass


def test_a_cell_that_was_killed_before_its_pictures_is_gone_on_with(tmp_path, runs):
    """It counted as finished once its scores were written: nobody drew it, and its checkpoints
    stayed.
    """
    cell = next(make_grid(tmp_path).cells())
    write_results(cell)
    assert cell.is_complete  # of a version without a record
    (cell.folder / RECORD_FILE).write_text('{"has_figure": false}')
    assert cell.is_finished and not cell.is_complete
    assert run_here(cell) and len(runs.given) == 1
    assert cell.is_complete and (cell.folder / CELL_FILE).is_file()


def test_a_run_with_all_its_pictures_is_a_complete_cell(tmp_path):
    cell = next(make_grid(tmp_path).cells())
    write_results(cell)
    (cell.folder / RECORD_FILE).write_text('{"has_figure": true}')
    assert not cell.is_complete
    (cell.folder / FIGURE_FILE).touch()
    assert cell.is_complete


def test_checkpoints_of_a_cell_that_was_marked_as_finished_and_killed_are_deleted(
    tmp_path, monkeypatch
):
    """They stayed for good."""
    cell = next(make_grid(tmp_path).cells())
    write_results(cell)
    (cell.folder / "checkpoint-5").mkdir()
    cell.tidy()
    assert (cell.folder / "checkpoint-5").is_dir(), "a run's own, until a grid has marked it"
    with monkeypatch.context() as context:
        context.setattr("ctcl_hf.runs.comparison.cell.shutil.rmtree", killed)
        with pytest.raises(Killed):
            cell.finish(1.0, resumed=False, jobs=1)
    with lock_folder(cell.folder), pytest.raises(OSError, match="Another run is writing to"):
        cell.tidy()
    cell.tidy()
    assert cell.is_complete and not (cell.folder / "checkpoint-5").exists()


def test_a_cell_that_another_grid_is_running_is_left_to_it(tmp_path, runs):
    """Its folder was emptied, the lock included."""
    cell = next(make_grid(tmp_path).cells())
    with lock_folder(cell.folder):
        (cell.folder / "half-written").touch()
        before = files_in(tmp_path)
        with pytest.raises(OSError, match="Another run is writing to"):
            run_here(cell)
        assert files_in(tmp_path) == before


def test_a_cell_that_another_grid_has_finished_meanwhile_is_not_run_over(
    tmp_path, runs, monkeypatch
):
    cell = next(make_grid(tmp_path).cells())

    def finished_meanwhile(arguments):
        write_results(cell)
        return FakeRun(arguments)

    monkeypatch.setattr("ctcl_hf.runs.run.prepare", finished_meanwhile)
    runs.complete = lambda run: pytest.fail("it was run again")
    with pytest.raises(OSError, match="Another grid has finished"):
        run_here(cell)


# ---- what is said of a grid ----


def test_a_grid_without_pairs_has_those_of_its_recipe():
    """--recipe demo trained the first pair of the paper's tables."""
    assert pair_of_recipe(["--recipe", "demo"]) == "mobilenetv2_050+nvidia/mit-b0"
    assert pair_of_recipe(["--seed", "3", "--recipe=demo"]) == "mobilenetv2_050+nvidia/mit-b0"
    assert pair_of_recipe(["--recipe", "cpu"]) == pair_of_recipe([]) == DEFAULT_PAIR


def test_a_grid_whose_runs_logged_nothing_has_no_curves(tmp_path):
    """They "could not be made (ValueError: Number of rows must be a positive integer...)"."""
    grid = make_grid(tmp_path / "grid", rows=(VANILLA, DML), seeds=(1,))
    for cell in grid.cells():
        write_results(cell)
        results = json.loads((cell.folder / "results.json").read_text())
        scores = dict.fromkeys(("mean_iou", "mean_accuracy", "overall_accuracy", "loss"), 0.5) | {
            "ious": {}
        }
        evaluation = {"images": 1, "students": {"cnn": scores, "vit": scores}}
        results |= {"method": {"method": "vanilla"}, "scores": {"validation": evaluation}}
        (cell.folder / "results.json").write_text(json.dumps(results))
        (cell.folder / RECORD_FILE).write_text(json.dumps({"titles": {}}))
    assert write_curves(grid) == []


def test_a_grid_says_how_far_it_has_come_and_from_where_it_goes_on(tmp_path):
    grid = make_grid(tmp_path / "grid", rows=(VANILLA, DML))
    done, begun, *_ = cells = list(grid.cells())
    assert progress_of(cells) == "0 of 4 runs are finished"
    write_results(done)
    staged = begun.folder / "staged"
    staged.mkdir(parents=True)
    (staged / "x").write_text("")
    complete_checkpoint(staged, begun.folder / "checkpoint-7")
    assert progress_of(cells) == ("1 of 4 runs are finished; DML, a+b, seed 1 goes on from step 7")


def test_a_stopped_grid_says_that_its_command_goes_on_and_ends_as_an_interrupted_one(
    tmp_path, monkeypatch, capsys
):
    """It ended with 0, upon which a shell's `&&` went on with what needs the whole grid."""
    monkeypatch.setattr("ctcl_hf.cli.compare.run_here", lambda cell: False)  # a signal stopped it
    folder = ["--output_dir", str(tmp_path / "grid")]
    monkeypatch.setattr(
        sys, "argv", ["ctcl-hf compare", "--recipe", "demo", "--methods", "dml", *folder]
    )
    with pytest.raises(SystemExit) as end:
        compare.main()
    assert end.value.code == 130
    assert "The same command goes on." in capsys.readouterr().out
