"""What comes from outside: nothing at import, no code of strangers, and launch files that
accelerate reads.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from helpers.commands import EXAMPLES, TINY
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for room in ("ctcl_hf", "examples")
    for path in ROOT.glob(f"{room}/**/*.py")
    if path.is_file()
)


def test_importing_everything_opens_no_connection():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        # the Space's, which travels alone
        if path.is_relative_to(ROOT / "ctcl_hf") and path.name != "app.py"
    ]
    code = f"""
import importlib, socket
def refuse(*args, **kwargs):
    raise AssertionError(f"a connection at import: {{args}}")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for module in {modules!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_that_needs_nothing_from_outside_opens_no_connection(tmp_path):
    code = f"""
import runpy, socket
tried = []
def refuse(*args, **kwargs):
    tried.append(args)
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
runpy.run_path({str(EXAMPLES / "run_ctcl.py")!r}, run_name="__main__")
assert not tried, tried
"""
    # what is the default is tested
    options = [option for option in TINY if option not in ("--report_to", "none")]
    options += ["--max_steps", "1", "--eval_strategy", "no", "--output_dir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", code, *options], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_space_sends_no_statistics():
    """Gradio does, unless it is told otherwise."""
    pages = [
        node
        for node in ast.walk(
            ast.parse((ROOT / "ctcl_hf" / "publishing" / "space" / "app.py").read_text())
        )
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("gr.Blocks", "gr.Interface")
    ]
    assert pages
    for page in pages:
        assert "analytics_enabled=False" in [ast.unparse(keyword) for keyword in page.keywords]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_of_strangers_is_run_for_the_user(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            # Passed on from the user, or denied.
            assert not isinstance(node.value, ast.Constant) or node.value.value is False, (
                f"{path}:{node.value.lineno}"
            )
        if isinstance(node, ast.Call) and re.fullmatch(
            r"Auto\w+\.from_pretrained", ast.unparse(node.func)
        ):
            # Unless it is told, transformers asks on standard input.
            assert "trust_remote_code" in [keyword.arg for keyword in node.keywords], (
                f"{path}:{node.lineno}"
            )
        if isinstance(node, ast.keyword) and node.arg == "weights_only":
            assert isinstance(node.value, ast.Constant) and node.value.value is True, (
                f"{path}:{node.value.lineno}"
            )
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            assert called not in ("torch.load", "pickle.load", "pickle.loads"), (
                f"{path}:{node.lineno}: {called}"
            )


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("examples/accelerate/*.yaml")), ids=lambda path: path.stem
)
def test_launch_files_are_read_by_accelerate(path):
    config = load_config_from_file(str(path))
    assert config.num_processes % config.num_machines == 0
    assert (config.distributed_type.value == "MULTI_GPU") == (config.num_processes > 1)


def test_the_oldest_versions_tested_are_the_lower_bounds():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    own, *others = extras["test"]
    included = own.removeprefix("ctcl-hf[").removesuffix("]").split(",")
    bounds = [
        *project["dependencies"],
        *others,
        *(bound for extra in included for bound in extras[extra]),
    ]
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()[1:]
    lowest = {name: Version(version) for name, version in (bound.split(">=") for bound in bounds)}
    assert {
        name: Version(version) for name, version in (line.split("==") for line in lines)
    } == lowest
