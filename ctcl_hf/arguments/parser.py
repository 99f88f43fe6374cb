"""Reading command lines."""

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from ..base.redaction import redacted
from ..base.registry import Registry, is_reference
from ..data import DATASETS
from ..methods import METHODS, MethodOptions
from ..metrics import METRICS
from ..scoring.protocols import PROTOCOLS
from ..students import STUDENTS
from .problems import did_you_mean

EITHER = ("--dataset", "--dataset_name")  # of which a command line may give one


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, one spelling of each option, and every default that says
    something.
    """

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or isinstance(action, argparse._HelpAction):
            return super()._format_action_invocation(action)
        name = action.option_strings[0]  # the others write it with hyphens
        if action.nargs in (0, "?"):  # a switch
            return name
        if isinstance(action.metavar, tuple):  # a word for each value
            return f"{name} {' '.join(action.metavar)}"
        return f"{name} {self._format_args(action, self._get_default_metavar_for_optional(action))}"

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default in (None, False, []):
            return action.help
        # where that tells what None means, a recipe has set another value
        word = "here" if "Default:" in action.help else "default"
        if isinstance(action.default, list):
            return f"{action.help} ({word}: {' '.join(map(str, action.default))})"
        if word == "here":
            return f"{action.help} (here: %(default)s)"
        return super()._get_help_string(action)


class ArgumentsParser(HfArgumentParser):
    """Dataclasses as a command line. Collects what is wrong, so that all of it is told at once and
    not the first.

    A field that is on unless told is shown as --no_FIELD, "Leave out" what its help names; what a
    recipe turns on, --no_FIELD turns off. What names an entry of a registry may name one of a file
    of the user's own, FILE.py:NAME, which is run here and nowhere else.
    """

    # argument -> the registry
    registries: ClassVar[Mapping[str, Registry]] = {
        "method": METHODS,
        "dataset": DATASETS,
        "protocol": PROTOCOLS,
        "metrics": METRICS,
        **dict.fromkeys(("cnn", "vit", "students"), STUDENTS),
    }

    def __init__(self, *args, usage: str = "%(prog)s [options]", **kwargs):
        self.problems: list[str] = []
        self.ill_chosen: set[str] = set()  # names of arguments whose choice is told to be none
        self.without_effect: dict[str, str] = {}  # names of arguments -> on what
        super().__init__(
            *args, usage=usage, formatter_class=HelpFormatter, allow_abbrev=False, **kwargs
        )
        for action in self._actions:
            # of a field that may be None as well
            if action.type is string_to_bool and action.nargs is None:
                action.nargs, action.const = "?", True
        self._show_what_leaves_out(self._actions)
        self._take_back_switches()

    def _show_what_leaves_out(self, actions: Sequence[argparse.Action]) -> None:
        for leaving in [
            action for action in actions if isinstance(action, argparse._StoreFalseAction)
        ]:
            leaving.help = f"Leave out {leaving.help[0].lower()}{leaving.help[1:]}"
            self._option_string_actions[f"--{leaving.dest}"].help = argparse.SUPPRESS

    def _take_back_switches(self) -> None:
        """--no_FIELD for every switch that a recipe may have turned on."""
        for action in list(self._actions):
            if action.type is string_to_bool and f"--no_{action.dest}" not in (
                self._option_string_actions
            ):
                self.add_argument(
                    f"--no_{action.dest}",
                    f"--no-{action.dest.replace('_', '-')}",
                    action="store_false",
                    dest=action.dest,
                    default=argparse.SUPPRESS,
                    help=argparse.SUPPRESS,
                )

    def add_without_effect(self, kind: type, choice: str) -> None:
        """Takes the arguments of a dataclass for the help alone: where one is given, it has no
        effect on `choice`.
        """
        known = set(self._actions)
        self._add_dataclass_arguments(kind)
        added = [action for action in self._actions if action not in known]
        self._show_what_leaves_out(added)
        for action in added:
            action.default = argparse.SUPPRESS
            self.without_effect[action.dest] = choice

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            self.problems.append(f"{action.option_strings[0]} {arg_string}: {error.message}.")
            return action.default

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        registry = self.registries.get(action.dest)
        if registry is not None and isinstance(value, str) and is_reference(value):
            try:
                registry.add(value)
            except ValueError as error:
                self.problems.append(f"{action.option_strings[0]} {value}: {error}")
        elif action.choices is not None and value != action.default and value not in action.choices:
            self.ill_chosen.add(action.dest)
            self.problems.append(
                f"{action.option_strings[0]} {value}: expected one of "
                f"{', '.join(map(str, action.choices))}"
                + (", or one of your own, FILE.py:NAME." if registry is not None else ".")
                + did_you_mean(str(value), action.choices)
            )

    def parse(
        self,
        argv: list[str] | None,
        others: Collection[str] = (),
        synonyms: Mapping[str, str] | None = None,
        found: Sequence[str] = (),
        takes_any: bool = False,
    ) -> list[Any]:
        """An instance of each dataclass, and a namespace of everything that was given.

        Exits with every problem, of single values and of their combinations.

        Args:
            others: names of options that are read elsewhere.
            synonyms: of options that are often asked for by another name, what to say.
            found: problems that are known already.
            takes_any: whether unknown options may be those of a method that could not be read.
        """
        self.problems += found
        namespace, unknown = self.parse_known_args(argv)
        elsewhere = {f"--{prefix}{name}" for name in others for prefix in ("", "no_")}
        known = [action.option_strings[0] for action in self._actions if action.option_strings]
        known += [f"--{name}" for name in others]
        for option in (
            word.partition("=")[0]
            for word in unknown
            if word.startswith("-") and not _is_number(word)
        ):
            spelled = f"--{option.lstrip('-').replace('-', '_')}"
            if option.startswith("--") and (spelled in elsewhere or takes_any):
                continue
            near = (synonyms or {}).get(spelled) or _nearest(spelled, known)
            self.problems.append(
                f"unrecognized arguments: {option}" + (f" (did you mean {near}?)" if near else "")
            )
        if unknown and not unknown[0].startswith("-") and not takes_any:
            path = Path(unknown[0])
            is_model = any(path.glob("config.json")) or any(path.glob("*/config.json"))
            is_data = path.is_dir() and not is_model and "--dataset_name" in known
            meant = " (one at a time; both students of a run: its folder)" if is_model else ""
            meant = f" (did you mean --dataset_name {unknown[0]}?)" if is_data else meant
            self.problems.append(f"unrecognized arguments: {unknown[0]}{meant}")
        words = sys.argv[1:] if argv is None else argv
        typed = {word.partition("=")[0].replace("-", "_").replace("__", "--", 1) for word in words}
        if set(EITHER) <= typed:
            self.problems.append(f"{' and '.join(EITHER)} both name data: give one of the two.")
        self.problems += [
            f"{f'--no_{name}' if f'--no_{name}' in typed else f'--{name}'} has no effect on "
            f"{choice}."
            for name, choice in self.without_effect.items()
            if hasattr(namespace, name)
        ]
        parsed = []
        for kind in self.dataclass_types:
            names = [field.name for field in dataclasses.fields(kind) if field.init]
            try:
                parsed.append(kind(**{name: getattr(namespace, name) for name in names}))
            except (ValueError, TypeError) as error:
                if isinstance(error, TypeError):
                    if not self.problems:
                        raise
                    continue  # of a value that is told already
                # Options of methods are told of by name, not as flags. Checks may repeat what a
                # choice has said.
                dashes = "--" if issubclass(kind, MethodOptions) else ""
                lines = [dashes + line for line in str(error).split("\n")]
                if self.ill_chosen & set(names):
                    # Trainer's own sentence on that value, which names no flag
                    lines = [line for line in lines if line.startswith("--")]
                self.problems += [line for line in lines if not self._is_told(line)]
        if self.problems:
            self.error(redacted("\n".join(self.problems)))
        return [*parsed, namespace]

    def _is_told(self, problem: str) -> bool:
        return any(told.partition(":")[0] == problem.partition(":")[0] for told in self.problems)


def _nearest(option: str, known: Sequence[str]) -> str | None:
    """The known option that reads most like one. Every --no_FIELD reads much like every other: by
    FIELD.
    """
    leaving = "--no_" if option.startswith("--no_") else "--"
    fields = [name.removeprefix(leaving) for name in known if name.startswith(leaving)]
    near = difflib.get_close_matches(option.removeprefix(leaving), fields, n=1)
    return f"{leaving}{near[0]}" if near else None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
