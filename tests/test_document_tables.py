"""Tables of docs/ that say what the code does: recipes, and the names of what is logged."""

import re
from enum import Enum
from pathlib import Path

import pytest
from helpers.training import make_trainer

from ctcl_hf import METHODS
from ctcl_hf.arguments.recipes import RECIPES, parse_arguments
from ctcl_hf.base.registry import is_reference

DOCS = Path(__file__).parents[1] / "docs"


def rows(document: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = (DOCS / document).read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


# ---- recipes ----


def shown(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value.value if isinstance(value, Enum) else value)


def test_the_table_of_recipes_has_what_each_sets_and_the_defaults_beside_it():
    documented = {row[0].strip("`-"): row[1:4] for row in rows("recipes.md") if row[0][:3] == "`--"}
    assert documented.keys() == {name for told in RECIPES.values() for name in told}
    for recipe, column in zip(RECIPES, zip(*documented.values(), strict=True), strict=True):
        told = parse_arguments("", ["--recipe", recipe])
        values = {}
        for part in (told.students, told.data, told.training):
            values |= vars(part)
        for name, cell in zip(documented, column, strict=True):
            value = shown(values[name])
            expected = f"**{value}**" if name in RECIPES[recipe] else value
            assert cell == expected, f"--{name} of {recipe}"


def test_every_recipe_is_explained():
    assert list(RECIPES) == [
        row[0].strip("`") for row in rows("recipes.md") if row[0].strip("`") in RECIPES
    ]


# ---- what is logged ----

PLACES = {"STUDENT": r"(cnn|vit)", "SPLIT": r"(eval|validation|test)", "CLASS": r".+"}


def patterns() -> dict[str, re.Pattern]:
    """By every name that docs/logging.md explains, the keys that it stands for."""
    names = [
        name
        for row in rows("logging.md")
        for name in re.findall(r"`([^`]+)`", row[0])
        if len(row) > 2  # the tables of names have a column for their unit
    ]
    return {
        name: re.compile(re.sub("|".join(PLACES), lambda place: PLACES[place[0]], name))
        for name in names
    }


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> set[str]:
    """What a run with the default method logs, and what the others log of each student."""
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(folder, max_steps=2, eval_strategy="steps", eval_steps=1)
    trainer.train()
    trainer.evaluate(metric_key_prefix="test")
    keys = {key for log in trainer.state.log_history for key in log}
    methods = [method for name, method in METHODS.items() if not is_reference(name)]
    return keys | {f"{term}_cnn" for method in methods for term in method.titles()}


def test_every_name_that_is_logged_is_explained(logged):
    explained = patterns().values()
    missing = [
        key for key in sorted(logged) if not any(found.fullmatch(key) for found in explained)
    ]
    assert not missing, f"docs/logging.md does not say what these are: {missing}"


def test_every_name_that_is_explained_is_logged(logged):
    gone = [name for name, found in patterns().items() if not any(map(found.fullmatch, logged))]
    assert not gone, f"docs/logging.md explains what nothing logs: {gone}"
