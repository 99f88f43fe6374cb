"""What a command line says of the grid of `ctcl-hf compare`."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

from ..arguments.launch import ON_SUBMITIT, add_launch_arguments, launch_of
from ..arguments.problems import did_you_mean
from ..arguments.recipes import RECIPES, first_reading, options_in
from ..base.extras import require
from ..base.redaction import redacted_words
from ..base.registry import is_reference
from ..methods import METHODS, options_of
from ..runs.comparison.grid import GRID_FILE, Grid, read_grid
from ..runs.comparison.paper import TABLES, VANILLA, Row, rows_of, students_of
from ..students import STUDENTS
from .parser import command_parser

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
    "--resume_from_checkpoint": "a grid goes on by itself",
}
# Arguments that are the same in all rows, since they are compared -> how.
OF_ALL_ROWS = {
    **dict.fromkeys(("--seed", "--data_seed"), "rows are paired by seed: give --seed and --seeds"),
    **dict.fromkeys(
        ("--recipe", "--dataset", "--dataset_name", "--data_dir"),
        "rows are compared on the same data by the same recipe: give it outside the quotes",
    ),
    "--output_dir": "each run has a folder in the grid's",
    "--control": "it is the grid's own vanilla run",
}


def parse(description: str) -> tuple[argparse.Namespace, list[str]]:
    """The options of a grid, and the arguments that go to every run.

    Exits with what is wrong with a grid's own.
    """
    parser = command_parser(
        description,
        "%(prog)s --methods METHOD ... [options]\n       %(prog)s --table TABLE [options]",
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
    runs_nothing = any(
        (options.paper_table, options.report_only, options.launch_status, options.launch_cancel)
    )
    try:
        launch = launch_of(options)
        if launch is not None and launch.engine in ON_SUBMITIT and not runs_nothing:
            require("slurm", "submitit")
    except (ValueError, ImportError) as error:
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
    if problem := _of_rows(options.methods) or _outside_rows(common):
        parser.error(problem)
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
    if is_alone and not options.table and not runs_nothing:
        parser.error(
            "nothing to compare: give --methods METHOD ..., beside which vanilla always is, or "
            "--table, or two of --pair."
        )
    return options, common


def _of_rows(methods: Sequence[str]) -> str | None:
    """What is wrong with the arguments of rows where they say what is the grid's to say."""
    for method in methods:
        for option, *_ in options_in(shlex.split(method)):
            if (name := f"--{_name(option)}") in OF_ALL_ROWS:
                return f"--methods {shlex.quote(method)}: {name}: {OF_ALL_ROWS[name]}."
    return None


def _outside_rows(common: Sequence[str]) -> str | None:
    """What is wrong with the arguments of all runs where they were meant for one row, or for the
    grid.
    """
    more = sys.argv[sys.argv.index("--seeds") + 2 :][:1] if "--seeds" in sys.argv else []
    if more and more[0].isdecimal():
        return f"unrecognized arguments: {more[0]}. --seeds is how many there are, from --seed on."
    of_methods = {
        field.name: method
        for method in METHODS
        if not is_reference(method)
        for field in fields(options_of(method))
    }
    for own in options_in(common):
        if (method := of_methods.get(_name(own[0]).removeprefix("no_"))) is not None:
            return (
                f"{own[0]}: options of a method go into quotes with it, such as --methods "
                f'"{method} {shlex.join(own)}".'
            )
    return None


def _name(option: str) -> str:
    """`--data-seed` -> `data_seed`."""
    return option.lstrip("-").replace("-", "_")


def folder_of(options: argparse.Namespace) -> Path:
    """Where the grid goes."""
    named = options.table or options.paper_table
    return options.output_dir or Path(f"runs/table-{named}" if named else "runs/compare")


def seeds_of(options: argparse.Namespace) -> tuple[int, ...]:
    return tuple(range(options.seed, options.seed + options.seeds))


def grid_of(options: argparse.Namespace, common: Sequence[str]) -> Grid:
    """The grid that a command line asks for, once the arguments of each of its methods are read.

    ValueError says what is wrong with a file of the user's own; exits with what is wrong with
    arguments.

    A report for which no method is named is of all that the folder's grid is made of.
    """
    folder = folder_of(options)
    is_of_all = options.report_only and not (options.methods or options.table or options.pair)
    if is_of_all and (folder / GRID_FILE).is_file():
        grid, facts = read_grid(folder)
        options.table, options.block_length = facts["table"], facts["block_length"]
        try:
            run_own_code(grid.rows, grid.pairs)
        except ValueError as error:  # what was recorded is told without it
            print(error, file=sys.stderr)
        return replace(grid, common=tuple(common)) if common else grid
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
    run_own_code(rows, pairs)
    grid = Grid(folder, tuple(rows), tuple(pairs), seeds_of(options), tuple(common))
    # of each number of students, one pair
    numbers = {len(students_of(pair)): pair for pair in reversed(pairs)}
    # a report of runs on a GPU needs none
    on_cpu = ["--use_cpu"] if options.report_only else []
    # A mistyped argument of the last method should not wait for the others.
    readings = [
        first_reading("", [*grid.cell(row, pair, grid.seeds[0]).arguments, *on_cpu])
        for row, pair in product(grid.rows, numbers.values())
    ]
    for read_all in readings:
        read_all()
    return grid


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
