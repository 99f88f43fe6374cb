"""The seams of docs/upstream.md are in the installed libraries, and none of Trainer's is missing
there.
"""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from transformers import Trainer

import ctcl_hf
from ctcl_hf import CTCLTrainer, DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation, MeanIoU
from ctcl_hf.arguments.parser import ArgumentsParser
from ctcl_hf.arguments.training import CTCLArguments
from ctcl_hf.training.progress import PairProgress

PAGE = Path(__file__).parents[1] / "docs" / "upstream.md"
SEAM = re.compile(r"^\| `([\w.]+)(?:\(([\w, ]*)\))?` \|", re.MULTILINE)
SEAMS = {
    name: parameters.split(", ") if parameters else []
    for name, parameters in SEAM.findall(PAGE.read_text())
}
OF_TRAINER = {
    name.removeprefix("transformers.Trainer.")
    for name in SEAMS
    if name.startswith("transformers.Trainer.")
}
# the classes of ours that a trainer is made of, and what they define
PARTS = CTCLTrainer.__mro__[: CTCLTrainer.__mro__.index(Trainer)]
OWN = {name for kind in PARTS for name in vars(kind)}


def upstream(name: str) -> object:
    """The object of that name; None for what a class gives its instances alone.

    AttributeError if there is neither.
    """
    library, *parts = name.split(".")
    found: object = import_module(library)
    for part in parts:
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = import_module(f"{found.__name__}.{part}")
        elif isinstance(found, type) and not hasattr(found, part):
            sources = [inspect.getsource(kind) for kind in found.__mro__ if kind is not object]
            if not any(re.search(rf"\bself\.{part}\b", source) for source in sources):
                raise AttributeError(f"{found.__name__} has no {part}")
            return None
        else:
            found = getattr(found, part)
    return found


def parameters_of(function: object) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_row_of_the_page_is_read_once():
    assert len(SEAMS) == PAGE.read_text().count("\n| `")


@pytest.mark.parametrize("name", SEAMS)
def test_what_is_relied_on_exists_upstream_and_takes_these_parameters(name):
    found = upstream(name)
    assert not SEAMS[name] or set(SEAMS[name]) <= {*parameters_of(found)}


def test_every_method_of_trainer_that_is_overridden_is_listed():
    overridden = {
        name
        for name in OWN & {*vars(Trainer)}
        if callable(getattr(Trainer, name)) and name[:2] != "__"
    }
    assert overridden - OF_TRAINER == set()


@pytest.mark.parametrize(
    "kind",
    [
        ArgumentsParser,
        CTCLArguments,
        PairProgress,
        DeepLabV3PlusConfig,
        DeepLabV3PlusForSemanticSegmentation,
        MeanIoU,
    ],
)
def test_every_method_of_a_class_of_other_libraries_that_is_overridden_is_listed(kind):
    """Only Trainer's were: a metric's, a parser's and a model's could move without a word."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("ctcl_hf.")]
    foreign = [base for base in kind.__mro__ if base not in own]
    overridden = {
        name
        for base in own
        for name, value in vars(base).items()
        if name[:2] != "__"
        and inspect.isroutine(value)
        and any(inspect.isroutine(vars(upper).get(name)) for upper in foreign)
    }
    # `forward` is what every Module of torch's is meant to define
    assert overridden - {name.rpartition(".")[2] for name in SEAMS} - {"forward"} == set()


def test_every_private_name_that_is_imported_is_listed():
    files = Path(ctcl_hf.__file__).parent.rglob("*.py")
    imported = {
        f"{node.module}.{alias.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__"
        for alias in node.names
        if any(part.startswith("_") for part in [*node.module.split("."), alias.name])
    }
    assert {
        name for name in imported if not any(f"{seam}.".startswith(f"{name}.") for seam in SEAMS)
    } == set()


def test_every_private_name_of_trainer_that_is_used_is_listed():
    """`self._x` and `super()._x` where the package itself defines no `_x`."""
    used, assigned = set(), set()
    for kind in PARTS:
        for node in ast.walk(ast.parse(Path(inspect.getfile(kind)).read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch(
                r"(self|super\(\))\._\w+", ast.unparse(node)
            ):
                (assigned if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    assert used - assigned - OWN - OF_TRAINER - {"__init__"} == set()


@pytest.mark.parametrize("name", sorted(OF_TRAINER & OWN))
def test_an_override_takes_what_trainer_passes(name):
    """In the same order, by the same names, or as *args and **kwargs."""
    ours = inspect.signature(getattr(CTCLTrainer, name)).parameters
    open_ended = {parameter.kind for parameter in ours.values()}
    passed = SEAMS[f"transformers.Trainer.{name}"]
    named = [parameter for parameter in passed if parameter in ours]
    assert [parameter for parameter in ours if parameter in passed] == named
    assert named == passed or inspect.Parameter.VAR_KEYWORD in open_ended
