"""The README's Python block, run as it stands, on a small data set and small students."""

import re
from pathlib import Path

import yaml
from conftest import make_cnn, make_data, make_vit

import ctcl_hf

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_the_python_example_runs_as_written(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"<!-- tests/test_readme.py .*?-->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(block.strip().splitlines()) <= 18
    monkeypatch.chdir(tmp_path)
    # What the example names but a test machine lacks: the data set, ImageNet weights, and hours of time.
    monkeypatch.setattr("ctcl_hf.data.build_camvid", lambda folder: make_data(6, 2, (64, 64)))
    makers = {"mobilenetv2_100": make_cnn, "nvidia/mit-b1": make_vit}
    monkeypatch.setattr(
        "ctcl_hf.students.loading.load_student", lambda name, classes, size: makers[name](len(classes), size)
    )
    block = block.replace("num_train_epochs=60", "max_steps=1, use_cpu=True, disable_tqdm=True")
    block = block.replace("(512, 512)", "(64, 64)")
    exec(compile(block, str(README), "exec"), {})
    assert "eval_cnn_mean_iou" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} >= {"cnn", "vit"}


def test_every_public_name_exists_and_has_a_docstring():
    for name in ctcl_hf.__all__:
        value = getattr(ctcl_hf, name)
        if not isinstance(value, dict):
            assert value.__doc__ and value.__doc__.strip(), name


def test_the_citation_and_the_changelog_are_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == ctcl_hf.__version__
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest[1] == ctcl_hf.__version__
