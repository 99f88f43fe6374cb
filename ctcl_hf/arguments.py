"""All arguments, each documented once."""

import dataclasses
import inspect
import os
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import Dataset
from transformers import TrainingArguments

from .data import DATASETS
from .losses import KLDirection
from .methods import METHODS, Objective
from .methods.ctcl import RegionProjection
from .optim import OptimizerSettings
from .pair import StudentPair
from .students import Student

# Arguments of Trainer that a pair would silently ignore or fail on -> what to do instead.
REFUSED = {
    "learning_rate": "--cnn_lr and --vit_lr",
    "weight_decay": "--cnn_weight_decay and --vit_weight_decay",
    "optim": "nothing: CNNs train with SGD and ViTs with AdamW",
    "lr_scheduler_type": "--cnn_power and --vit_power: both schedules are polynomial",
    "warmup_steps": "--vit_warmup_steps",
    "lr_scheduler_kwargs": "--cnn_power and --vit_power",
    "adam_beta1": "torch's default, 0.9",
    "adam_beta2": "torch's default, 0.999",
    "adam_epsilon": "torch's default, 1e-8",
    "optim_args": "--cnn_momentum",
    "optim_target_modules": "nothing: all parameters are trained",
    "train_sampling_strategy": "nothing: every epoch is a permutation drawn from the seed",
    "bf16_full_eval": "--bf16, which evaluates under autocast",
    "fp16_full_eval": "--fp16, which evaluates under autocast",
    "neftune_noise_alpha": "nothing: it is for language models",
    "use_liger_kernel": "nothing: it is for language models",
    "auto_find_batch_size": "--per_device_train_batch_size",
    "label_smoothing_factor": "nothing: each method says what its loss is",
    "gradient_checkpointing": "a smaller --per_device_train_batch_size with --gradient_accumulation_steps",
    "activation_checkpointing": "a smaller --per_device_train_batch_size with --gradient_accumulation_steps",
    "deepspeed": "`accelerate launch --multi_gpu`: DeepSpeed drives one optimizer, a pair has two",
    "fsdp": "`accelerate launch --multi_gpu`: FSDP is not tested with a pair",
    "push_to_hub": "`hf upload USER/NAME OUTPUT_DIR/cnn` for each student once it is trained",
}


@dataclass
class CTCLArguments(TrainingArguments):
    """transformers' TrainingArguments, and how each family of students is optimised.

    Defaults are the paper's (section 4.1); schedules and head rate, which it does not state, are those of the
    published SegFormer and DeepLabV3+ recipes. Changed from Trainer's: no clipping, the last incomplete batch of an
    epoch is dropped (BatchNorm in the image-pooling branch needs two images), 4 images a batch, no NaN filter.
    """

    cnn_lr: float = field(default=0.0025, metadata={"help": "Peak learning rate of a CNN (SGD)."})
    cnn_momentum: float = field(default=0.9, metadata={"help": "Momentum of a CNN's SGD."})
    cnn_weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay of a CNN."})
    cnn_power: float = field(default=0.9, metadata={"help": "Power of a CNN's polynomial decay to 0."})
    cnn_warmup_steps: int = field(default=0, metadata={"help": "Steps of linear warm-up of a CNN."})
    vit_lr: float = field(default=6e-5, metadata={"help": "Peak learning rate of a ViT's encoder (AdamW)."})
    vit_weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of a ViT, not of its norms."})
    vit_power: float = field(default=1.0, metadata={"help": "Power of a ViT's polynomial decay to 0."})
    vit_warmup_steps: int = field(default=1500, metadata={"help": "Steps of linear warm-up of a ViT."})
    vit_head_lr_multiplier: float = field(
        default=10.0, metadata={"help": "Learning rate of a ViT's head and projections, as a multiple of --vit_lr."}
    )

    cpu_threads: int | None = field(
        default=None,
        metadata={
            "help": "Threads per process when training on a CPU. Default: all cores, shared among the machine's "
            "processes; `accelerate launch` alone would leave one."
        },
    )

    per_device_train_batch_size: int = field(default=4, metadata={"help": "Training images per process and step."})
    per_device_eval_batch_size: int = field(default=4, metadata={"help": "Evaluation images per process and step."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Clip each student's gradient to this norm; 0: never."})
    dataloader_drop_last: bool = field(default=True, metadata={"help": "Drop an epoch's last incomplete batch."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay off: samples are dictionaries."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Off, so that a NaN is seen in the log."})
    ddp_find_unused_parameters: bool = field(
        default=False, metadata={"help": "Off: every parameter of a pair is in every step's graph."}
    )

    def __post_init__(self):
        defaults = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}
        problems = [
            f"--{name} {getattr(self, name)} does not work for a pair of students; use {instead}."
            for name, instead in REFUSED.items()
            if getattr(self, name) != defaults[name]
        ]
        if self.per_device_train_batch_size < 2:
            problems.append(
                f"--per_device_train_batch_size {self.per_device_train_batch_size}: BatchNorm after image pooling "
                "needs at least 2 images per process; --gradient_accumulation_steps cannot stand in for them."
            )
        if self.cpu_threads is not None and self.cpu_threads < 1:
            problems.append(f"--cpu_threads {self.cpu_threads}: at least 1.")
        if self.remove_unused_columns:
            problems.append("--remove_unused_columns must stay off.")
        if problems:
            raise ValueError("\n".join(problems))
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = "mean_iou"
        super().__post_init__()
        if self.n_gpu > 1:
            raise ValueError(
                f"{self.n_gpu} GPUs are visible to one process, which would mean DataParallel. Use "
                "`accelerate launch --multi_gpu`, or make one visible with CUDA_VISIBLE_DEVICES=0."
            )

    def threads(self) -> int:
        """Threads that torch is to use in this process: `cpu_threads`, or its share of the cores."""
        return self.cpu_threads or max(os.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)

    def check_dataset(self, dataset: Dataset | None) -> None:
        """ValueError if the data set cannot fill batches of at least two images."""
        if dataset is None:
            return
        own = len(dataset) // self.world_size
        batch = self.per_device_train_batch_size
        if own < batch and self.dataloader_drop_last:
            raise ValueError(f"{own} training images per process do not fill one batch of {batch}.")
        if own % batch == 1 and not self.dataloader_drop_last:
            raise ValueError(
                f"{own} images in batches of {batch} leave a last batch of one, which BatchNorm cannot train on. "
                "Keep --dataloader_drop_last, or choose another --per_device_train_batch_size."
            )

    def optimizer_settings(self, pair: StudentPair) -> dict[str, OptimizerSettings]:
        """Each student's settings by name, after its family."""
        by_family = {
            "cnn": OptimizerSettings(
                lr=self.cnn_lr,
                weight_decay=self.cnn_weight_decay,
                power=self.cnn_power,
                warmup_steps=self.cnn_warmup_steps,
                momentum=self.cnn_momentum,
            ),
            "vit": OptimizerSettings(
                lr=self.vit_lr,
                weight_decay=self.vit_weight_decay,
                power=self.vit_power,
                warmup_steps=self.vit_warmup_steps,
                head_lr_multiplier=self.vit_head_lr_multiplier,
            ),
        }
        return {name: by_family[student.family] for name, student in pair.students.items()}


@dataclass
class StudentArguments:
    """Which two students."""

    cnn: str = field(
        default="mobilenetv2_100",
        metadata={"help": "The CNN: a timm encoder for a new DeepLabV3+, a Hub id, or a folder with a saved student."},
    )
    vit: str = field(
        default="nvidia/mit-b1",
        metadata={"help": "The ViT: a SegFormer's or MiT's Hub id, or a folder with a saved student."},
    )
    from_scratch: bool = field(default=False, metadata={"help": "Random weights; nothing is downloaded."})
    aspp_channels: int = field(default=512, metadata={"help": "Width of a new DeepLabV3+'s ASPP and decoder."})
    output_stride: int | None = field(
        default=None,
        metadata={"help": "Stride of a new DeepLabV3+'s encoder: 8, 16 or 32. Paper: 8 for MobileNetV2, else 16."},
    )


@dataclass
class DataArguments:
    """Which data, and how it is augmented."""

    dataset: str = field(default="camvid", metadata={"help": "Data set.", "choices": list(DATASETS)})
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder with a local copy; without one, the data set is downloaded once."}
    )
    image_size: list[int] | None = field(
        default=None,
        metadata={"help": "HEIGHT WIDTH in pixels to which images are resized (scale 1). Default: the data set's own."},
    )
    crop_size: list[int] = field(
        default_factory=lambda: [512, 512],
        metadata={"help": "HEIGHT WIDTH in pixels of a training crop, multiples of 32 (one number: a square)."},
    )
    scale_range: list[float] = field(
        default_factory=lambda: [0.5, 2.0], metadata={"help": "Smallest and largest scale of training images."}
    )
    photometric: bool = field(default=False, metadata={"help": "Jitter brightness, contrast, saturation and hue."})
    check_data: bool = field(default=True, metadata={"help": "Read every file once before training."})

    def __post_init__(self):
        problems = []
        if self.dataset not in DATASETS:
            problems.append(f"--dataset {self.dataset}: expected one of {', '.join(DATASETS)}.")
        if len(self.crop_size) == 1:
            self.crop_size = self.crop_size * 2
        if len(self.crop_size) != 2 or any(side <= 0 or side % 32 for side in self.crop_size):
            problems.append(
                f"--crop_size {' '.join(map(str, self.crop_size))}: expected HEIGHT WIDTH, both multiples of 32 (the "
                "deepest stride), so that both students' features cover the same pixels."
            )
        if self.image_size is not None and (len(self.image_size) != 2 or min(self.image_size) <= 0):
            problems.append(f"--image_size {' '.join(map(str, self.image_size))}: expected HEIGHT WIDTH.")
        if len(self.scale_range) != 2 or not 0 < self.scale_range[0] <= self.scale_range[1]:
            problems.append(f"--scale_range {' '.join(map(str, self.scale_range))}: expected 0 < MIN <= MAX.")
        if problems:
            raise ValueError("\n".join(problems))


@dataclass
class MethodArguments:
    """How the students learn from each other."""

    method: str = field(default="ctcl", metadata={"help": "Training method.", "choices": list(METHODS)})
    alpha: float = field(default=1.0, metadata={"help": "Weight of pixel-wise BSD within BSD (Eq. 5, Table 7)."})
    beta: float = field(default=0.1, metadata={"help": "Weight of HFD in each student's loss (Eq. 6, Table 8)."})
    gamma: float = field(default=1.0, metadata={"help": "Weight of BSD in each student's loss (Eq. 6, Table 9)."})
    kl_direction: KLDirection = field(
        default="reverse",
        metadata={"help": "Order in Eq. 4: reverse, KL(learner || peer), as printed; forward, KL(peer || learner)."},
    )
    temperature: float = field(default=1.0, metadata={"help": "Temperature of Eq. 4's distributions."})
    region_projection: RegionProjection = field(
        default="both",
        metadata={"help": "Who is projected in Eq. 3: both students, as printed, or the learner onto the peer."},
    )

    def __post_init__(self):
        problems = []
        if self.method not in METHODS:
            problems.append(f"--method {self.method}: expected one of {', '.join(METHODS)}.")
        else:
            for option in dataclasses.fields(self):
                is_set = getattr(self, option.name) != option.default
                if option.name != "method" and is_set and option.name not in self._options():
                    problems.append(f"--{option.name} has no effect on --method {self.method}.")
        for weight in ("alpha", "beta", "gamma"):
            if getattr(self, weight) < 0:
                problems.append(f"--{weight} {getattr(self, weight)}: a weight must not be negative.")
        if self.temperature <= 0:
            problems.append(f"--temperature {self.temperature}: must be positive.")
        if problems:
            raise ValueError("\n".join(problems))

    def _options(self) -> dict[str, Any]:
        """The fields that the method's class takes by keyword."""
        accepted = inspect.signature(METHODS[self.method]).parameters
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in accepted}

    def build(self, a: Student, b: Student) -> Objective:
        """The objective for these two students."""
        return METHODS[self.method](a, b, **self._options())
