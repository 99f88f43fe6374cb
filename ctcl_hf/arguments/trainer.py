"""transformers' TrainingArguments as far as they can be known before they are imported, which takes
seconds.
"""

import ast
from dataclasses import dataclass, field
from importlib.util import find_spec

from .problems import raise_problems
from .ranges import checks_of_numbers


@dataclass
class TrainerArguments:
    """The arguments of Trainer that most runs need, for --help and a first reading.

    `CTCLArguments` has them all.
    """

    _argument_group_name = "training (arguments of transformers' Trainer)"

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the run. Default: runs/DATA-RECIPE-METHOD."}
    )
    num_train_epochs: float = field(
        default=3.0, metadata={"help": "Times that all training images are seen."}
    )
    max_steps: int = field(
        default=-1, metadata={"help": "Steps to train, in place of epochs; -1: as epochs say."}
    )
    per_device_train_batch_size: int = field(
        default=4, metadata={"help": "Training images per process and step."}
    )
    per_device_eval_batch_size: int = field(
        default=4, metadata={"help": "Evaluation images per process and step."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches that make one step."}
    )
    max_grad_norm: float = field(
        default=0.0, metadata={"help": "Clip each student's gradient to this norm; 0: never."}
    )
    seed: int = field(
        default=42, metadata={"help": "Of weights, order of the images, augmentation and dropout."}
    )
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16 where that is safe."})
    use_cpu: bool = field(
        default=False, metadata={"help": "Train on the CPU even where there is a GPU."}
    )
    dataloader_num_workers: int = field(
        default=0, metadata={"help": "Processes that read images; 0: the one that trains."}
    )
    eval_strategy: str = field(
        default="no", metadata={"help": "When to evaluate: no, steps or epoch."}
    )
    eval_steps: float | None = field(
        default=None,
        metadata={"help": "Steps from evaluation to evaluation; implies --eval_strategy steps."},
    )
    save_strategy: str = field(
        default="steps", metadata={"help": "When to save: no, steps, epoch or best."}
    )
    save_steps: float = field(
        default=500,
        metadata={"help": "Steps from checkpoint to checkpoint; implies --save_strategy steps."},
    )
    save_total_limit: int | None = field(
        default=None, metadata={"help": "Checkpoints to keep; the best one stays."}
    )
    load_best_model_at_end: bool = field(
        default=False,
        metadata={
            "help": "End with each student's weights that scored best on validation; implies a "
            "checkpoint at each evaluation."
        },
    )
    logging_steps: float = field(default=500, metadata={"help": "Steps from log to log."})
    report_to: str | None = field(
        default="none", metadata={"help": "Trackers: tensorboard ([track]), wandb, ..."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "A checkpoint to go on from, or auto: the last one of --output_dir, if any. A "
            "run that is trained already is finished, and a finished one left as it is."
        },
    )
    push_to_hub: bool = field(
        default=False, metadata={"help": "Publish all students on the Hub at the end."}
    )
    hub_model_id: str | None = field(
        default=None,
        metadata={
            "help": "[USER/]NAME of their repositories, before -STUDENT. Default: METHOD-DATASET."
        },
    )
    hub_strategy: str = field(
        default="every_save",
        metadata={"help": "What to push: end, every_save, checkpoint or all_checkpoints."},
    )
    hub_private_repo: bool | None = field(
        default=None, metadata={"help": "Make new repositories private."}
    )

    def __post_init__(self):
        raise_problems(checks_of_numbers(self))


def names_of_trainer() -> set[str]:
    """The name of every argument of TrainingArguments, read from its source."""
    module = "transformers.training_args"
    body = ast.parse(find_spec(module).loader.get_source(module)).body
    (arguments,) = (
        node for node in body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"
    )
    return {node.target.id for node in arguments.body if isinstance(node, ast.AnnAssign)}
