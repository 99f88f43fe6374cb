"""The numbers that arguments may be, in one table: of this package's and of Trainer's.

Trainer and torch would take some that are wrong without a word, and stumble over others in the
middle of a run.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Range(NamedTuple):
    """What a number may be, or each of several: finite, and within these bounds or `special`."""

    least: float
    below: float = math.inf
    above_least: bool = False  # the least is not taken itself
    special: float | None = None  # taken too
    meaning: str = ""  # of it

    def takes(self, value: float) -> bool:
        if value == self.special:
            return True
        is_enough = value > self.least if self.above_least else value >= self.least
        return is_enough and value < self.below

    def __str__(self) -> str:
        text = f"{'more than' if self.above_least else 'at least'} {self.least:g}"
        if self.below < math.inf:
            text += f", and less than {self.below:.0f}"
        return text if self.special is None else f"{text}, or {self.special:g}: {self.meaning}"


COUNT = Range(1)
WHOLE = Range(0)  # of what may be none, or of no effect
ABOVE_ZERO = Range(0, above_least=True)
# steps from one to the next; below 1 Trainer takes them for a share of all
INTERVAL = ABOVE_ZERO
SEED = Range(0, below=2**32)  # NumPy takes no other

RANGES = {
    **dict.fromkeys(
        (
            "aspp_channels",
            "batch_size",
            "calibration_images",
            "cpu_threads",
            "dataloader_prefetch_factor",
            "ddp_bucket_cap_mb",
            "ddp_timeout",
            "early_stopping",
            "gradient_accumulation_steps",
            "max_eval_samples",
            "max_train_samples",
            "per_device_eval_batch_size",
            "per_device_train_batch_size",
            "save_total_limit",
            "shuffle_buffer",
            "top",
            "torch_empty_cache_steps",
        ),
        COUNT,
    ),
    **dict.fromkeys(
        (
            "cnn_lr",
            "cnn_power",
            "cnn_warmup_steps",
            "cnn_weight_decay",
            "dataloader_num_workers",
            "eval_delay",
            "learning_rates",
            "max_grad_norm",
            "most_loss",
            "powers",
            "vit_head_lr_multiplier",
            "vit_lr",
            "vit_power",
            "vit_warmup_steps",
            "vit_weight_decay",
            "warmups",
            "workers",
            "worst",
        ),
        WHOLE,
    ),
    **dict.fromkeys(("eval_steps", "logging_steps", "save_steps"), INTERVAL),
    "num_train_epochs": ABOVE_ZERO,
    **dict.fromkeys(("seed", "data_seed"), SEED),
    "cnn_momentum": Range(0, below=1),
    "max_steps": Range(1, special=-1, meaning="as many as --num_train_epochs says"),
}


def checks_of_numbers(arguments: Any) -> list[tuple[bool, str]]:
    """Of each field of a dataclass that has a range, whether its number, or one of its numbers, is
    out of it, and the sentence that says so.
    """
    checks = []
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if field.name not in RANGES or value is None:
            continue
        numbers = value if isinstance(value, (list, tuple)) else [value]
        told = " ".join(map(str, numbers))
        each = "each " if len(numbers) > 1 else ""
        checks.append(
            (
                not all(map(RANGES[field.name].takes, numbers)),
                f"--{field.name} {told}: expected {each}{RANGES[field.name]}.",
            )
        )
    return checks


def check_of_sides(name: str, sides: Sequence[int] | None) -> tuple[bool, str]:
    """Whether what should be HEIGHT WIDTH in pixels is not, and the sentence that says so."""
    if sides is not None and None in sides:  # no numbers, which has been told
        return False, ""
    is_wrong = sides is not None and (len(sides) != 2 or min(sides) <= 0)
    told = " ".join(map(str, sides or []))
    return is_wrong, f"--{name} {told}: expected HEIGHT WIDTH, two positive numbers of pixels."
