"""Every public name is the first thing that some process imports or unpickles."""

import importlib
import json
import multiprocessing
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import make_cnn

import ctcl_hf

# A process that has imported what is slow, but neither this package nor transformers' Auto classes.
# It forks for each piece of code that it is given, and answers with the traceback of one that fails
# or leaves DeepLabV3+ unknown, or "".
FORKS = """
import json, os, pickle, sys, traceback
import accelerate, datasets, matplotlib.figure, timm, torchvision, transformers.modeling_utils

assert not {"ctcl_hf", "transformers.models.auto.modeling_auto"} & set(sys.modules)
for code in map(json.loads, sys.stdin):
    read, write = os.pipe()
    if not os.fork():
        try:
            exec(code)
            from transformers import AutoConfig, AutoModelForSemanticSegmentation
            known = AutoModelForSemanticSegmentation._model_mapping
            config = AutoConfig.for_model("deeplabv3plus")
            assert type(config) in known, "DeepLabV3+ is not known to the Auto classes"
        except BaseException:
            os.write(write, traceback.format_exc()[-1000:].encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        print(json.dumps(pipe.read()), flush=True)
    os.wait()
"""


@pytest.fixture(scope="module")
def first() -> Callable[[str], str]:
    """Runs code as the first of a process; what went wrong, or ""."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forks:

        def run(code: str) -> str:
            forks.stdin.write(json.dumps(code) + "\n")
            forks.stdin.flush()
            return json.loads(forks.stdout.readline())

        yield run
        forks.stdin.close()


def public_names() -> list[tuple[str, str]]:
    """Every (package, name) that a package of ours lists in `__all__`."""
    modules = [
        f"ctcl_hf.{module.name}"
        for module in pkgutil.iter_modules(ctcl_hf.__path__)
        if module.ispkg
    ]
    packages = map(importlib.import_module, ["ctcl_hf", *modules])
    return [
        (package.__name__, name) for package in packages for name in getattr(package, "__all__", ())
    ]


def test_every_public_name_can_be_the_first_import_of_a_process(first):
    """`from ctcl_hf import DeepLabV3PlusForSemanticSegmentation` failed as the first line of a
    fresh process: the hook that registers the model imported the half-made module that had
    triggered it.
    """
    # Those of the other packages are first imported in the next test, once from each module.
    faces = ("ctcl_hf", "ctcl_hf.models")
    lines = [
        f"from {package} import {name}" for package, name in public_names() if package in faces
    ]
    assert {line: told for line in lines if (told := first(line))} == {}


def test_every_public_object_can_be_unpickled_first_as_a_spawned_worker_does(first):
    """Unpickling a DeepLabV3+ failed as importing it did."""
    values = [getattr(importlib.import_module(package), name) for package, name in public_names()]
    by_module = {value.__module__: value for value in values if callable(value)}
    by_module.pop("builtins", None)  # an alias of types, which brings none of our modules along
    pickles = {
        module: f"pickle.loads({pickle.dumps(value)!r})" for module, value in by_module.items()
    }
    assert {module: told for module, code in pickles.items() if (told := first(code))} == {}


def test_the_auto_classes_know_our_models_where_they_are_imported_first(first):
    assert first("import transformers.models.auto.modeling_auto, ctcl_hf") == ""


def test_a_first_import_that_fails_does_not_leave_the_model_unknown(first):
    """A second try succeeded without registering the model: what it saved could not be loaded."""
    code = (
        "sys.modules['timm'] = None\n"
        "try:\n"
        "    from ctcl_hf import DeepLabV3PlusForSemanticSegmentation\n"
        "except ImportError:\n"
        "    sys.modules['timm'] = timm\n"
        "    from ctcl_hf import DeepLabV3PlusForSemanticSegmentation\n"
        "else:\n"
        "    raise AssertionError('nothing failed')"
    )
    assert first(code) == ""


def test_a_model_that_nothing_registered_saves_its_code_all_the_same(first, tmp_path):
    """It was saved without auto_map and without code, so that nobody could load it without this
    package.
    """
    code = (
        "import ctcl_hf._lazy\n"
        "ctcl_hf._lazy.AfterImport.find_spec = lambda *_: None\n"
        "from ctcl_hf import DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation as Model\n"
        "Model(DeepLabV3PlusConfig(encoder='mobilenetv2_035', "
        f"aspp_channels=8)).save_pretrained({str(tmp_path)!r})"
    )
    assert "is not known to the Auto classes" in first(code)
    config = json.loads((tmp_path / "config.json").read_text())
    assert sorted(config["auto_map"]) == ["AutoConfig", "AutoModelForSemanticSegmentation"]
    assert {"configuration_deeplabv3plus.py", "modeling_deeplabv3plus.py"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_a_spawned_process_takes_a_model_as_its_argument():
    model = make_cnn().model
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(type(model).num_parameters, (model,)) == model.num_parameters()
