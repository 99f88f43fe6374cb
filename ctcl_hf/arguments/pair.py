"""Arguments about students, methods, optimisation and publishing, each documented once.

Imported without torch, so that --help answers at once.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..choices import Divisor, KDCLTarget, KLDirection, PixelClasses, RegionProjection
from ..methods import METHODS

if TYPE_CHECKING:
    from ..methods import Objective
    from ..students import Student


OPTIMIZERS = ("sgd", "adamw")

# CTCL's open choices as the paper prints them (Eqs. 3 and 4).
AS_PRINTED = {
    "kl_direction": "reverse",
    "pixel_divisor": "taught",
    "pixel_classes": "all",
    "region_divisor": "taught",
    "region_projection": "both",
}


@dataclass
class OptimizationArguments:
    """How each family of students is optimised. Defaults: see `CTCLArguments`.

    What is named after CNNs is for every student that SGD trains, and what is named after ViTs for AdamW's.
    """

    _argument_group_name = "optimisation"

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

    optimizers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Optimizer of each student: sgd, with the --cnn_* settings, or adamw, with the --vit_* "
            "settings. Default: sgd for CNNs, adamw for all others."
        },
    )
    learning_rates: list[float] | None = field(
        default=None, metadata={"help": "Peak learning rate of each student, in place of --cnn_lr and --vit_lr."}
    )
    warmups: list[int] | None = field(
        default=None, metadata={"help": "Warm-up steps of each student, in place of --cnn_ and --vit_warmup_steps."}
    )
    powers: list[float] | None = field(
        default=None, metadata={"help": "Power of each student's decay, in place of --cnn_power and --vit_power."}
    )

    on_nonfinite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={"help": "What to do at a gradient that is not finite: stop and tell why, or skip the step."},
    )
    cpu_threads: int | None = field(
        default=None,
        metadata={
            "help": "Threads per process when training on a CPU. Default: all cores, shared among the machine's "
            "processes; `accelerate launch` alone would leave one."
        },
    )

    def __post_init__(self):
        if problems := self.optimization_problems():
            raise ValueError("\n".join(problems))

    def optimization_problems(self) -> list[str]:
        """What is wrong with these arguments, a sentence each."""
        problems = []
        for name in ("optimizers", "learning_rates", "warmups", "powers"):
            given = getattr(self, name)
            if given is not None and len(given) != 2:
                problems.append(f"--{name} {' '.join(map(str, given))}: expected two, one for each student.")
        for kind in self.optimizers or ():
            if kind not in OPTIMIZERS:
                problems.append(f"--optimizers {kind}: expected one of {', '.join(OPTIMIZERS)}.")
        if self.cpu_threads is not None and self.cpu_threads < 1:
            problems.append(f"--cpu_threads {self.cpu_threads}: at least 1.")
        return problems


@dataclass
class PublishingArguments:
    """Where the students are published, and what their cards say that no run can know. See --push_to_hub."""

    _argument_group_name = "publishing, with --push_to_hub"

    cnn_hub_model_id: str | None = field(
        default=None,
        metadata={"help": "Repository of the CNN, [USER/]NAME. Default: [USER/]HUB_MODEL_ID-cnn."},
    )
    vit_hub_model_id: str | None = field(
        default=None,
        metadata={"help": "Repository of the ViT, [USER/]NAME. Default: [USER/]HUB_MODEL_ID-vit."},
    )
    hub_license: str = field(
        default="unknown", metadata={"help": "License of the published weights, by the Hub's identifier."}
    )
    control: str | None = field(
        default=None,
        metadata={
            "help": "Output folder of a finished --method vanilla run, whose scores the cards show beside these."
        },
    )


@dataclass
class StudentArguments:
    """Which two students."""

    _argument_group_name = "students"

    cnn: str = field(
        default="mobilenetv2_100",
        metadata={"help": "The CNN: a timm encoder for a new DeepLabV3+, a Hub id, or a folder with a saved student."},
    )
    vit: str = field(
        default="nvidia/mit-b1",
        metadata={"help": "The ViT: a SegFormer's or MiT's Hub id, or a folder with a saved student."},
    )
    students: list[str] | None = field(
        default=None,
        metadata={
            "help": "Any two students in place of --cnn and --vit, named after their families: cnn, vit and hybrid, or "
            "cnn_1 and cnn_2 of one family."
        },
    )
    from_scratch: bool = field(default=False, metadata={"help": "Random weights; nothing is downloaded."})
    encoder_weights: list[str] | None = field(
        default=None,
        metadata={
            "help": "Local file (.pth, .safetensors) with the ImageNet weights of the timm encoder, where the Hub "
            "cannot be reached; of two timm encoders, one each. --from_scratch then draws the other student alone."
        },
    )
    aspp_channels: int = field(default=512, metadata={"help": "Width of a new DeepLabV3+'s ASPP and decoder."})
    output_stride: int | None = field(
        default=None,
        metadata={
            "help": "Stride of a new DeepLabV3+'s encoder: 8, 16 or 32. Paper: 8 for MobileNetV2, else 16; hybrids: 32."
        },
    )

    def __post_init__(self):
        if self.students is not None and len(self.students) != 2:
            raise ValueError(f"--students {' '.join(self.students)}: expected two.")


@dataclass
class MethodArguments:
    """How the students learn from each other."""

    _argument_group_name = "method"

    method: str = field(default="ctcl", metadata={"help": "Training method.", "choices": list(METHODS)})
    alpha: float = field(default=1.0, metadata={"help": "Weight of pixel-wise BSD within BSD (Eq. 5, Table 7)."})
    beta: float = field(default=0.1, metadata={"help": "Weight of HFD in each student's loss (Eq. 6, Table 8)."})
    gamma: float = field(default=1.0, metadata={"help": "Weight of BSD in each student's loss (Eq. 6, Table 9)."})
    hfd: bool = field(default=True, metadata={"help": "Heterogeneous feature distillation (Eq. 2, Table 4)."})
    region_bsd: bool = field(default=True, metadata={"help": "Region-wise selective distillation (Eq. 3, Table 5)."})
    pixel_bsd: bool = field(default=True, metadata={"help": "Pixel-wise selective distillation (Eq. 4, Table 5)."})
    kl_direction: KLDirection = field(
        default="forward",
        metadata={"help": "Order in Eq. 4: reverse, KL(learner || peer), as printed; forward, KL(peer || learner)."},
    )
    pixel_divisor: Divisor = field(
        default="labelled",
        metadata={"help": "What Eq. 4 divides by: all labelled pixels, or those that are taught, as printed."},
    )
    region_divisor: Divisor = field(
        default="taught",
        metadata={"help": "The same of Eq. 3, in regions: those taught, as printed, or all labelled ones."},
    )
    pixel_classes: PixelClasses | None = field(
        default=None,
        metadata={
            "help": "What is compared at a pixel: all classes, as printed, or grouped ones: those that the peer cannot "
            "tell apart are merged, so that it cannot make a student forget them. Default: grouped; of others than "
            "ctcl all."
        },
    )
    temperature: float | None = field(
        default=None, metadata={"help": "Temperature of the distributions compared. Default: 1; kdcl 2, cwd 4."}
    )
    region_projection: RegionProjection = field(
        default="both",
        metadata={"help": "Who is projected in Eq. 3: both students, as printed, or the learner onto the peer."},
    )
    distillation_weight: float | None = field(
        default=None,
        metadata={"help": "Weight of what a student learns from its peer. Default: 1; ifvd 20, cwd 3."},
    )
    kdcl_target: KDCLTarget = field(
        default="minlogit",
        metadata={
            "help": "KDCL's target: smallest logits, the better student, the best mixture of the batch, or the best on "
            "held-out (evaluation) images."
        },
    )
    teachers: str | None = field(
        default=None,
        metadata={
            "help": "Output folder of a finished --method vanilla run, whose frozen students teach (offline_kd; ifvd "
            "and cwd, which without it learn from each other)."
        },
    )
    as_printed: bool = field(
        default=False,
        metadata={"help": "CTCL exactly as the paper prints Eqs. 3 and 4, whatever the options of BSD say."},
    )
    distillation_warmup: float = field(
        default=0.0,
        metadata={"help": "Share of the training, 0 to 1, over which the weights of distillation rise from 0."},
    )

    def __post_init__(self):
        problems = []
        if self.method not in METHODS:
            problems.append(f"--method {self.method}: expected one of {', '.join(METHODS)}.")
        else:
            if self.as_printed:
                problems += self._set_as_printed()
            for option in dataclasses.fields(self):
                is_set = getattr(self, option.name) != option.default
                if option.name not in ("method", "as_printed") and is_set and option.name not in self._accepted():
                    problems.append(f"--{option.name} has no effect on --method {self.method}.")
            wanted = self._accepted().get("teachers")
            if wanted is not None and wanted.default is inspect.Parameter.empty and self.teachers is None:
                problems.append(
                    f"--method {self.method} needs --teachers FOLDER: students that were trained before. This trains "
                    "them: run_ctcl.py --method vanilla --output_dir FOLDER, on the same data."
                )
        for weight in ("alpha", "beta", "gamma", "distillation_weight"):
            if (getattr(self, weight) or 0) < 0:
                problems.append(f"--{weight} {getattr(self, weight)}: a weight must not be negative.")
        if not 0 <= self.distillation_warmup <= 1:
            problems.append(f"--distillation_warmup {self.distillation_warmup}: expected a share, 0 to 1.")
        if self.temperature is not None and self.temperature <= 0:
            problems.append(f"--temperature {self.temperature}: must be positive.")
        if problems:
            raise ValueError("\n".join(problems))

    def _set_as_printed(self) -> list[str]:
        """Sets the options of the paper's equations; what was asked for beside them, or cannot be, as problems."""
        if self.method != "ctcl":
            return [f"--as_printed has no effect on --method {self.method}."]
        defaults = {option.name: option.default for option in dataclasses.fields(self)}
        asked = [
            f"--{name} {getattr(self, name)} is not as printed ({printed}): leave out one of the two."
            for name, printed in AS_PRINTED.items()
            if getattr(self, name) not in (printed, defaults[name])
        ]
        for name, printed in AS_PRINTED.items():
            setattr(self, name, printed)
        return asked

    def _accepted(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the method's class."""
        return inspect.signature(METHODS[self.method]).parameters

    def options(self) -> dict[str, Any]:
        """The fields that the method's class takes by keyword, but for teachers; None is left to its default."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in self._accepted()}
        return {name: value for name, value in fields.items() if value is not None and name != "teachers"}

    def build(self, a: "Student", b: "Student", teachers: "tuple[Student, Student] | None" = None) -> "Objective":
        """The objective for these two students; `teachers` are the models that --teachers names, of a's peer first."""
        frozen = {} if teachers is None else {"teachers": teachers}
        return METHODS[self.method](a, b, **self.options(), **frozen)
