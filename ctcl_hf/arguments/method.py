"""Arguments about methods: which one, who teaches, and every method's own options as flags.

What options there are stands beside each method, in `methods/`. Imported without torch, so that
--help answers at once.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field, make_dataclass
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from ..base.choices import POWERS_OF_CLASS_WEIGHTS as POWERS
from ..base.registry import is_reference
from ..methods import METHODS, MethodOptions, options_of
from .pair import OptimizationArguments, StudentArguments
from .problems import did_you_mean

if TYPE_CHECKING:
    from .data import DataArguments


def _learning_from(teachers: str) -> list[str]:
    return [method for method in METHODS if teachers == options_of(method).TEACHERS]


@dataclass
class MethodArguments:
    """How the students learn from each other."""

    _argument_group_name = "method"

    method: str = field(
        default="ctcl",
        metadata={"help": "Training method, or one of your own, FILE.py:NAME.", "choices": METHODS},
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "MODEL",
            "help": "Frozen segmentation models to learn from "
            f"({', '.join(_learning_from('needed'))}; {', '.join(_learning_from('optional'))}, "
            "which without it learn from each other): a folder or a Hub id, one for all students "
            "or one each; or, for two, the output folder of a finished --method vanilla run, of "
            "which each student learns from the other's kind.",
        },
    )
    teacher_label_map: list[str] | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "JSON file that says which of a teacher's classes are which of the data's, "
            'where names do not: {"car": "vehicle", "bus": "vehicle", "12": "sky"}, of names or '
            "ids to names. Several may be one; those not named are left out. Of several teachers, "
            "one for all or one each.",
        },
    )

    cache_teacher: str | None = field(
        default=None,
        metadata={
            "metavar": "FOLDER",
            "help": "Folder in which the logits of --teachers are kept, computed once for each "
            "image and its mirror image, for this run and others. Exact only where training images "
            "are neither scaled, cropped nor coloured at random, and refused elsewhere.",
        },
    )
    class_weights: str | None = field(
        default=None,
        metadata={
            "help": "Weights of the classes in the students' cross entropies: balanced, which is "
            "inverse to their shares of the labelled training pixels; sqrt, the square roots of "
            'those; or a JSON file, {"road": 0.5, "car": 2}, with each class. What '
            "students teach each other stays without weights, but for --weigh_taught."
        },
    )

    def problem_of_cache(self, data: "DataArguments") -> str | None:
        """Why logits of teachers cannot be kept, as far as arguments tell; None if they can."""
        if self.cache_teacher is None:
            return None
        if self.teachers is None:
            return "--cache_teacher has no effect without --teachers."
        if options_of(self.method).READS_FEATURES_OF_TEACHERS:
            return (
                f"--cache_teacher keeps logits alone, and --method {self.method} reads features of "
                "its teachers, too."
            )
        at_random = []
        if data.scale_range[0] < data.scale_range[1]:
            lowest, highest = data.scale_range
            at_random.append(f"scaled at random (--scale_range {lowest:g} {highest:g})")
        if data.photometric:
            at_random.append("coloured at random (--photometric)")
        if data.streaming:
            at_random.append("not known beforehand (--streaming)")
        if not at_random:
            return None
        return (
            "--cache_teacher keeps what teachers say of an image, which would never come again: "
            f"training images are {' and '.join(at_random)}. Train without (--scale_range 1 1, and "
            "a --crop_size that whole images fill), or leave --cache_teacher out."
        )

    def __post_init__(self):
        weights = self.class_weights
        if weights is not None and weights not in POWERS and not Path(weights).is_file():
            raise ValueError(
                f"--class_weights {weights}: expected {', '.join(POWERS)}, or a JSON file, and "
                f"there is no such file.{did_you_mean(weights, POWERS)}"
            )
        if self.method not in METHODS:
            raise ValueError(f"--method {self.method}: {METHODS.refusal(self.method)}.")
        learns_from = options_of(self.method).TEACHERS
        if learns_from == "none" and self.teachers is not None:
            how = ""
            if is_reference(self.method):
                how = ' To take them, its options must say TEACHERS = "optional", or "needed".'
            raise ValueError(f"--teachers has no effect on --method {self.method}.{how}")
        if learns_from == "needed" and self.teachers is None:
            raise ValueError(
                f"--method {self.method} needs --teachers FOLDER: students that were trained "
                "before, or any segmentation model. This trains students: ctcl-hf train --method "
                "vanilla --output_dir FOLDER, on the same data."
            )
        teachers, maps = self.teachers or [], self.teacher_label_map or []
        if maps and (not teachers or len(maps) not in (1, len(teachers))):
            raise ValueError(
                f"--teacher_label_map {' '.join(maps)}: expected one file, or one for each of "
                f"--teachers, which are {' '.join(teachers) or 'none'}."
            )
        for file in maps:
            if not Path(file).is_file():
                raise ValueError(f"--teacher_label_map {file}: there is no such file.")


def check_students(
    students: StudentArguments, method: MethodArguments, optimization: OptimizationArguments
) -> None:
    """ValueError if the method does not take so many students, or what is told of each is not as
    many.
    """
    number, teachers = len(students.sources), method.teachers or []
    if number > 2 and options_of(method.method).STUDENTS == "two":
        more = [own for own in METHODS if options_of(own).STUDENTS == "two or more"]
        raise ValueError(
            f"--students {' '.join(students.sources)}: --method {method.method} is defined for two "
            f"students; {' and '.join(more)} take more."
        )
    problems = optimization.problems_of_numbers(number)
    if len(teachers) not in (0, 1, number):
        problems.append(
            f"--teachers {' '.join(teachers)}: expected one, or {number}, one for each student."
        )
    if problems:
        raise ValueError("\n".join(problems))


def own_options(method: str) -> type[MethodOptions]:
    """The method's options as a group of arguments; none of a method that there is not."""
    kind = options_of(method) if method in METHODS else MethodOptions
    return make_dataclass(
        kind.__name__,
        [],
        bases=(kind,),
        namespace={"_argument_group_name": f"options of --method {method}"},
    )


def check_options(method: str, names: Collection[str], *groups: type) -> None:
    """ValueError if an option of the method has one of these names, or that of an argument of one
    of the groups.
    """
    taken = {*names, *(argument.name for group in groups for argument in dataclasses.fields(group))}
    for option in dataclasses.fields(own_options(method)):
        if option.name in taken:
            raise ValueError(
                f"--method {method}: its option {option.name} cannot be a flag, as --{option.name} "
                "is an argument of every run. Call it otherwise."
            )


def options_of_others(method: str) -> type:
    """A group of the options that only other methods have. The help of each says whose they are, by
    default.

    Those of a user's own file are nobody else's: another run of this process may have named it.
    """
    own = {option.name for option in dataclasses.fields(own_options(method))}
    declared: dict[str, tuple[type, dataclasses.Field]] = {}
    owners: dict[str, dict[str, list[str]]] = {}  # by option, then by default
    for other in filterfalse(is_reference, METHODS):
        hints = get_type_hints(options_of(other))
        for option in dataclasses.fields(options_of(other)):
            if option.name not in own:
                declared.setdefault(option.name, (hints[option.name], option))
                owners.setdefault(option.name, {}).setdefault(str(option.default), []).append(other)
    fields = []
    for name, (hint, option) in declared.items():
        defaults = "; ".join(
            f"{', '.join(methods)}: {default}" for default, methods in owners[name].items()
        )
        metadata = {"help": f"{option.metadata['help']} ({defaults})"}
        fields.append((name, hint, field(default=option.default, metadata=metadata)))
    return make_dataclass(
        "OptionsOfOthers", fields, namespace={"_argument_group_name": "options of other methods"}
    )
