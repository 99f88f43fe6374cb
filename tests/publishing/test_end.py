"""The end of a run that publishes: pushed before it is drawn, once, and finished by the same
command.
"""

import json

import pytest
from helpers.runs import AGAIN, Killed, files, go, killed

from ctcl_hf import CTCLTrainer
from ctcl_hf.publishing.hub import PushError

PUSH = (
    *("--push_to_hub", "--hub_strategy", "end", "--hub_model_id", "run"),
    *("--hub_token", "hf_writer"),
)


def titles(hub):
    return {
        name: [commit.title for commit in hub.commits(f"tester/run-{name}")]
        for name in ("cnn", "vit")
    }


def commits_noted(folder):
    return {
        name: repo["commit"] for name, repo in json.loads((folder / "hub.json").read_text()).items()
    }


def test_students_are_pushed_before_they_are_drawn_and_a_finished_run_is_not_pushed_again(
    hub, tmp_path, monkeypatch, capsys
):
    """A picture that took the process with it took the push too."""
    folder = tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr("ctcl_hf.runs.end.draw", killed)
        with pytest.raises(Killed):
            go(folder, *PUSH)
    pushed = titles(hub)
    assert pushed == {name: ["End of training"] for name in ("cnn", "vit")}
    for name in ("cnn", "vit"):
        there = hub.files(f"tester/run-{name}")
        assert there["model.safetensors"] == (folder / name / "model.safetensors").read_bytes()
        assert b"validation |" in there["README.md"] and "figure.png" not in there

    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *PUSH, *AGAIN)
    assert titles(hub) == {name: [*own, "Show predictions"] for name, own in pushed.items()}
    assert hub.files("tester/run-vit")["figure.png"] == (folder / "vit" / "figure.png").read_bytes()
    assert all(commits_noted(folder).values())

    before, pushed, asked = files(folder), titles(hub), len(hub.requests)
    capsys.readouterr()
    assert go(folder, *PUSH, *AGAIN)
    told = capsys.readouterr().out
    assert "it is left as it is" in told and "will be published" not in told
    assert titles(hub) == pushed
    assert len(hub.requests) == asked  # where nothing is left to do, no Hub is needed
    assert files(folder) == before
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in written if b"hf_writer" in path.read_bytes()]
    assert "--hub_token REDACTED" in json.loads((folder / "run.json").read_text())["command"]
    (folder / "results.json").unlink()
    hub.fail("GET", "whoami", "503", times=9)
    with pytest.raises(ConnectionError, match="cannot be used at present"):
        go(folder, *PUSH, *AGAIN)


def test_what_could_not_be_pushed_costs_no_picture_and_is_pushed_by_the_same_command(
    hub, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    hub.fail("POST", "run-vit/commit", "500", times=100)
    with pytest.raises(PushError, match=r"(?s)run-vit: not pushed.*run-cnn: pushed"):
        go(folder, *PUSH)
    assert (folder / "figure.png").is_file()
    hub.faults.clear()
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *PUSH, *AGAIN)
    for name in ("cnn", "vit"):
        there = hub.files(f"tester/run-{name}")
        there.pop(".gitattributes")
        assert there == {path.name: path.read_bytes() for path in (folder / name).iterdir()}
    assert all(commits_noted(folder).values())


def test_a_run_trained_without_publishing_is_published_by_the_same_command_with_push_to_hub(
    hub, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    assert go(folder)
    monkeypatch.setattr(CTCLTrainer, "training_step", killed)
    assert go(folder, *PUSH, *AGAIN)
    assert b"tester/run-vit" in hub.files("tester/run-cnn")["README.md"]
    assert len(titles(hub)["cnn"]) == 1
