"""Small files and their names: damaged ones are named, and what no file could hold is refused."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pictures import ids, picture, save

import ctcl_hf
from ctcl_hf.base.files import check_place, problem_of_name, read_json, whole
from ctcl_hf.cli.ending import told

PACKAGE = Path(ctcl_hf.__file__).parent
LATIN = b"w\xe9".decode("utf-8", "surrogateescape")  # as Python reads a name of another encoding


@pytest.mark.parametrize("content", [b"", b'{"steps": 1', b"\xff\xfe", b"NaN,"])
def test_a_damaged_file_is_told_with_its_name(content, tmp_path):
    """`Expecting value: line 1 column 1 (char 0)` was all that was said."""
    file = tmp_path / "results.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.json is damaged, or no JSON file: "):
        read_json(file)
    file.write_bytes('{"class": "Straße"}'.encode())
    assert read_json(file) == {"class": "Straße"}


def test_a_file_that_cannot_be_written_is_told_by_its_own_name(tmp_path):
    """`ctcl-hf report` of a folder that is read-only told of `.report.html.4711`."""
    with pytest.raises(OSError) as raised, whole(tmp_path / "none" / "report.html") as staged:
        staged.write_text("")
    assert raised.value.filename == str(tmp_path / "none" / "report.html")
    with pytest.raises(OSError) as raised, whole(tmp_path / "report.html"):
        (tmp_path / "none" / "other.html").read_text()
    assert raised.value.filename == str(tmp_path / "none" / "other.html")


@pytest.mark.parametrize(
    ("place", "is_folder", "message"),
    [
        ("file", True, "--out file is a file: give a folder."),
        ("file/x", True, "--out file/x: file is a file, and no folder."),
        ("file/x/y.onnx", False, "--out file/x/y.onnx: file is a file, and no folder."),
        ("folder", False, "--out folder is a folder: give a file."),
        ("/proc/x/y", True, "--out /proc/x/y: nothing can be written into /proc "),
        ("/proc/x.onnx", False, "--out /proc/x.onnx: nothing can be written into /proc "),
    ],
)
def test_a_place_that_cannot_be_written_to_is_told_by_its_option(
    place, is_folder, message, tmp_path, monkeypatch
):
    """Errors of the system were told, some of them after minutes of work."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    with pytest.raises(OSError) as raised:
        check_place("--out", Path(place), is_folder)
    assert str(raised.value).startswith(message)


def test_a_place_is_looked_at_without_leaving_anything_there(tmp_path):
    (tmp_path / "file").write_text("")
    check_place("--out", tmp_path / "new" / "folder")
    check_place("--out", tmp_path)
    check_place("--out", tmp_path / "file", is_folder=False)
    check_place("--out", tmp_path / "new" / "file", is_folder=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_text_file_is_read_in_an_encoding_that_no_locale_decides():
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_read = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "read_text"
            if is_read and "encoding" not in {word.arg for word in node.keywords}:
                found.append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []


def test_a_word_of_the_command_line_that_no_file_could_hold_is_refused(monkeypatch):
    """A class of such a name ended in a traceback, and an output folder's cost the cards."""
    for word in ("Bäume", "木"):
        assert problem_of_name(word) is None
    monkeypatch.setattr(sys, "argv", ["ctcl-hf train", "--output_dir", f"runs/{LATIN}"])
    with pytest.raises(SystemExit) as caught, told(ValueError):
        raise AssertionError("the command was begun")
    said = r"ctcl-hf train: error: The name 'runs/w\udce9' is not UTF-8: choose another."
    assert caught.value.code == said


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["", "--model", "x"], ""),
        (["a.png", "--model", ""], " after --model"),
        (["--output_dir=", "--recipe", "demo"], " after --output_dir"),
        (["--weights", "a", ""], " after --weights"),
    ],
)
def test_an_empty_word_is_refused_which_would_be_the_present_folder(words, after, monkeypatch):
    """`predict "$FOLDER"` took its images; --output_dir "" trained, and could not save."""
    monkeypatch.setattr(sys, "argv", ["ctcl-hf predict", *words])
    with pytest.raises(SystemExit) as caught, told(ValueError):
        raise AssertionError("the command was begun")
    said = f"an argument{after} is empty. Is it a variable of the shell that is not set?"
    assert caught.value.code == f"ctcl-hf predict: error: {said}"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the locale C and names of any bytes")
def test_in_a_locale_that_is_not_utf8_names_are_not_taken_for_broken_ones(tmp_path):
    """It was said that files are to be renamed, whose names were sound."""
    for name in ("a", "Bäume"):
        picture(tmp_path / "photos" / "train" / "images" / f"{name}.png")
        save(tmp_path / "photos" / "train" / "masks" / f"{name}.png", ids(0, 1))
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "ctcl_hf", "prepare", "--out", "out", "--dataset_name"]
    for folder in ("photos", "Bäume"):
        done = subprocess.run(
            [*command, folder], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "in the encoding of this locale, ascii. Set PYTHONUTF8=1" in done.stderr


def test_letters_that_a_terminal_does_not_know_are_spelt_out(tmp_path):
    """A name of a class that could not be printed would have ended the run that prints it."""
    code = "from ctcl_hf.cli.ending import told\nwith told(): print('Stra\\xdfe \\u00b1')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == rb"Stra\xdfe \xb1" + os.linesep.encode()
