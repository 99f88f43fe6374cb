"""Flags of transformers' Trainer that `ctcl-hf train` does not heed, each with what to do instead:
told where one is typed, and never ignored.

Imported without torch, so that a command line is answered at once.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from transformers.hf_argparser import string_to_bool

if TYPE_CHECKING:
    from .training import CTCLArguments

NO_PREDICTIONS = "nothing: evaluation counts pixels, always, and keeps no predictions"
# Arguments of Trainer that a pair would silently ignore or fail on -> what to do instead.
REFUSED = {
    "learning_rate": "--cnn_lr and --vit_lr",
    "weight_decay": "--cnn_weight_decay and --vit_weight_decay",
    "optim": "--optimizers: CNNs train with SGD, all others with AdamW",
    "lr_scheduler_type": "--cnn_power and --vit_power: both schedules are polynomial",
    "warmup_steps": "--vit_warmup_steps",
    "lr_scheduler_kwargs": "--cnn_power and --vit_power",
    "adam_beta1": "torch's default, 0.9",
    "adam_beta2": "torch's default, 0.999",
    "adam_epsilon": "torch's default, 1e-8",
    "optim_args": "--cnn_momentum",
    "optim_target_modules": "nothing: all parameters are trained",
    "train_sampling_strategy": "nothing: every epoch is a permutation drawn from the seed",
    "length_column_name": "nothing: every epoch is a permutation drawn from the seed",
    "bf16_full_eval": "--bf16, which evaluates under autocast",
    "fp16_full_eval": "--fp16, which evaluates under autocast",
    "neftune_noise_alpha": "nothing: it is for language models",
    "use_liger_kernel": "nothing: it is for language models",
    "use_cache": "nothing: it is for language models",
    "average_tokens_across_devices": "nothing: it is for language models",
    "auto_find_batch_size": "--per_device_train_batch_size",
    "label_smoothing_factor": "nothing: each method says what its loss is",
    "include_for_metrics": NO_PREDICTIONS,
    "batch_eval_metrics": NO_PREDICTIONS,
    "prediction_loss_only": NO_PREDICTIONS,
    "eval_do_concat_batches": NO_PREDICTIONS,
    "eval_use_gather_object": NO_PREDICTIONS,
    "eval_accumulation_steps": NO_PREDICTIONS,
    "label_names": "nothing: samples hold pixel_values and labels",
    "liger_kernel_config": "nothing: it is for language models",
    "enable_jit_checkpoint": "nothing: a run that is told to end saves a checkpoint",
    "deepspeed": "`accelerate launch --multi_gpu`: DeepSpeed drives one optimizer, a pair has two",
    "fsdp": "`accelerate launch --multi_gpu`: FSDP is not tested with a pair",
}
# Switches that Trainer leaves to a script -> what `ctcl-hf train` does, and the command that does
# else.
DONE = {
    "do_train": (True, "this command trains. To score what is trained: ctcl-hf evaluate"),
    "do_eval": (
        True,
        "students are scored at the end of a run. While it trains they are not with "
        "--eval_strategy no",
    ),
    "do_predict": (False, "this command predicts nothing. Afterwards: ctcl-hf predict"),
}


class Needed(NamedTuple):
    """What flags have no effect without."""

    flags: tuple[str, ...]
    is_given: Callable[["CTCLArguments"], bool]
    without: str


NEEDED = (
    Needed(
        (
            "hub_model_id",
            "cnn_hub_model_id",
            "vit_hub_model_id",
            "hub_strategy",
            "hub_token",
            "hub_private_repo",
            "hub_revision",
            "hub_always_push",
        ),
        lambda training: training.push_to_hub,
        "without --push_to_hub. A run that is finished is published by ctcl-hf push FOLDER",
    ),
    Needed(
        ("eval_steps",),
        lambda training: training.eval_strategy == "steps",
        "with another --eval_strategy than steps",
    ),
    Needed(
        ("eval_delay",),
        lambda training: training.eval_strategy != "no",
        "with --eval_strategy no",
    ),
    Needed(
        ("save_steps",),
        lambda training: training.save_strategy == "steps",
        "with another --save_strategy than steps",
    ),
    Needed(
        ("logging_steps",),
        # without --eval_steps, the steps from evaluation to evaluation too
        lambda training: "steps" in (training.logging_strategy, training.eval_strategy),
        "with another --logging_strategy than steps",
    ),
    Needed(
        ("activation_checkpointing_kwargs",),
        lambda training: training.activation_checkpointing,
        "without --activation_checkpointing",
    ),
    Needed(
        (
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
        ),
        lambda training: training.dataloader_num_workers > 0,
        "without --dataloader_num_workers",
    ),
)


def problems_of_typed(typed: Mapping[str, str]) -> list[str]:
    """A sentence for each typed flag that a pair has no use for, its default too, which is not what
    a pair does; and for each switch that asks for another command.

    typed: names of flags, `do_train` and `no_do_train` of one -> what was typed after each.
    """
    problems = [
        f"{f'--{name} {value}'.rstrip()} does not work for a pair of students; use "
        f"{REFUSED[name.removeprefix('no_')]}."
        for name, value in typed.items()
        if name.removeprefix("no_") in REFUSED
    ]
    for name, (does, what) in DONE.items():
        if (asked := _asked(name, typed)) is not None and asked != does:
            problems.append(f"--{name} {str(asked).lower()} has no effect: {what}.")
    return problems


def _asked(name: str, typed: Mapping[str, str]) -> bool | None:
    """What a switch was typed to be; None if it was not, or nobody can tell."""
    if f"no_{name}" in typed:
        return False
    try:
        return string_to_bool(typed[name] or "true") if name in typed else None
    except ArgumentTypeError:  # which the parser tells
        return None


def without_effect(typed: Mapping[str, str], training: "CTCLArguments") -> list[str]:
    """A sentence for each typed flag that has no effect without another."""
    return [
        f"--{name} has no effect {needed.without}."
        for needed in NEEDED
        for name in needed.flags
        if {name, f"no_{name}"} & typed.keys() and not needed.is_given(training)
    ]
