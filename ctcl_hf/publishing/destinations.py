"""Where a run's students go: decided, noted in the run's folder, and pushed to."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from huggingface_hub import CommitInfo

from ..base.files import read_json, write_whole
from .hub import Repository, check_access, push_students, repositories

REPOSITORIES_FILE = "hub.json"  # in a run's output folder: where its students go


def open_repositories(
    folder: Path,
    ids: Mapping[str, str | None],
    prefix: str,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
) -> dict[str, Repository]:
    """Decides each student's repository, makes sure that it can be written to, and notes it in the
    run's folder, with the commit that was noted there of the same one.

    Arguments and errors: as of `repositories` and `check_access`.
    """
    found = repositories(ids, prefix, token, private, revision)
    check_access(found.values(), token)
    for name, noted in load_repositories(folder).items():
        own = found.get(name)
        if own is not None and (own.repo_id, own.revision) == (noted.repo_id, noted.revision):
            found[name] = replace(own, commit=noted.commit)
    save_repositories(folder, found)
    return found


def push_noting(
    repos: dict[str, Repository],
    folder: Path,
    message: str,
    token: str | None = None,
    report: Callable[[str, Repository, CommitInfo], None] = lambda name, repo, commit: None,
) -> dict[str, CommitInfo]:
    """`push_students` of a run's folder, in which each commit is noted as soon as it is made."""

    def note(name: str, repo: Repository, commit: CommitInfo) -> None:
        note_commits(folder, {name: commit.oid})
        report(name, repo, commit)

    return push_students(repos, folder, message, token, report=note)


# ---- what is noted ----


def save_repositories(folder: Path, repos: dict[str, Repository]) -> None:
    """Notes in a run's folder where its students go, for a push that has to be finished later."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: asdict(repo) for name, repo in repos.items()}, indent=2)
    write_whole(folder / REPOSITORIES_FILE, text + "\n")


def load_repositories(folder: Path) -> dict[str, Repository]:
    """What `save_repositories` noted; empty if nothing was."""
    path = folder / REPOSITORIES_FILE
    if not path.is_file():
        return {}
    return {name: Repository(**fields) for name, fields in read_json(path).items()}


def note_commits(folder: Path, commits: Mapping[str, str | None]) -> None:
    """Notes in a run's folder, by student, the commit that holds what the folder does; None if
    there is none (yet).
    """
    repos = load_repositories(folder)
    if noted := {
        name: replace(repos[name], commit=commit)
        for name, commit in commits.items()
        if name in repos
    }:
        save_repositories(folder, repos | noted)
