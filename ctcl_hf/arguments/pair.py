"""Arguments about students, optimisation and publishing, each documented once.

Imported without torch, so that --help answers at once.
"""

from dataclasses import dataclass, field
from typing import Literal

from .problems import raise_problems
from .ranges import checks_of_numbers

OPTIMIZERS = ("sgd", "adamw")
OUTPUT_STRIDES = (8, 16, 32)


@dataclass
class OptimizationArguments:
    """How each family of students is optimised. Defaults: see `CTCLArguments`.

    What is named after CNNs is for every student that SGD trains, and what is named after ViTs for
    AdamW's.
    """

    _argument_group_name = "optimisation"

    cnn_lr: float = field(default=0.0025, metadata={"help": "Peak learning rate of a CNN (SGD)."})
    cnn_momentum: float = field(default=0.9, metadata={"help": "Momentum of a CNN's SGD."})
    cnn_weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay of a CNN."})
    cnn_power: float = field(
        default=0.9, metadata={"help": "Power of a CNN's polynomial decay to 0."}
    )
    cnn_warmup_steps: int = field(default=0, metadata={"help": "Steps of linear warm-up of a CNN."})
    vit_lr: float = field(
        default=6e-5, metadata={"help": "Peak learning rate of a ViT's encoder (AdamW)."}
    )
    vit_weight_decay: float = field(
        default=0.01, metadata={"help": "Weight decay of a ViT, not of its norms."}
    )
    vit_power: float = field(
        default=1.0, metadata={"help": "Power of a ViT's polynomial decay to 0."}
    )
    vit_warmup_steps: int = field(
        default=1500, metadata={"help": "Steps of linear warm-up of a ViT."}
    )
    vit_head_lr_multiplier: float = field(
        default=10.0,
        metadata={
            "help": "Learning rate of a ViT's head and projections, as a multiple of --vit_lr."
        },
    )

    optimizers: list[str] | None = field(
        default=None,
        metadata={
            "metavar": ("A", "B ..."),
            "help": "Optimizer of each student: sgd, with the --cnn_* settings, or adamw, with the "
            "--vit_* settings. Default: sgd for CNNs, adamw for all others.",
        },
    )
    learning_rates: list[float] | None = field(
        default=None,
        metadata={
            "metavar": ("A", "B ..."),
            "help": "Peak learning rate of each student, in place of --cnn_lr and --vit_lr.",
        },
    )
    warmups: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("A", "B ..."),
            "help": "Warm-up steps of each student, in place of --cnn_ and --vit_warmup_steps.",
        },
    )
    powers: list[float] | None = field(
        default=None,
        metadata={
            "metavar": ("A", "B ..."),
            "help": "Power of each student's decay, in place of --cnn_power and --vit_power.",
        },
    )

    on_nonfinite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "What to do at a gradient that is not finite: stop and tell why, or skip the "
            "step."
        },
    )
    early_stopping: int | None = field(
        default=None,
        metadata={
            "help": "Stop once no student's score on validation has risen for so many evaluations. "
            "With --load_best_model_at_end each student ends with its best weights, else with the "
            "last."
        },
    )
    cpu_threads: int | None = field(
        default=None,
        metadata={
            "help": "Threads per process when training on a CPU. Default: as OMP_NUM_THREADS says, "
            "else all cores, shared among the machine's processes; `accelerate launch` alone would "
            "leave one."
        },
    )

    def __post_init__(self):
        if problems := self.optimization_problems():
            raise ValueError("\n".join(problems))

    def optimization_problems(self) -> list[str]:
        """What is wrong with these arguments, a sentence each."""
        problems = [problem for is_wrong, problem in checks_of_numbers(self) if is_wrong]
        for kind in self.optimizers or ():
            if kind not in OPTIMIZERS:
                problems.append(f"--optimizers {kind}: expected one of {', '.join(OPTIMIZERS)}.")
        return problems

    def problems_of_numbers(self, students: int) -> list[str]:
        """What is wrong with these arguments for so many students, a sentence each."""
        given = {
            name: getattr(self, name)
            for name in ("optimizers", "learning_rates", "warmups", "powers")
        }
        return [
            f"--{name} {' '.join(map(str, values))}: expected {students}, one for each student."
            for name, values in given.items()
            if values is not None and len(values) != students
        ]


@dataclass
class PublishingArguments:
    """Where the students are published, and what their cards say that no run can know.

    See --push_to_hub.
    """

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
        default="unknown",
        metadata={"help": "License of the published weights, by the Hub's identifier."},
    )
    control: str | None = field(
        default=None,
        metadata={
            "help": "Output folder of a finished --method vanilla run, whose scores the cards show "
            "beside these."
        },
    )


@dataclass
class ReportArguments:
    """What is told of a run while it goes on."""

    _argument_group_name = "report"

    live_report: bool = field(
        default=False,
        metadata={
            "help": "Write report.html anew at each evaluation; a browser loads it again by itself."
        },
    )


@dataclass
class StudentArguments:
    """Which students."""

    _argument_group_name = "students"

    cnn: str = field(
        default="mobilenetv2_100",
        metadata={
            "help": "The CNN: a timm encoder for a new DeepLabV3+, a Hub id, a folder with a saved "
            "student, or a family of your own, FILE.py:NAME."
        },
    )
    vit: str = field(
        default="nvidia/mit-b1",
        metadata={
            "help": "The ViT: a SegFormer's or MiT's Hub id, or a folder with a saved student."
        },
    )
    students: list[str] | None = field(
        default=None,
        metadata={
            "metavar": ("A", "B ..."),
            "help": "Any two students in place of --cnn and --vit, named after their families: "
            "cnn, vit and hybrid, or cnn_1 and cnn_2 of one family. By some methods (vanilla, "
            "ctcl) three or more, each of which learns from all others.",
        },
    )
    from_scratch: bool = field(
        default=False, metadata={"help": "Random weights; nothing is downloaded."}
    )
    encoder_weights: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "Local file (.pth, .safetensors) with the ImageNet weights of the timm "
            "encoder, where the Hub cannot be reached; of several timm encoders, one each. "
            "--from_scratch then draws the other students alone.",
        },
    )
    aspp_channels: int = field(
        default=512, metadata={"help": "Width of a new DeepLabV3+'s ASPP and decoder."}
    )
    output_stride: int | None = field(
        default=None,
        metadata={
            "help": "Stride of a new DeepLabV3+'s encoder: 8, 16 or 32. Paper: 8 for MobileNetV2, "
            "else 16; hybrids: 32."
        },
    )

    def __post_init__(self):
        raise_problems(
            [
                (
                    self.students is not None and len(self.students) < 2,
                    f"--students {' '.join(self.students or [])}: expected two or more.",
                ),
                (
                    self.output_stride not in (None, *OUTPUT_STRIDES),
                    f"--output_stride {self.output_stride}: expected one of "
                    f"{', '.join(map(str, OUTPUT_STRIDES))}.",
                ),
                *checks_of_numbers(self),
            ]
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """What each student is made of, in their order."""
        return tuple(self.students or (self.cnn, self.vit))
