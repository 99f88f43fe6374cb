"""Options of a method, declared once: for Python, for the command line, and for what a run records.

Imported without torch, as every class of options is: see `options_of`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

from ..base.choices import PixelClasses


class Check(NamedTuple):
    """What a value must be, beyond its type."""

    holds: Callable[[Any], bool]
    otherwise: str


Weight = Annotated[float, Check(lambda value: value >= 0, "a weight must not be negative")]
"""What a term counts in the loss: a number, not negative."""
Share = Annotated[float, Check(lambda value: 0 <= value <= 1, "expected a share, 0 to 1")]
"""A part of a whole, 0 to 1."""
Positive = Annotated[float, Check(lambda value: value > 0, "must be positive")]
"""A number above 0."""
OddWidth = Annotated[
    int, Check(lambda value: value > 0 and value % 2 == 1, "expected an odd number of pixels")
]
"""The side in pixels of a square around a pixel."""


def option(default: Any, help: str) -> Any:
    """A field of a class of options, with its one default and its one description."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(kw_only=True)
class MethodOptions:
    """Base of all options: of a method that has none.

    A field's annotation says what is taken: a type, `Weight`, `Share`, `Positive`, or a Literal of
    choices.

    Raises:
        ValueError: values that are not taken, a line each, "NAME VALUE: why".
    """

    # How many students it is defined for.
    STUDENTS: ClassVar[Literal["two", "two or more"]] = "two"
    # Whether the method learns from frozen models, which it is then given as `teachers`.
    TEACHERS: ClassVar[Literal["none", "optional", "needed"]] = "none"
    # whether it reads features of those, too
    READS_FEATURES_OF_TEACHERS: ClassVar[bool] = False
    # what the paper prints, of options whose default is another
    AS_PRINTED: ClassVar[Mapping[str, str]] = {}
    # of a method that teaches nothing; no field: others make it an option
    distillation_warmup = 0.0

    def __post_init__(self):
        if problems := self.problems():
            raise ValueError("\n".join(problems))

    def problems(self) -> list[str]:
        """What is wrong with single values."""
        found = []
        hints = get_type_hints(type(self), include_extras=True)
        for name, value in self.values().items():
            if get_origin(hints[name]) is Annotated:
                _, check = get_args(hints[name])
                found += [] if check.holds(value) else [f"{name} {value}: {check.otherwise}."]
            elif get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
                found.append(
                    f"{name} {value}: expected one of {', '.join(map(str, get_args(hints[name])))}."
                )
        return found

    def problems_of_typed(self, typed: Mapping[str, str]) -> list[str]:
        """What is wrong with values as a command line gives them, by name: a value alone does not
        tell whether it was asked for, or is the default.
        """
        return []

    def values(self) -> dict[str, Any]:
        """Every option by name, as a run records it."""
        return dataclasses.asdict(self)


def problem_of_options(kind: Any) -> str | None:
    """What is wrong with a class of options, if anything: each field must have a default and a
    help, as a flag.
    """
    if not (isinstance(kind, type) and issubclass(kind, MethodOptions)):
        return f"its Options must be a subclass of ctcl_hf.methods.MethodOptions, got {kind!r}"
    if "__annotations__" in vars(kind) and "__dataclass_fields__" not in vars(kind):
        return f"{kind.__name__} must be a @dataclass(kw_only=True)"
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING or "help" not in field.metadata:
            return f"{kind.__name__}.{field.name} needs a default and a help: option(DEFAULT, HELP)"
    return None


@dataclass(kw_only=True)
class DistillationOptions(MethodOptions):
    """Options of every method by which a student learns from a peer."""

    distillation_warmup: Share = option(
        0.0,
        "Share of the training, 0 to 1, over which the weights of what a student learns from its "
        "peer rise linearly from 0. The papers name none.",
    )


@dataclass(kw_only=True)
class WeightedOptions(DistillationOptions):
    """Options of methods by which a student learns one thing from its peer, with one weight."""

    distillation_weight: Weight  # each method has its own default


@dataclass(kw_only=True)
class SoftenedOptions(DistillationOptions):
    """Options of methods that compare softened class distributions pixel by pixel."""

    temperature: Positive = option(
        1.0, "Temperature T of the distributions compared; the term is scaled by T^2."
    )
    weigh_taught: bool = option(
        False,
        "Let --class_weights weigh what is taught at a pixel, too: by its label, as its cross "
        "entropy.",
    )
    pixel_classes: PixelClasses = option(
        "all",
        "What is compared at a pixel: all classes, as printed; those that the peer knows; or "
        "grouped ones: a class that it does not know is merged with what it says instead.",
    )
    blind_ratio: Share = option(
        0.5,
        "A peer does not know a class in which its IoU on training pixels is below this share of "
        "the learner's.",
    )
    blind_floor: Share = option(0.05, "Nor one in which it is below this IoU.")
    blind_memory: Share = option(
        0.99, "What is kept of the counts for that IoU from one step to the next."
    )


@dataclass(kw_only=True)
class SoftenedWeightedOptions(SoftenedOptions, WeightedOptions):
    """Options of methods that compare softened distributions, with one weight."""
