"""Pushing to repositories: names, access, one commit each, nothing lost when something fails."""

import errno
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from publishing.server import File

from ctcl_hf.publishing import hub as hub_module
from ctcl_hf.publishing.background import BackgroundPusher, Publisher, Snapshot
from ctcl_hf.publishing.destinations import load_repositories, save_repositories
from ctcl_hf.publishing.hub import (
    PushError,
    Repository,
    check_access,
    push_students,
    repositories,
)

REPOS = {"cnn": Repository("tester/run-cnn"), "vit": Repository("tester/run-vit")}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two students: small files and files that go to LFS."""
    for name in REPOS:
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "config.json").write_text(f'{{"name": "{name}"}}')
        (tmp_path / "run" / name / "model.safetensors").write_bytes(name.encode() * 500)
        (tmp_path / "run" / name / "README.md").write_text("---\nlicense: unknown\n---\n# A card")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_published(hub, folder: Path) -> None:
    """Both repositories hold exactly what the folders do."""
    for name, repo in REPOS.items():
        files = hub.files(repo.repo_id)
        files.pop(".gitattributes")
        assert files == contents(folder / name)


# ---- names and access ----


def test_names_are_the_owners_prefix_and_the_student_unless_given(hub):
    found = repositories({"cnn": None, "vit": "my-vit"}, "ctcl-camvid")
    assert {name: repo.repo_id for name, repo in found.items()} == {
        "cnn": "tester/ctcl-camvid-cnn",
        "vit": "tester/my-vit",
    }
    assert repositories({"cnn": "org/a", "vit": None}, "org/b", private=True)["vit"] == Repository(
        "org/b-vit", True
    )
    with pytest.raises(ValueError, match="repository of its own"):
        repositories({"cnn": "org/a", "vit": "org/a"}, "x")
    with pytest.raises(ValueError, match="does not allow the name 'org/a b-cnn'"):
        repositories({"cnn": None}, "org/a b")


def test_repositories_are_noted_in_the_folder(tmp_path):
    save_repositories(
        tmp_path / "run", REPOS | {"vit": Repository("me/vit", private=True, revision="dev")}
    )
    assert load_repositories(tmp_path / "run")["vit"] == Repository(
        "me/vit", private=True, revision="dev"
    )
    assert load_repositories(tmp_path) == {}


def test_access_is_checked_by_writing_rights_and_missing_repositories_are_made(hub):
    check_access(REPOS.values())
    assert set(hub.repos) == {("model", "tester/run-cnn"), ("model", "tester/run-vit")}
    # existing ones are fine, branches are made
    check_access([Repository("tester/run-cnn", revision="dev")])
    assert set(hub.repos["model", "tester/run-cnn"].branches) == {"main", "dev"}


@pytest.mark.parametrize("exists", [True, False])
def test_a_token_that_may_only_read_is_refused_at_once(hub, monkeypatch, exists):
    if exists:
        check_access(REPOS.values())
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(PermissionError, match="may not write to tester/run-cnn") as caught:
        check_access(REPOS.values())
    assert "hf_reader" not in str(caught.value)


def test_somebody_elses_name_no_token_a_wrong_one_and_no_hub_are_told_apart(hub, monkeypatch):
    with pytest.raises(PermissionError, match="may not write to other/run"):
        check_access([Repository("other/run")])
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PermissionError, match="does not accept this token"):
        check_access(REPOS.values())
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(PermissionError, match="hf auth login"):
        check_access(REPOS.values())
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9 cannot be reached"):
        check_access(REPOS.values())


def test_a_hub_without_the_access_check_is_not_taken_for_one_that_refuses(hub, caplog):
    """Its 404 was told as "may not write", and nothing could be published there."""
    hub.fail("GET", "auth-check", "404", times=2)
    check_access(REPOS.values())
    assert "cannot tell whether this token may write to tester/run-cnn" in caplog.text
    assert set(hub.repos) == {("model", "tester/run-cnn"), ("model", "tester/run-vit")}


def test_a_hub_that_does_not_answer_ends_in_an_error_too(hub, monkeypatch):
    monkeypatch.setattr(hub_module, "CHECK_SECONDS", 0.2)
    hub.fail("GET", "whoami", "stall")
    with pytest.raises(ConnectionError, match=r"cannot be reached: .*timed out"):
        check_access(REPOS.values())


# ---- pushing ----


def test_a_push_is_one_commit_each_and_pushing_again_is_none(hub, folder):
    check_access(REPOS.values())
    push_students(REPOS, folder, "Publish")
    assert_published(hub, folder)
    push_students(REPOS, folder, "Publish")
    for repo in REPOS.values():
        assert [commit.title for commit in hub.commits(repo.repo_id)] == ["Publish"]
    (folder / "cnn" / "model.safetensors").write_bytes(b"new")
    push_students(REPOS, folder, "Again")
    assert_published(hub, folder)
    assert hub.commits("tester/run-cnn")[-1].paths == {"model.safetensors"}
    assert len(hub.commits("tester/run-vit")) == 1


def test_a_checkpoint_goes_with_the_first_student_in_the_same_commit(hub, folder):
    check_access(REPOS.values())
    (folder / "optimizer.pt").write_bytes(b"state")
    push_students(REPOS, folder, "Step 5", checkpoint="last-checkpoint")
    assert "last-checkpoint/optimizer.pt" in hub.files("tester/run-cnn")
    assert "last-checkpoint/vit/config.json" in hub.files("tester/run-cnn")
    assert not any("optimizer" in path for path in hub.files("tester/run-vit"))
    assert len(hub.commits("tester/run-cnn")) == 1


STEPS = {
    "validate-yaml": ("POST", "validate-yaml"),
    "preupload": ("POST", "run-vit/preupload"),
    "LFS batch": ("POST", "run-vit.git/info/lfs"),
    "LFS upload": ("PUT", "^/lfs/"),
    "LFS verify": ("POST", "^/lfs/.*/verify"),
    "commit": ("POST", "run-vit/commit"),
}


@pytest.mark.parametrize(
    "how", ["500", "503", "429", "drop", "lost", "truncate", "401", "403", "404", "409"]
)
@pytest.mark.parametrize("step", STEPS)
def test_after_a_fault_at_any_step_pushing_again_finishes_both(hub, folder, step, how):
    check_access(REPOS.values())
    before = contents(folder)
    hub.fail(*STEPS[step], how, times=8)  # more than the client's own attempts
    try:
        push_students(REPOS, folder, "Publish")
    except PushError as error:
        assert "not pushed" in str(error)
        assert "hf_writer" not in str(error)
    assert contents(folder) == before
    hub.faults.clear()
    push_students(REPOS, folder, "Publish")
    assert_published(hub, folder)
    for repo in REPOS.values():
        assert len(hub.commits(repo.repo_id)) == 1


def test_a_connection_that_stalls_ends_and_is_tried_again(hub, folder, monkeypatch):
    monkeypatch.setattr(hub_module, "PUSH_SECONDS", 0.5)
    check_access(REPOS.values())
    hub.fail("POST", "run-vit/preupload", "stall")
    push_students(REPOS, folder, "Publish")
    hub.fail("POST", "run-vit/commit", "stall")
    (folder / "vit" / "config.json").write_text("changed")
    with pytest.raises(PushError, match=r"run-vit: not pushed: .*timed out"):
        push_students(REPOS, folder, "Again")
    push_students(REPOS, folder, "Again")
    assert_published(hub, folder)


def test_a_failure_of_one_repository_is_told_and_does_not_stop_the_other(hub, folder):
    check_access(REPOS.values())
    hub.fail("POST", "run-cnn/commit", "403")
    with pytest.raises(
        PushError, match=r"(?s)tester/run-cnn: not pushed: .*tester/run-vit: pushed"
    ):
        push_students(REPOS, folder, "Publish")
    assert "model.safetensors" in hub.files("tester/run-vit")


# ---- in the background ----


def snapshot_of(folder: Path, push, name: str = "run") -> Snapshot:
    return Snapshot(folder, folder.parent / ".pushing", ("cnn", "vit"), push, name)


def test_a_snapshot_outlives_its_checkpoint(folder, tmp_path):
    seen = {}
    snapshot = snapshot_of(folder, lambda at: seen.update(contents(at)))
    before = contents(folder)
    (folder / "cnn" / "model.safetensors").unlink()
    (folder / "vit" / "new").write_text("later")
    snapshot.push()
    assert seen == before
    snapshot.discard()
    assert not snapshot.folder.exists()


def test_of_waiting_snapshots_only_the_newest_is_pushed_and_never_lost(folder):
    pushed = []

    def push(at, number):
        time.sleep(0.1)
        pushed.append(number)

    pusher = BackgroundPusher()
    for number in range(20):
        pusher.submit(snapshot_of(folder, lambda at, number=number: push(at, number), str(number)))
        time.sleep(0.02)
    pusher.wait()
    assert pushed[-1] == 19
    assert len(pushed) < 15
    everything = BackgroundPusher(keep_all=True)
    pushed.clear()
    for number in range(3):
        everything.submit(
            snapshot_of(folder, lambda at, number=number: push(at, number), str(number))
        )
    everything.wait()
    assert pushed == [0, 1, 2]


def test_a_push_that_fails_in_the_background_is_told_and_the_next_one_goes_on(folder, caplog):
    def fail(at):
        raise PushError("tester/run-cnn: not pushed: no route")

    pusher, pushed = BackgroundPusher(keep_all=True), []
    pusher.submit(snapshot_of(folder, fail, "Training in progress, step 5"))
    pusher.submit(snapshot_of(folder, pushed.append))
    pusher.wait()
    assert len(pushed) == 1
    assert "step 5 was not pushed" in caplog.text and "no route" in caplog.text
    assert not list((folder.parent / ".pushing").iterdir())


def test_a_checkpoint_that_cannot_be_kept_for_its_push_is_told_and_nothing_is_left_of_it(
    folder, caplog, monkeypatch
):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    publisher = Publisher(folder.parent, {"cnn": None, "vit": None})
    publisher.repositories = {"cnn": None, "vit": None}
    monkeypatch.setattr("ctcl_hf.publishing.background._link", full)
    publisher.push_checkpoint(folder, step=5)
    publisher.wait()
    assert "step 5 was not pushed" in caplog.text and "No space left" in caplog.text
    assert not list((folder.parent / ".pushing").iterdir())


def test_git_blobs_are_named_as_git_names_them():
    assert File.blob(b"hello\n").oid == "ce013625030ba8dba906f756967f9e9ca394464a"
