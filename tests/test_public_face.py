"""What is public has a docstring, and what names a version names this one."""

import re
from pathlib import Path

import yaml

import ctcl_hf

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists_and_has_a_docstring():
    for name in ctcl_hf.__all__:
        value = getattr(ctcl_hf, name)
        if not isinstance(value, dict):
            assert value.__doc__ and value.__doc__.strip(), name


def test_the_citation_and_the_changelog_are_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == ctcl_hf.__version__
    latest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest[1] == ctcl_hf.__version__
