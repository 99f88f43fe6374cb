"""A method's options: one declaration for Python, the command line and --help; tested for every
registered method.
"""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from typing import get_type_hints

import pytest
from conftest import make_cnn, make_vit

from ctcl_hf import CTCL, DML, METHODS, Objective, OfflineKD, Vanilla
from ctcl_hf._lazy import class_alone
from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.methods import MethodOptions, options_of
from ctcl_hf.methods.options import DistillationOptions, Weight, option

BUILT_IN = {
    name: registered for name, registered in METHODS.data.items() if isinstance(registered, str)
}


def declared(kind):
    hints = get_type_hints(kind, include_extras=True)
    return [
        (field.name, hints[field.name], field.default, field.metadata["help"])
        for field in dataclasses.fields(kind)
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_read_without_importing_a_method_is_the_class_that_it_has(name):
    module, cls = BUILT_IN[name].split(":")
    alone = class_alone("ctcl_hf.methods", module, f"{cls}Options")
    assert declared(alone) == declared(METHODS[name].Options)
    assert alone.TEACHERS == METHODS[name].Options.TEACHERS
    assert alone().values() == METHODS[name].Options().values()


def test_options_of_all_methods_are_known_without_torch():
    code = """
import sys
from ctcl_hf.methods import METHODS, options_of
print([options_of(name)().values() for name in METHODS])
assert "torch" not in sys.modules
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).returncode == 0
    )


def test_options_are_keywords_in_python_and_kept_as_they_were_told():
    cnn, vit = make_cnn(), make_vit()
    objective = CTCL(cnn, vit, alpha=2.0, gamma=0.5, kl_direction="reverse")
    assert objective.weights[1] == {"ce": 1.0, "hfd": 0.1, "region": 0.5, "pixel": 1.0}
    assert objective.teaching.direction == "reverse"
    assert (
        objective.options.values()
        == CTCL.Options(alpha=2.0, gamma=0.5, kl_direction="reverse").values()
    )


@pytest.mark.parametrize(
    ("method", "told", "message"),
    [
        (CTCL, {"alpha": -1.0}, "alpha -1.0: a weight must not be negative"),
        (
            CTCL,
            {"kl_direction": "backward"},
            "kl_direction backward: expected one of reverse, forward",
        ),
        (CTCL, {"distillation_warmup": 2.0}, "distillation_warmup 2.0: expected a share, 0 to 1"),
        (DML, {"temperature": 0.0}, "temperature 0.0: must be positive"),
        (DML, {"teachers": ()}, "DML learns from no teachers"),
        (OfflineKD, {}, "OfflineKD needs teachers: a trained model for each student"),
    ],
)
def test_python_is_told_what_a_wrong_option_is(method, told, message):
    with pytest.raises(ValueError, match=message):
        method(make_cnn(), make_vit(), **told)


@pytest.mark.parametrize(("method", "name"), [(Vanilla, "distillation_warmup"), (DML, "alpha")])
def test_python_is_told_of_an_option_that_the_method_does_not_have(method, name):
    with pytest.raises(TypeError, match=name):
        method(make_cnn(), make_vit(), **{name: 0.5})


@dataclass(kw_only=True)
class MutualOptions(DistillationOptions):
    mutual: Weight = option(0.5, "Weight of the peer's opinion.")


class Mutual(Objective):
    Options = MutualOptions


def test_a_method_from_outside_is_on_the_command_line_with_its_own_options(monkeypatch, capsys):
    monkeypatch.setitem(METHODS.data, "mutual", Mutual)
    told = parse_arguments("test", ["--method", "mutual", "--mutual", "0.25", "--use_cpu"])
    assert told.options.values() == {"distillation_warmup": 0.0, "mutual": 0.25}
    objective = METHODS[told.method.method](make_cnn(), make_vit(), **told.options.values())
    assert objective.options.mutual == 0.25
    for argv, message in (
        (["--method", "mutual", "--alpha", "2"], "--alpha has no effect on --method mutual"),
        (["--mutual", "1"], "--mutual has no effect on --method ctcl"),
    ):
        with pytest.raises(SystemExit):
            parse_arguments("test", [*argv, "--use_cpu"])
        assert message in capsys.readouterr().err


def test_a_class_that_a_module_does_not_have_is_named():
    with pytest.raises(ValueError, match="has no class NoOptions"):
        class_alone("ctcl_hf.methods", "dml", "NoOptions")
    assert options_of("vanilla")().values() == MethodOptions().values() == {}
