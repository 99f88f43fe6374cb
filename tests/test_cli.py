"""`ctcl-hf`: its commands, and how all of them end."""

import importlib
import os
import subprocess
import sys

import pytest

from ctcl_hf import cli
from ctcl_hf.cli.ending import told


def test_every_command_is_a_module_that_tells_its_options():
    for name in cli.COMMANDS:
        assert callable(importlib.import_module(f"ctcl_hf.cli.{name}").main), name


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_example_in_help_is_a_line_that_can_be_typed(name):
    """An example was wrapped like prose, its end before the next one's beginning."""
    parts = importlib.import_module(f"ctcl_hf.cli.{name}").__doc__.split("\n\n")
    starts = ("ctcl-hf ", "accelerate launch ")
    examples = [line for part in parts if part.startswith(starts) for line in part.splitlines()]
    assert examples
    assert all(line.startswith(starts) for line in examples if line)
    assert not any(" ctcl-hf " in line for line in examples)


def test_the_commands_are_listed_without_anything_slow():
    code = (
        "import sys; sys.argv = ['ctcl-hf', '--help']; from ctcl_hf.cli import main; main(); "
        "print(sorted(sys.modules))"
    )
    shown, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.rsplit("\n[", 1)
    assert all(f"  {name} " in shown for name in cli.COMMANDS)
    assert "'torch'" not in modules and "'transformers'" not in modules


def test_a_mistyped_command_is_answered_with_the_nearest(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ctcl-hf", "tran", "--dataset", "camvid"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "ctcl-hf: error: tran: expected one of train, " in (said := capsys.readouterr().err)
    assert "Did you mean train?" in said


def test_ctrl_c_while_a_command_is_imported_ends_with_a_word(monkeypatch, capsys):
    """It ended in a traceback: imports take seconds."""

    def interrupted(*names):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["ctcl-hf", "train", "--dataset", "camvid"])
    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "ctcl-hf train: interrupted."


def test_a_reader_who_goes_ends_no_work():
    """`ctcl-hf --help | head -1` ended in a traceback, and `ctcl-hf predict ... | head -1` after
    the first picture.
    """
    work = "for _ in range(3):\n  print('x' * 99999, flush=True)\n print('done', file=sys.stderr)"
    code = f"import sys\nfrom ctcl_hf.cli.ending import told\nwith told():\n {work}"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "done\n")


def test_ctrl_c_outside_of_the_training_ends_with_a_word(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ctcl-hf predict"])
    with pytest.raises(SystemExit) as ended, told(OSError):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "ctcl-hf predict: interrupted."


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_mistake_is_told_after_a_line_or_two_of_usage(name, monkeypatch, capsys):
    """Some commands printed every option that they have before what was wrong."""
    command = importlib.import_module(f"ctcl_hf.cli.{name}")
    monkeypatch.setattr(sys, "argv", [f"ctcl-hf {name}", "--nonsense"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    usage, _, _ = capsys.readouterr().err.partition(f"ctcl-hf {name}: error: ")
    assert usage.startswith("usage: ") and "[-h]" not in usage


@pytest.mark.parametrize(
    "words", [("--palette", "{}"), ("--palette={}",), ("--out", "a", "--palette", "{}"), ("{}",)]
)
def test_what_the_system_says_of_a_file_is_told_by_its_option(words, tmp_path, monkeypatch, capsys):
    """`[Errno 36] File name too long: 'xxx...'` named no option."""
    name = str(tmp_path / ("x" * 300))
    monkeypatch.setattr(sys, "argv", ["ctcl-hf prepare", *(word.format(name) for word in words)])
    option = "--palette " if len(words) > 1 or "=" in words[0] else ""
    for path in (name, f"{name}{os.sep}config.json"):
        with pytest.raises(SystemExit) as ended, told(OSError):
            (tmp_path / path).stat()
        assert str(ended.value) == f"ctcl-hf prepare: error: {option}{path}: File name too long."


def test_our_own_sentence_is_told_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ctcl-hf prepare"])
    with pytest.raises(SystemExit, match=r"^ctcl-hf prepare: error: no such class$"), told(OSError):
        raise OSError("no such class")
