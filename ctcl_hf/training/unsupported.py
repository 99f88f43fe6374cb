"""What transformers' Trainer takes and a pair of students does not, with the reason and what to do
instead.
"""

from collections.abc import Iterable

from torch import nn

from ..arguments.training import CTCLArguments
from ..methods.pair import StudentPair

CONSTRUCTOR = {
    "compute_metrics": "scores are counted pixel by pixel, and no predictions are kept: evaluate() "
    "returns mIoU, accuracies, IoU per class and loss of each student",
    "preprocess_logits_for_metrics": "no logits are kept: evaluate() counts pixels",
    "compute_loss_func": "the loss is the method's: write an Objective",
    "data_collator": "samples are stacked; a transform makes their images equal in size",
    "optimizers": "each student has its own: --optimizers, --learning_rates, or the --cnn_* and "
    "--vit_* settings of CTCLArguments",
    "optimizer_cls_and_kwargs": "each student has its own: --optimizers of CTCLArguments",
    "model_init": "a pair is given as it is: build one with StudentPair for each trainer",
    "processing_class": "each student carries its own image processor",
    "tokenizer": "each student carries its own image processor",
}
CARD = {
    "language": "images have none",
    "license": "--hub_license says it for all students",
    "tags": "they name the method; add others to the README.md in a student's folder",
    "model_name": "each student's is its repository's: --cnn_hub_model_id, --vit_hub_model_id",
    "finetuned_from": "it is recorded: what each student started from",
    "tasks": "it is semantic segmentation",
    "dataset_tags": "RunFacts(dataset_id=...) names the data set",
    "dataset": "RunFacts(dataset=...) names the data set",
    "dataset_args": "RunFacts(dataset_title=...) names the data set",
}


def refuse(what: str, given: Iterable[str], reasons: dict[str, str]) -> None:
    """TypeError for each keyword that was given, with its reason; or as Python's own if nobody
    knows it.
    """
    if unknown := [name for name in given if name not in reasons]:
        raise TypeError(f"{what} got an unexpected keyword argument {unknown[0]!r}")
    if given:
        raise TypeError("\n".join(f"{what} takes no {name}: {reasons[name]}." for name in given))


def check_kinds(model: nn.Module, args: CTCLArguments) -> None:
    """TypeError unless a trainer of pairs is given a pair and its arguments."""
    if not isinstance(model, StudentPair):
        raise TypeError(
            f"CTCLTrainer trains students together, a StudentPair({{'cnn': ..., 'vit': ...}}, "
            f"objective), got a {type(model).__name__}. transformers' Trainer trains one."
        )
    if not isinstance(args, CTCLArguments):
        raise TypeError(
            "CTCLTrainer needs CTCLArguments, which are TrainingArguments and each student's "
            f"optimizer, got {type(args).__name__}."
        )
