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

from ctcl_hf import CTCLTrainer

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
