"""Recipes set many arguments at once; what the command line gives replaces them."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import check_place
from ..base.redaction import shown_command
from ..base.registry import is_reference, short_name
from ..methods import METHODS, MethodOptions
from .data import DataArguments
from .dataset import DatasetArguments, words_naming
from .method import (
    MethodArguments,
    check_options,
    check_students,
    options_of_others,
    own_options,
)
from .pair import OptimizationArguments, PublishingArguments, ReportArguments, StudentArguments
from .parser import ArgumentsParser
from .trainer import TrainerArguments, names_of_trainer
from .unheeded import problems_of_typed, without_effect

if TYPE_CHECKING:
    from .training import CTCLArguments

RECIPES: dict[str, dict[str, Any]] = {
    # The defaults of the arguments are the paper's recipe. It gives a number of epochs for VOC
    # only, which is this one.
    "paper": {
        "num_train_epochs": 60,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 2,
    },
    # Sized for a CPU: a quarter of the pixels, a quarter of the ASPP's width, and rates for random
    # weights.
    "cpu": {
        "from_scratch": True,
        "aspp_channels": 128,
        "output_stride": 16,
        "image_size": [180, 240],
        "crop_size": [160, 224],
        "scale_range": [0.75, 1.75],
        "per_device_train_batch_size": 8,
        "num_train_epochs": 16,
        "cnn_lr": 0.05,
        "vit_lr": 1e-3,
        "vit_head_lr_multiplier": 1.0,
        "vit_warmup_steps": 50,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_steps": 10,
        "use_cpu": True,
    },
    # About three minutes on two cores for a pair, on drawn street scenes.
    "demo": {
        "dataset": "synthetic",
        "from_scratch": True,
        "cnn": "mobilenetv2_050",
        "vit": "nvidia/mit-b0",
        "aspp_channels": 64,
        "output_stride": 16,
        "crop_size": [96, 128],
        "scale_range": [0.9, 1.4],
        "per_device_train_batch_size": 8,
        "num_train_epochs": 15,
        "cnn_lr": 0.1,
        "vit_lr": 1e-3,
        "vit_head_lr_multiplier": 1.0,
        "vit_warmup_steps": 30,
        "eval_strategy": "steps",
        "eval_steps": 60,
        "save_strategy": "no",
        "logging_steps": 20,
        "use_cpu": True,
    },
}


RECIPE_HELP = (
    "What is set together, and replaced by what else is told (--recipe NAME --help shows it). "
    "paper: the published recipe on ImageNet weights, 60 epochs. cpu: a quarter of the pixels and "
    "of the width, from random weights, 16 epochs, half an hour on two cores. demo: drawn street "
    "scenes and smaller students, three minutes."
)
TRAINER_ARGUMENTS = """\
Every other argument of transformers' TrainingArguments is taken as well; they are listed at
https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments
"""
# What other programs call arguments -> what they are called here.
SYNONYMS = {
    "--epochs": "--num_train_epochs",
    "--steps": "--max_steps",
    "--batch_size": "--per_device_train_batch_size",
    "--lr": "--cnn_lr and --vit_lr",
    "--device": "--use_cpu, or CUDA_VISIBLE_DEVICES=0 before the command to choose a GPU",
    "--workers": "--dataloader_num_workers",
    "--num_workers": "--dataloader_num_workers",
    "--resume": "--resume_from_checkpoint auto",
    "--finish": "--resume_from_checkpoint auto, which finishes a trained run without training "
    "again",
    "--name": "--output_dir FOLDER, or --run_name for trackers",
    "--data": "--dataset NAME, or --dataset_name FOLDER for data of your own",
    "--model": "--cnn and --vit",
}


class Arguments(NamedTuple):
    """Everything a run is told, and the command line that told it."""

    recipe: str
    students: StudentArguments
    data: DataArguments
    method: MethodArguments
    options: MethodOptions
    training: "CTCLArguments"
    command: str


def arguments_of(command: str) -> list[str]:
    """Those in a run's recorded command line, `ctcl-hf train --seed 1` (of older runs, `run_ctcl.py
    --seed 1`).
    """
    return list(dropwhile(lambda word: not word.startswith("-"), shlex.split(command)))


def options_in(arguments: Sequence[str]) -> list[tuple[str, ...]]:
    """`--size 4 6 --lr=0.1` -> `("--size", "4", "6"), ("--lr", "0.1")`."""
    options: list[tuple[str, ...]] = []
    for word in arguments:
        if word.startswith("--") or not options:
            name, is_set, value = word.partition("=")
            options.append((name, value) if is_set else (name,))
        else:
            options[-1] += (word,)
    return options


def differences_in(
    there: Sequence[tuple[str, ...]],
    here: Sequence[tuple[str, ...]],
    ignored: Collection[str] = (),
) -> list[str]:
    """`--max_steps (8 there, 9 here)` of each option that two command lines do not share, whatever
    their order; of one given twice the last counts.
    """
    first, second = (
        {name: " ".join(values) or "set" for name, *values in options} for options in (there, here)
    )
    return [
        f"{name} ({first.get(name, 'not given')} there, {second.get(name, 'not given')} here)"
        for name in dict.fromkeys([*first, *second])
        if name not in ignored and first.get(name) != second.get(name)
    ]


def names_of_options(command: str) -> set[str]:
    """Of a run's recorded command line, as fields are called, whichever way they were spelled."""
    return {name[2:].replace("-", "_") for name, *_ in options_in(arguments_of(command))}


def data_of(command: str) -> DatasetArguments:
    """The data that a run's recorded command line names. It is another's perhaps: none of its files
    of code is run.

    Raises:
        ValueError: the data are built by such a file.
    """
    argv = arguments_of(command)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="paper")
    for what in ("dataset", "data_dir"):
        first.add_argument(f"--{what}", f"--{what.replace('_', '-')}")
    told = first.parse_known_args(argv)[0]
    if told.dataset is not None and is_reference(told.dataset):
        raise ValueError(
            f"The run was made with data of {told.dataset}. If that is yours and may be run, say "
            f"{shlex.join(words_naming(told.dataset, told.data_dir))}"
        )
    names = {field.name for field in dataclasses.fields(DatasetArguments)}
    parser = ArgumentsParser([DatasetArguments])
    recipe = RECIPES.get(told.recipe, {})
    parser.set_defaults(**{name: recipe[name] for name in names & recipe.keys()})
    values = vars(parser.parse_known_args(argv)[0])
    return DatasetArguments(**{name: values[name] for name in names})


def parse_arguments(description: str, argv: list[str] | None = None) -> Arguments:
    """The command line (or `argv`) over the recipe that it names. Exits with a message on a bad
    argument.

    Files of the user's own that it names are run. So `argv` must be what a user has typed: what a
    record holds may be another's.
    """
    return first_reading(description, argv)()


def first_reading(description: str, argv: list[str] | None = None) -> Callable[[], Arguments]:
    """As `parse_arguments`, without Trainer's arguments, whose import takes seconds: help and most
    mistakes are told at once. What is returned reads them all.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="paper")
    first.add_argument("--method", default=MethodArguments.method)
    for what in ("eval_steps", "eval_strategy", "save_steps", "save_strategy"):
        first.add_argument(f"--{what}", f"--{what.replace('_', '-')}", nargs="?")
    for what in ("dataset", "dataset_name"):
        first.add_argument(f"--{what}", f"--{what.replace('_', '-')}", nargs="?")
    best = "load_best_model_at_end"
    first.add_argument(f"--{best}", f"--{best.replace('_', '-')}", nargs="?", const="true")
    told = first.parse_known_args(argv)[0]
    recipe, method = told.recipe, told.method
    if is_reference(method):
        with suppress(ValueError):  # which is told with all else that is wrong
            METHODS.add(method)
    defaults = dict(RECIPES.get(recipe, {}))
    dataset = told.dataset or defaults.get("dataset", DatasetArguments.dataset)
    data = Path(told.dataset_name).resolve().name if told.dataset_name else short_name(dataset)
    defaults["output_dir"] = f"runs/{data}-{recipe}-{short_name(method)}"
    defaults |= {
        f"{what}_strategy": "steps"
        for what in ("eval", "save")
        if vars(told)[f"{what}_steps"] is not None
    }
    if told.load_best_model_at_end is not None and told.save_steps is told.save_strategy is None:
        defaults |= _saved_as_evaluated(told, defaults)

    shared = (StudentArguments, DataArguments, MethodArguments)

    def read(*of_training: type, **other: Any) -> list[Any]:
        parser = ArgumentsParser(
            [*shared, own_options(method), *of_training],
            description=description,
            epilog=TRAINER_ARGUMENTS,
        )
        if method in METHODS:
            parser.add_without_effect(options_of_others(method), f"--method {method}")
        parser.add_argument("--recipe", default="paper", choices=list(RECIPES), help=RECIPE_HELP)
        parser.set_defaults(**defaults)
        unread = is_reference(method) and method not in METHODS
        return parser.parse(argv, takes_any=unread, **other)

    of_training = (OptimizationArguments, PublishingArguments, ReportArguments)
    of_trainer = names_of_trainer()
    check_options(method, {"recipe", *of_trainer}, *shared, *of_training)
    words = options_in(sys.argv[1:] if argv is None else argv)
    typed = {name[2:].replace("-", "_"): " ".join(values) for name, *values in words}
    first_students, first_data, first_method, first_options, *first_training = read(
        *of_training,
        TrainerArguments,
        others=of_trainer,
        synonyms=SYNONYMS,
        found=problems_of_typed(typed),
    )
    if wrong := first_options.problems_of_typed(typed):
        raise ValueError("\n".join(f"--{problem}" for problem in wrong))
    optimization, _, _, trainer, _ = first_training
    check_students(first_students, first_method, optimization)
    if (problem := first_method.problem_of_cache(first_data)) is not None:
        raise ValueError(problem)
    if first_options.values().get("weigh_taught") and first_method.class_weights is None:
        raise ValueError("--weigh_taught has no effect without --class_weights.")
    check_place("--output_dir", Path(trainer.output_dir))
    read_from = first_data.dataset_name or first_data.data_dir
    if read_from is not None and Path(read_from).resolve() == Path(trainer.output_dir).resolve():
        raise ValueError(
            f"--output_dir {trainer.output_dir} is the folder of the data, among which the run's "
            "pictures would lie. Give another."
        )

    def read_all() -> Arguments:
        from .training import CTCLArguments

        students, data, method_arguments, options, training, *_ = read(CTCLArguments)
        if vain := without_effect(typed, training):
            raise ValueError("\n".join(vain))
        command = shown_command(["ctcl-hf", "train", *(sys.argv[1:] if argv is None else argv)])
        return Arguments(recipe, students, data, method_arguments, options, training, command)

    return read_all


def _saved_as_evaluated(told: argparse.Namespace, defaults: dict[str, Any]) -> dict[str, Any]:
    """What --load_best_model_at_end implies, which needs a checkpoint of each evaluation."""
    strategy = told.eval_strategy or defaults.get("eval_strategy", "no")
    steps = told.eval_steps or defaults.get("eval_steps")
    if strategy == "no" or (strategy == "steps" and steps is None):
        return {}  # which `CTCLArguments` tells
    implied = {"save_strategy": strategy, "save_total_limit": defaults.get("save_total_limit", 1)}
    return implied | ({"save_steps": steps} if strategy == "steps" else {})
