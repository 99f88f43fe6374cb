"""One optimizer that owns one optimizer per student, and the learning-rate schedules of the
field.
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..arguments.pair import OptimizationArguments
from ..methods.pair import StudentPair
from ..students import Student


@dataclass(frozen=True)
class OptimizerSettings:
    """How one student is optimised.

    lr: peak learning rate. head_lr_multiplier: of the student's head, where its family names one,
    and of its projections. power: of the polynomial decay to 0. warmup_steps: linear, from 0.
    """

    lr: float
    weight_decay: float
    power: float
    warmup_steps: int = 0
    head_lr_multiplier: float = 1.0
    momentum: float | None = None  # SGD with this momentum; AdamW if None


def settings_for(pair: StudentPair, args: OptimizationArguments) -> dict[str, OptimizerSettings]:
    """Each student's settings by name: those of its optimizer's kind, which its family decides, or
    as given.

    ValueError if something is given for more or fewer students.
    """
    if problems := args.problems_of_numbers(len(pair.names)):
        raise ValueError("\n".join(problems))
    by_kind = {
        "sgd": OptimizerSettings(
            lr=args.cnn_lr,
            weight_decay=args.cnn_weight_decay,
            power=args.cnn_power,
            warmup_steps=args.cnn_warmup_steps,
            momentum=args.cnn_momentum,
        ),
        "adamw": OptimizerSettings(
            lr=args.vit_lr,
            weight_decay=args.vit_weight_decay,
            power=args.vit_power,
            warmup_steps=args.vit_warmup_steps,
            head_lr_multiplier=args.vit_head_lr_multiplier,
        ),
    }
    families = [student.family for student in pair.students.values()]
    kinds = args.optimizers or ["sgd" if family == "cnn" else "adamw" for family in families]
    settings = [by_kind[kind] for kind in kinds]
    for field_name, values in (
        ("lr", args.learning_rates),
        ("warmup_steps", args.warmups),
        ("power", args.powers),
    ):
        if values is not None:
            settings = [
                replace(own, **{field_name: value})
                for own, value in zip(settings, values, strict=True)
            ]
    return dict(zip(pair.names, settings, strict=True))


class PairOptimizer(Optimizer):
    """The optimizers of all students behind one, as Trainer, GradScaler and schedulers expect to
    see it.

    `param_groups` and `state` are views of the owned optimizers' own, since loading a state dict
    replaces those.
    """

    def __init__(self, optimizers: dict[str, Optimizer]):
        self.optimizers = optimizers
        # Optimizer.__init__ would copy the groups; __setstate__ sets up all else that the base
        # class keeps.
        self.__setstate__({"defaults": {"lr": next(iter(optimizers.values())).defaults["lr"]}})

    @property
    def param_groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    @property
    def state(self) -> ChainMap:
        return ChainMap(*(optimizer.state for optimizer in self.optimizers.values()))

    def step(self, closure: Callable | None = None):
        loss = closure() if closure is not None else None
        for optimizer in self.optimizers.values():
            optimizer.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict) -> None:
        raise TypeError(
            "Add the group to the optimizer of one student: "
            f".optimizers[{' | '.join(self.optimizers)}]."
        )

    def state_dict(self) -> dict:
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state_dict: dict) -> None:
        if set(state_dict) != set(self.optimizers):
            raise ValueError(
                f"The optimizer state is of students {sorted(state_dict)}, expected "
                f"{sorted(self.optimizers)}: resume with the pair that wrote it."
            )
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state_dict[name])


def parameter_groups(
    student: Student, projections: nn.Module, settings: OptimizerSettings
) -> list[dict]:
    """The student's trainable parameters and its projections, each in exactly one group.

    As in the published recipes, AdamW does not decay the parameters of normalisation layers, and
    SGD decays all.
    """
    norm_types = (nn.LayerNorm, nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm)
    norms = {
        id(p)
        for m in student.modules()
        if isinstance(m, norm_types)
        for p in m.parameters(recurse=False)
    }
    heads = {
        id(p)
        for module in (student.head, projections)
        if module is not None
        for p in module.parameters()
    }
    groups: dict[tuple[bool, bool], list] = {}
    for parameter in [*student.parameters(), *projections.parameters()]:
        if parameter.requires_grad:
            decays = settings.momentum is not None or id(parameter) not in norms
            groups.setdefault((id(parameter) in heads, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (settings.head_lr_multiplier if is_head else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in sorted(groups.items())
    ]


def build_optimizer(pair: StudentPair, settings: dict[str, OptimizerSettings]) -> PairOptimizer:
    """SGD or AdamW for each student of the pair, by name.

    Group 0 of each is at the student's base learning rate.
    """
    optimizers: dict[str, Optimizer] = {}
    for name, student in pair.students.items():
        own = settings[name]
        groups = parameter_groups(student, pair.projections(name), own)
        if own.momentum is not None:
            optimizers[name] = SGD(
                groups, lr=own.lr, momentum=own.momentum, weight_decay=own.weight_decay
            )
        else:
            optimizers[name] = AdamW(groups, lr=own.lr, weight_decay=own.weight_decay)
    return PairOptimizer(optimizers)


def polynomial_schedule(settings: OptimizerSettings, total_steps: int) -> Callable[[int], float]:
    """Multiplier of the learning rate at a step: linear warm-up, then (1 - step / total_steps) **
    power.
    """

    def multiplier(step: int) -> float:
        warmup = min((step + 1) / (settings.warmup_steps + 1), 1.0)
        return warmup * max(1 - step / total_steps, 0.0) ** settings.power

    return multiplier


def build_scheduler(
    optimizer: Optimizer,
    owned: PairOptimizer,
    settings: dict[str, OptimizerSettings],
    total_steps: int,
) -> LambdaLR:
    """One scheduler over all groups of `optimizer` (`owned`, or Accelerate's wrapper of it), each
    at its student's.
    """
    schedules = [
        polynomial_schedule(settings[name], total_steps)
        for name, own in owned.optimizers.items()
        for _ in own.param_groups
    ]
    return LambdaLR(optimizer, schedules)


def follow_schedules(scheduler: LambdaLR) -> None:
    """Sets the rates of its step by its own schedules: those that were loaded with it may be of a
    run of another length, which at its end are 0.
    """
    rates = [
        base * multiplier(scheduler.last_epoch)
        for base, multiplier in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def learning_rates(owned: PairOptimizer) -> dict[str, float]:
    """The current base learning rate of each student, by name."""
    return {name: optimizer.param_groups[0]["lr"] for name, optimizer in owned.optimizers.items()}


def gradient_norms(pair: StudentPair) -> dict[str, Tensor]:
    """The 2-norm of each student's gradient (its projections' included), by name."""
    return {
        name: torch.nn.utils.get_total_norm(
            [p.grad for p in _parameters(pair, name) if p.grad is not None]
        )
        for name in pair.names
    }


def clip_gradients(pair: StudentPair, max_norm: float) -> dict[str, Tensor]:
    """Scales each student's gradient down to `max_norm` where it is longer; returns the norms
    before.
    """
    norms = gradient_norms(pair)
    for name, norm in norms.items():
        torch.nn.utils.clip_grads_with_norm_(_parameters(pair, name), max_norm, norm)
    return norms


def _parameters(pair: StudentPair, name: str) -> list[nn.Parameter]:
    return [*pair.students[name].parameters(), *pair.projections(name).parameters()]
