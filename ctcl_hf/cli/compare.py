"""Run methods, pairs and seeds side by side, and tabulate them as the paper does. Run again, it
goes on.

ctcl-hf compare --table 3 --recipe cpu --seeds 3
ctcl-hf compare --methods dml "ctcl --no_hfd" "mine.py:MyLoss --flag 3" --recipe demo
ctcl-hf compare --methods dml ctcl --pair resnet18+mit-b0 --dataset_name photos
ctcl-hf compare --table 3 --launch slurm --launch_time 240
ctcl-hf compare --launch_status --output_dir runs/table-3
ctcl-hf compare --paper_table 3

Every argument of `ctcl-hf train` is taken as well, and goes to every run.
"""

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tqdm.auto import tqdm

from ..arguments.launch import add_launch_arguments, launch_of
from ..arguments.problems import did_you_mean
from ..arguments.recipes import RECIPES, options_in, parse_arguments
from ..base.files import check_place
from ..base.heartbeat import alive
from ..base.redaction import redacted_words
from ..base.registry import is_reference
from ..methods import METHODS
from ..runs.comparison.execution import run_here
from ..runs.comparison.grid import GRID_FILE, Cell, Grid, read_grid
from ..runs.comparison.paper import TABLES, VANILLA, Row, rows_of, students_of
from ..students import STUDENTS
from .ending import fail, program, told
from .launched import follow, run_launched

DEFAULT_PAIR = "mobilenetv2+mit-b1"

# Arguments of `ctcl-hf train` that say what a grid says itself -> how.
PUSH = (
    "every run would be published under one name. Push those that are finished: ctcl-hf push FOLDER"
)
NOT_FOR_A_GRID = {
    "--jobs": "give --launch local:N",  # what it was called once
    "--method": "give --methods, or --table",
    **dict.fromkeys(("--cnn", "--vit", "--students"), "give --pair A+B"),
    "--hub_token": "a grid publishes nothing, and writes down what it is given. Log in: hf auth "
    "login",
    **dict.fromkeys(
        ("--push_to_hub", "--hub_model_id", "--cnn_hub_model_id", "--vit_hub_model_id"), PUSH
    ),
}


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog=program(),
        usage="%(prog)s --methods METHOD ... [options]\n       %(prog)s --table TABLE [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--table", choices=list(TABLES), help="The rows, and the pair, of a table of the paper."
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="Rows after the table's, each a method, or one of your own, FILE.py:NAME, with its "
        "options in quotes. Vanilla is always there.",
    )
    parser.add_argument(
        "--pair",
        nargs="+",
        help="Pairs of students, A+B, or more of them, A+B+C, by methods that take more. Default: "
        "the table's first; without --table the students of --recipe, where it names any, else "
        f"{DEFAULT_PAIR}.",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="How many, from --seed on (default: 1)."
    )
    parser.add_argument("--seed", type=int, default=42, help="The first seed (default: 42).")
    parser.add_argument(
        "--block_length",
        type=int,
        default=10,
        help="Consecutive images that the interval over images draws together, such as frames of a "
        "video; 1 for images that are independent (default: 10).",
    )
    parser.add_argument(
        "--output_dir", type=Path, help="Default: runs/table-TABLE or runs/compare."
    )
    parser.add_argument(
        "--report_only", action="store_true", help="Write tables and figures of what is finished."
    )
    parser.add_argument(
        "--paper_table",
        choices=list(TABLES),
        help="Print what it takes at full scale; run nothing.",
    )
    parser.add_argument(
        "--sustained_tflops",
        type=float,
        default=10.0,
        help="Of the GPU, for --paper_table (default: 10).",
    )
    add_launch_arguments(parser)
    options, common = parser.parse_known_args()
    for name in ("seeds", "block_length"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: at least 1.")
    try:
        launch_of(options)
    except ValueError as error:
        parser.error(str(error))
    if options.launch and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        parser.error(
            f"--launch {options.launch}: every run is one process. Start the grid as one, without "
            "a launcher."
        )
    for argument in [
        *common,
        *(word for method in options.methods for word in shlex.split(method)),
    ]:
        name = argument.partition("=")[0]
        if name in NOT_FOR_A_GRID:
            parser.error(f"{name}: {NOT_FOR_A_GRID[name]}.")
    given = [*common, *options.methods]
    if secret := next(
        (shown for word, shown in zip(given, redacted_words(given), strict=True) if shown != word),
        None,
    ):
        parser.error(
            f"{secret}: a grid writes down what it is given, and this holds a secret. Give it "
            "another way."
        )
    is_alone = set(options.methods) <= {VANILLA.method} and len(options.pair or ()) < 2
    runs_nothing = (
        options.paper_table,
        options.report_only,
        options.launch_status,
        options.launch_cancel,
    )
    if is_alone and not options.table and not any(runs_nothing):
        parser.error(
            "nothing to compare: give --methods METHOD ..., beside which vanilla always is, or "
            "--table, or two of --pair."
        )
    return options, common


def pair_of_recipe(common: Sequence[str]) -> str:
    """The students of the recipe among these arguments, where it names both."""
    told = dict(option for option in options_in(common) if len(option) == 2)
    recipe = RECIPES.get(told.get("--recipe", ""), {})
    return f"{recipe['cnn']}+{recipe['vit']}" if {"cnn", "vit"} <= recipe.keys() else DEFAULT_PAIR


def run_own_code(rows: Sequence[Row], pairs: Sequence[str]) -> None:
    """Runs the files of the user's own that the command line names.

    ValueError says what is wrong with one, or that there is no such method.
    """
    named = [("--methods", METHODS, row.method) for row in rows]
    named += [("--pair", STUDENTS, name) for pair in pairs for name in students_of(pair)]
    for option, registry, name in named:
        if is_reference(name):
            try:
                registry.add(name)
            except ValueError as error:
                raise ValueError(f"{option} {name}: {error}") from error
        elif registry is METHODS and name not in METHODS:
            hint = did_you_mean(name, METHODS)
            raise ValueError(f"{option} {name}: {METHODS.refusal(name)}.{hint}")


def progress_of(cells: Sequence[Cell]) -> str:
    """How far a grid has come, in a line."""
    begun = [
        f"{cell.title} goes on from step {cell.step}"
        for cell in cells
        if not cell.is_finished and cell.has_checkpoint
    ]
    done = f"{sum(cell.is_finished for cell in cells)} of {len(cells)} runs are finished"
    return "; ".join([done, *begun])


def _is_main_process() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


def run_in_turn(cells: Sequence[Cell], progress: tqdm, report) -> None:
    """Runs cells in this process, one after the other."""
    for cell in cells:
        if not cell.is_complete:  # by another grid, meanwhile
            progress.set_description(cell.title)
            if progress.disable and _is_main_process():  # without a terminal
                print(f"grid: {cell.title}", flush=True)
            with told(ValueError, OSError, FloatingPointError, ImportError):
                if not run_here(cell):
                    if _is_main_process():
                        print("The same command goes on.")
                    sys.exit(0)
            gc.collect()
        progress.update()
        report()


def _other_grid(folder: Path) -> str:
    """Which grid a folder holds, and how it is asked for; "" if none."""
    if not (folder / GRID_FILE).is_file():
        return ""
    there, _ = read_grid(folder)
    words = ["--methods", *(row.arguments.removeprefix("--method ") for row in there.rows[1:])]
    words += ["--pair", *there.pairs, "--seed", str(there.seeds[0])]
    words += ["--seeds", str(len(there.seeds)), *there.common]
    return f" It holds another, whose arguments are: {shlex.join(words)}"


@told()
def main() -> None:
    """Runs what is missing of the grid that the command line says, and reports on all of it."""
    options, common = parse()
    named = options.table or options.paper_table
    folder = options.output_dir or Path(f"runs/table-{named}" if named else "runs/compare")
    seeds = tuple(range(options.seed, options.seed + options.seeds))
    if options.paper_table:
        from ..runs.comparison import budget

        table = TABLES[options.paper_table]
        print(budget.requirements(table, folder, tuple(common), seeds, options.sustained_tflops))
        return
    if options.launch_status or options.launch_cancel:
        follow(folder, cancels=options.launch_cancel)
        return

    table = TABLES.get(options.table)
    rows = list(table.rows if table else (VANILLA,))
    rows += rows_of(options.methods, rows)
    rows = [
        rows[0],
        *(row for row in rows[1:] if row != VANILLA and row.arguments != VANILLA.arguments),
    ]
    pairs = options.pair or [next(iter(table.scores)) if table else pair_of_recipe(common)]
    if table and not {"--dataset", "--dataset_name"} & {
        argument.partition("=")[0] for argument in common
    }:
        common = ["--dataset", table.dataset, *common]
    is_main_process = _is_main_process()
    try:
        with alive("starting"):
            check_place("--output_dir", folder)
            run_own_code(rows, pairs)
            grid = Grid(folder, tuple(rows), tuple(pairs), seeds, tuple(common))
            # a mistyped argument of the last method should not wait for the others
            # of each number of students, one pair
            numbers = {len(students_of(pair)): pair for pair in reversed(pairs)}
            for row, pair in product(grid.rows, numbers.values()):
                arguments = grid.cell(row, pair, seeds[0]).arguments
                # a report of runs on a GPU needs none
                on_cpu = ["--use_cpu"] if options.report_only else []
                parse_arguments(__doc__, [*arguments, *on_cpu])
            # Imported here, so that a mistyped argument is answered at once.
            from transformers.utils import logging

            from ..figures import costing
            from ..publishing.card import RECORD_FILE
            from ..runs.comparison import pictures, report
            from ..runs.comparison.own_code import changed_code
            from ..runs.comparison.recount import make_counts
            from ..runs.page.grid import write_grid_page
            from ..training.record import versions

            # of files read and written, which would break the grid's
            logging.disable_progress_bar()
            cells = list(grid.cells())
            if options.report_only and not any(cell.is_finished for cell in cells):
                if (folder / RECORD_FILE).is_file():
                    raise ValueError(
                        f"--report_only: {folder} is the folder of a run: ctcl-hf report {folder}"
                    )
                raise ValueError(
                    f"--report_only: nothing of this grid is finished in {folder}."
                    + _other_grid(folder)
                )
            if changed := changed_code(cells):
                if not options.report_only:
                    raise ValueError(
                        f"{changed}\nMove these folders away to run them again, or give another "
                        "--output_dir."
                    )
                print(f"{changed}\nThe tables hold what they scored then.", file=sys.stderr)
            for cell in () if options.report_only else cells:
                cell.check()
                if is_main_process:
                    cell.tidy()
            if is_main_process:
                grid.save(
                    table=options.table, block_length=options.block_length, versions=versions()
                )
    except (ValueError, OSError) as error:
        fail(error)

    def write_report() -> str | None:
        try:
            return (
                report.write_tables(grid, table, options.block_length) if is_main_process else None
            )
        except ValueError as error:  # runs that cannot be compared
            fail(error)

    def after_run() -> None:
        write_report()
        if is_main_process and progress.disable:  # without a terminal
            done = sum(cell.is_finished for cell in cells)
            print(f"grid: {done} of {len(cells)} runs are finished", flush=True)

    if is_main_process and not options.report_only:
        print(f"grid: {progress_of(cells)}", flush=True)
    pending = [] if options.report_only else [cell for cell in cells if not cell.is_complete]
    launch = launch_of(options)
    if launch is not None and pending:
        run_launched(grid, pending, launch, write_report)
        pending = []
    finished = len(cells) - len(pending)
    is_hidden = None if is_main_process else True  # None: without a terminal
    with tqdm(
        total=len(cells), initial=finished, unit="run", desc="grid", disable=is_hidden
    ) as progress:
        run_in_turn(pending, progress, after_run)
    for problem in make_counts(grid):
        print(f"{problem} Its rows have no interval over images.", file=sys.stderr)
    if is_main_process:
        print(f"\n{write_report()}")
        drawn: list[Path] = []
        for what, draw in (
            (
                "The gains of single classes",
                lambda: pictures.write_class_gains(grid, options.block_length),
            ),
            ("The curves", lambda: pictures.write_curves(grid)),
            ("The picture of predictions", lambda: pictures.write_predictions(grid)),
            (
                "The page of the comparison",
                lambda: [write_grid_page(grid, table, options.block_length)],
            ),
        ):
            with costing(what):
                drawn += draw()
        for path in drawn:
            print(path)


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.compare`
    sys.argv[0] = "ctcl-hf compare"
    main()
