"""What is imported when."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ctcl_hf
from ctcl_hf._lazy import LazyDict

EXAMPLE = Path(__file__).parents[1] / "examples" / "run_ctcl.py"
SLOW = ("torch", "timm", "datasets", "evaluate", "matplotlib", "accelerate")


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_package_imports_nothing_slow():
    assert (
        python(f"import sys, ctcl_hf; print([name for name in {SLOW} if name in sys.modules])")
        == "[]"
    )


def test_help_is_shown_without_torch():
    code = f"""
import runpy, sys
sys.argv = ["run_ctcl.py", "--help"]
try:
    runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
except SystemExit as end:
    print(end.code, [name for name in {SLOW} if name in sys.modules])
"""
    shown, last = python(code).rsplit("\n", 1)
    assert last == "0 []"
    for option in (
        "--dataset {camvid",
        "--method {vanilla",
        "--cnn_lr",
        "--recipe {paper",
        "TrainingArguments",
    ):
        assert option in shown
    # which is on anyway
    assert "Leave out heterogeneous feature distillation" in shown and "--hfd" not in shown
    assert "--cnn-lr" not in shown and "[FROM_SCRATCH]" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["run_ctcl.py", "--epochs", "3"],
        ["compare.py", "--epochs", "3", "--methods", "dml"],
        ["compare.py", "--recipe", "demo", "--methods", "dml", "ctcl --no_hdf"],
        ["run_ctcl.py", "--output_dir", __file__],
        ["run_ctcl.py", "--dataset_name", __file__],
        ["export.py", "nothing", "--output", "vit.pt"],
        ["prepare.py", "synthetic", "--out", str(EXAMPLE.parent)],
    ],
)
def test_a_mistake_of_the_command_line_is_answered_without_torch(words):
    """It took twelve seconds: Trainer's arguments were imported first; and of a comparison, what
    draws its pictures.
    """
    code = f"""
import runpy, sys
sys.argv = {words}
try:
    runpy.run_path({str(EXAMPLE.with_name(words[0]))!r}, run_name="__main__")
except SystemExit as end:
    print(bool(end.code), [name for name in {SLOW} if name in sys.modules])
"""
    assert python(code) == "True []"


def test_the_configuration_is_known_before_any_model_class_is_imported():
    code = (
        "import ctcl_hf, sys; from transformers import AutoConfig; config = "
        "AutoConfig.for_model('deeplabv3plus'); "
    )
    assert (
        python(code + "print(type(config).__name__, 'timm' in sys.modules)")
        == "DeepLabV3PlusConfig False"
    )


def test_a_lazy_dict_takes_objects_as_well_and_imports_no_more_than_is_asked_for():
    values = LazyDict("ctcl_hf", {"pair": "methods.pair:StudentPair", "broken": "nowhere:Nothing"})
    values["own"] = python
    assert list(values) == ["pair", "broken", "own"]
    assert "broken" in values
    assert values["own"] is python
    assert values["pair"].__name__ == "StudentPair"
    with pytest.raises(ModuleNotFoundError):
        values["broken"]


PACKAGES = [
    "ctcl_hf",
    *(found.name for found in pkgutil.walk_packages(ctcl_hf.__path__, "ctcl_hf.") if found.ispkg),
]


@pytest.mark.parametrize("name", PACKAGES)
def test_lazy_tables_name_modules_of_their_own_package(name):
    """The contract of layers in pyproject.toml reads import statements: a string must not lead out
    of its room.
    """
    package = importlib.import_module(name)
    modules = list(vars(package).get("_HOME", {}).values())
    for table in vars(package).values():
        if isinstance(table, LazyDict) and table.package == name:
            modules += [
                value.partition(":")[0] for value in table.data.values() if isinstance(value, str)
            ]
    for module in modules:
        assert not module.startswith(".")
        assert find_spec(f".{module}", name) is not None, module


def for_type_checkers(package) -> dict[str, str]:
    """{name: module} of what a package imports under TYPE_CHECKING, each `as` itself, which makes
    it public there.
    """
    imports = [
        statement
        for node in ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
    ]
    return {
        alias.name: statement.module
        for statement in imports
        if isinstance(statement, ast.ImportFrom) and statement.level == 1
        for alias in statement.names
        if alias.asname == alias.name
    }


LAZY = [name for name in PACKAGES if hasattr(importlib.import_module(name), "_HOME")]


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_the_names_of_the_lazy_table(name):
    package = importlib.import_module(name)
    assert for_type_checkers(package) == package._HOME


def test_the_package_says_that_it_is_typed():
    assert (Path(ctcl_hf.__file__).parent / "py.typed").is_file()
