"""The wheel, installed where nothing of the checkout is: the command that it brings does all that
the README says.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import onnxruntime
import PIL.Image
import pytest
from helpers.commands import TINY

ROOT = Path(__file__).parents[1]
SOURCES = ("ctcl_hf", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves folders beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder / "dist",
        folder,
    ]
    subprocess.run(build, check=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs ctcl-hf of a fresh environment, in an empty folder: (folder, run)."""
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--python",
        python,
    ]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    # The dependencies' folder. Its own .pth files are not read from here: a package installed for
    # editing stays away.
    (own,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(*command: object) -> str:
        done = subprocess.run(
            [folder / "venv" / "bin" / command[0], *map(str, command[1:])],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return folder, run


def test_the_wheels_command_trains_predicts_evaluates_and_exports_away_from_the_checkout(installed):
    folder, run = installed
    found = Path(run("python", "-c", "import ctcl_hf; print(ctcl_hf.__file__)").strip())
    assert found.is_relative_to(folder)
    for usage in (run("ctcl-hf", "--help"), run("python", "-m", "ctcl_hf")):
        assert "usage: ctcl-hf COMMAND" in usage and "  train " in usage
    steps = (
        "--max_steps",
        2,
        "--eval_strategy",
        "no",
        "--save_strategy",
        "no",
        "--output_dir",
        "run",
    )
    assert "| mIoU " in run("ctcl-hf", "train", *TINY, *steps)
    street = found.parent / "publishing" / "space" / "images" / "street-1.jpg"
    run("ctcl-hf", "predict", street, "--model", "run/vit")
    assert PIL.Image.open(folder / "predictions" / "figure" / "street-1.png").size[0] > 300
    scored = run(
        "ctcl-hf", "evaluate", "run/cnn", "--dataset", "synthetic", "--use_cpu", "--workers", 0
    )
    assert (
        "| mIoU " in scored
        and (folder / "run" / "evaluation" / "cnn-synthetic-validation" / "results.json").is_file()
    )
    run("ctcl-hf", "export", "run/vit", "--output", "vit.onnx", "--size", 64, 64)
    session = onnxruntime.InferenceSession(folder / "vit.onnx", providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["pixel_values"]


def test_the_wheel_holds_what_is_published_with_the_students(installed):
    _, run = installed
    code = """
from importlib.resources import files
space = files("ctcl_hf.publishing") / "space"
names = {path.name for path in space.iterdir()} - {"__pycache__"}
print(*sorted(names), (files("ctcl_hf.publishing") / "student.md").is_file())
pages = (path.name for path in files("ctcl_hf.runs.page").iterdir())
print(*sorted(name for name in pages if name.endswith(".html")))
"""
    published, pages = run("python", "-c", code).splitlines()
    assert published == "README.md app.py facts.py images requirements.txt True"
    assert pages == "base.html charts.html grid.html review.html run.html"
