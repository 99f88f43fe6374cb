"""No token and no password in what is written, shown or recorded; no file is ever half there."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants

import ctcl_hf
from ctcl_hf import CTCLArguments
from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.base.files import whole, write_whole
from ctcl_hf.base.hub_access import shown_endpoint
from ctcl_hf.base.redaction import redacted, redacted_words, shown_command
from ctcl_hf.cli.ending import fail
from ctcl_hf.publishing.hub import Repository, answered

LONG = "hf_" + "aB3" * 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train --hub_token hf_short --seed 1", "train --hub_token REDACTED --seed 1"),
        ("train --hub-token=hf_short", "train --hub-token=REDACTED"),
        ("train --hub_token 'of two words' x", "train --hub_token REDACTED x"),
        (
            '{"a": "train --hub_token hf_short"}',
            '{"a": "train --hub_token REDACTED"}',
        ),
        ("https://user:token@hub.example/a b@c.org", "https://hub.example/a b@c.org"),
        ("http://me:p@ss@proxy:80", "http://proxy:80"),
        ("https://a.b/c?x=1&access_token=q&y=2", "https://a.b/c?x=1&access_token=REDACTED&y=2"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer REDACTED"),
        (f"the token {LONG} is bad", "the token REDACTED is bad"),
        # What only looks like it.
        ("--include_num_input_tokens_seen all --push_to_hub_token --seed 1", None),
        ("https://medium.com/@me user@host hf_writer ctcl_hf_" + "a" * 30, None),
    ],
)
def test_secrets_are_taken_out_of_a_text_and_nothing_else(text, expected):
    assert redacted(text) == (text if expected is None else expected)


def test_an_option_and_its_secret_may_be_two_words():
    words = ["--hub_token", "abc", "--hub_token", "--seed", "1", "--hub_token=abc"]
    assert redacted_words(words) == [
        "--hub_token",
        "REDACTED",
        "--hub_token",
        "--seed",
        "1",
        "--hub_token=REDACTED",
    ]
    assert redacted_words([]) == []
    assert shown_command(["ctcl-hf", "--hub_token", "a b"]) == "ctcl-hf --hub_token REDACTED"


def test_the_secrets_of_the_environment_are_taken_out_wherever_they_come_up(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "sup3r-secret")
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setenv("SHORT_TOKEN", "cnn")
    write_whole(tmp_path / "run.json", '{"name": "sup3r-secret of hf_writer", "student": "cnn"}')
    assert (
        tmp_path / "run.json"
    ).read_text() == '{"name": "REDACTED of REDACTED", "student": "cnn"}'


def test_a_recorded_command_holds_no_token(capsys):
    arguments = parse_arguments(
        "", ["--recipe", "demo", "--push_to_hub", "--hub_token", "hf_writer"]
    )
    assert arguments.training.hub_token == "hf_writer"
    assert arguments.command == "ctcl-hf train --recipe demo --push_to_hub --hub_token REDACTED"
    with pytest.raises(SystemExit):
        parse_arguments("", ["--recipe", "demo", "--seed", "https://me:word@hub.example"])
    assert "--seed https://hub.example:" in capsys.readouterr().err


def test_trackers_are_given_arguments_without_secrets(tmp_path):
    url = "https://me:word@hub.example"
    arguments = CTCLArguments(
        str(tmp_path), hub_token="hf_writer", run_name=url, use_cpu=True, report_to="none"
    )
    for told in (
        arguments.to_json_string(),
        str(arguments.to_sanitized_dict()),
        str(arguments.to_dict()),
    ):
        assert "https://hub.example" in told and "word@" not in told and "hf_writer" not in told
    assert arguments.run_name == url


def test_the_address_of_a_hub_is_shown_without_its_password(monkeypatch):
    """HF_ENDPOINT with a password went into the students' cards, the run's output and its
    errors.
    """
    monkeypatch.setattr(constants, "ENDPOINT", "https://me:word@hub.example")
    assert shown_endpoint() == "https://hub.example"
    assert Repository("me/cnn").url == "https://hub.example/me/cnn"

    def unreachable():
        raise RuntimeError("no route through http://me:word@proxy:80")

    with pytest.raises(ConnectionError) as error:
        answered(unreachable)
    assert (
        str(error.value)
        == "https://hub.example cannot be reached: no route through http://proxy:80"
    )
    with pytest.raises(SystemExit) as ended:
        fail("no https://me:word@hub.example")
    assert str(ended.value).endswith("error: no https://hub.example")


def test_every_text_file_is_written_where_secrets_are_taken_out():
    package = Path(ctcl_hf.__file__).parent
    writes = re.compile(r"\.write_text\(|open\([^)]*[\"'][wax]t?[\"']")
    found = [path.name for path in sorted(package.rglob("*.py")) if writes.search(path.read_text())]
    assert found == ["files.py"]


def test_the_hubs_address_is_never_shown_as_it_is():
    package = Path(ctcl_hf.__file__).parent
    found = [
        path.name for path in package.rglob("*.py") if "{constants.ENDPOINT}" in path.read_text()
    ]
    assert found == []


def test_a_file_that_cannot_be_written_leaves_the_one_that_was_there(tmp_path):
    path = tmp_path / "results.json"
    write_whole(path, "first")
    with pytest.raises(OSError, match="full"), whole(path) as staged:
        staged.write_text("sec")
        raise OSError("full")
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text() == "first"
