"""transformers' TrainingArguments for a pair of students."""

import dataclasses
import os
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any

from accelerate.utils import str_to_bool
from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from ..base.extras import install_line
from ..base.redaction import redacted
from ..base.tables import counted
from .pair import OptimizationArguments, PublishingArguments, ReportArguments
from .problems import did_you_mean
from .unheeded import REFUSED

# Trackers whose platform brings what they need.
OF_PLATFORMS = ("azure_ml", "flyte", "kubeflow")


def _problem_of_tracker(name: str) -> str | None:
    """What is wrong with a name in --report_to.

    Trainer would say so once data and students are built.
    """
    if name not in INTEGRATION_TO_CALLBACK:
        return (
            f"--report_to {name}: expected one of {', '.join(INTEGRATION_TO_CALLBACK)}, all, none."
            f"{did_you_mean(name, INTEGRATION_TO_CALLBACK)}"
        )
    if name in (*OF_PLATFORMS, *get_available_reporting_integrations()):
        return None
    line = install_line("track") if name == "tensorboard" else f"pip install {name}"
    return f"--report_to {name}: {name} is not installed: {line}."


@dataclass
class CTCLArguments(OptimizationArguments, PublishingArguments, ReportArguments, TrainingArguments):
    """transformers' TrainingArguments, how each family of students is optimised, and where each is
    published.

    Defaults are the paper's (section 4.1); schedules and head rate, which it does not state, are
    those of the published SegFormer and DeepLabV3+ recipes. Changed from Trainer's: no clipping,
    the last incomplete batch of an epoch is dropped (BatchNorm in the image-pooling branch needs
    two images), 4 images a batch, no NaN filter.
    """

    per_device_train_batch_size: int = field(
        default=4, metadata={"help": "Training images per process and step."}
    )
    per_device_eval_batch_size: int = field(
        default=4, metadata={"help": "Evaluation images per process and step."}
    )
    max_grad_norm: float = field(
        default=0.0, metadata={"help": "Clip each student's gradient to this norm; 0: never."}
    )
    dataloader_drop_last: bool = field(
        default=True, metadata={"help": "Drop an epoch's last incomplete batch."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay off: samples are dictionaries."}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Off, so that a NaN is seen in the log."}
    )
    ddp_find_unused_parameters: bool = field(
        default=False, metadata={"help": "Off: every parameter of a pair is in every step's graph."}
    )

    def __post_init__(self):
        defaults = {
            f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            for f in dataclasses.fields(TrainingArguments)
        }
        problems = [
            f"--{name} {getattr(self, name)} does not work for a pair of students; use {instead}."
            for name, instead in REFUSED.items()
            if getattr(self, name) != defaults[name]
        ]
        if self.per_device_train_batch_size == 1:
            problems.append(
                "--per_device_train_batch_size 1: BatchNorm after image pooling needs at least "
                "2 images per process; --gradient_accumulation_steps cannot stand in for them."
            )
        problems += self.optimization_problems()
        if self.bf16 and self.fp16:
            problems.append("--bf16 and --fp16: a run computes in one of them. Give one.")
        if self.remove_unused_columns:
            problems.append("--remove_unused_columns must stay off.")
        for engine, switch in (
            ("FSDP", "ACCELERATE_USE_FSDP"),
            ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"),
        ):
            if str_to_bool(os.environ.get(switch) or "false"):
                problems.append(
                    f"accelerate is configured for {engine}, which a pair is not tested with: give "
                    "`accelerate launch` a file of examples/accelerate/ as --config_file, or "
                    "--multi_gpu."
                )
        if os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp8":
            problems.append(
                "accelerate is configured for fp8, which a pair is not tested with: use --bf16."
            )
        if problems:
            raise ValueError("\n".join(problems))
        # else what `accelerate launch` or its config chose, which Trainer follows
        if not (self.bf16 or self.fp16):
            chosen = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
            self.bf16, self.fp16 = chosen == "bf16", chosen == "fp16"
        if self.load_best_model_at_end:
            self._check_best()
            self.metric_for_best_model = self.metric_for_best_model or "mean_iou"
        TrainingArguments.__post_init__(self)
        if self.early_stopping is not None and self.eval_strategy == "no":
            raise ValueError(
                "--early_stopping counts evaluations: say when, with --eval_steps N or "
                "--eval_strategy epoch."
            )
        if problems := [
            problem for name in self.report_to if (problem := _problem_of_tracker(name))
        ]:
            raise ValueError("\n".join(problems))
        if self.n_gpu > 1:
            raise ValueError(
                f"{self.n_gpu} GPUs are visible to one process, which would mean DataParallel. Use "
                "`accelerate launch --multi_gpu`, or make one visible with CUDA_VISIBLE_DEVICES=0."
            )

    def _check_best(self) -> None:
        """ValueError where weights would be scored that are not saved, or saved and not scored."""
        if self.eval_strategy == "no" or self.save_strategy not in (self.eval_strategy, "best"):
            raise ValueError(
                "--load_best_model_at_end chooses among checkpoints that were scored, but "
                f"--eval_strategy is {self.eval_strategy} and --save_strategy "
                f"{self.save_strategy}: give --eval_steps N and --save_steps N, or both as epoch."
            )

    def to_dict(self) -> dict[str, Any]:
        """Trainer's, as files and trackers are given it: without secrets."""
        values = super().to_dict()
        return {
            name: redacted(value) if isinstance(value, str) else value
            for name, value in values.items()
        }

    def check_dataset(self, dataset: Sized | None) -> None:
        """ValueError if the training images cannot fill batches of at least two."""
        if dataset is None:
            return
        own = len(dataset) // self.world_size
        batch = self.per_device_train_batch_size
        if own < batch and self.dataloader_drop_last:
            instead = (
                f"Give --per_device_train_batch_size{f', from 2 to {own}' if own > 2 else ' 2'}."
                if own >= 2
                else "BatchNorm needs at least two."
            )
            raise ValueError(
                f"{counted(own, 'training image')}{' per process' if self.world_size > 1 else ''} "
                f"{'does' if own == 1 else 'do'} not fill one batch of {batch}. "
                f"{instead}"
            )
        if own % batch == 1 and not self.dataloader_drop_last:
            raise ValueError(
                f"{own} images in batches of {batch} leave a last batch of one, which BatchNorm "
                "cannot train on. Keep --dataloader_drop_last, or choose another "
                "--per_device_train_batch_size."
            )
