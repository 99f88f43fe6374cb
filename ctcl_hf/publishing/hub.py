"""Each student as a model of its own on the Hugging Face Hub."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import get_session, validate_repo_id
from transformers.utils import logging

from ..base.hub_access import shown_endpoint
from ..base.redaction import redacted

logger = logging.get_logger(__name__)

# How long one request may wait for an answer, before training and while pushing. The client alone
# would wait for ever.
CHECK_SECONDS, PUSH_SECONDS = 30, 300
NO_TOKEN = (
    "Publishing needs a token of the Hugging Face Hub with write access: run `hf auth login`, or "
    "set HF_TOKEN."
)


@dataclass(frozen=True)
class Repository:
    """Where one student goes, a Space about two, or a data set.

    repo_id: "user/name".
    private: whether a new repository is made private; None leaves it to the account's own default.
    revision: the branch; None is the default one.
    kind: "model", "space" (of Gradio) or "dataset".
    commit: the one that holds what the run's folder does; None until it is pushed.
    """

    repo_id: str
    private: bool | None = None
    revision: str | None = None
    kind: str = "model"
    commit: str | None = None

    @property
    def url(self) -> str:
        branch = f"/tree/{self.revision}" if self.revision else ""
        kind = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{shown_endpoint()}/{kind}{self.repo_id}{branch}"


class PushError(OSError):
    """Some repositories did not get what they should: says which, why, what is safe, and how to go
    on.
    """


# ---- names ----


def repositories(
    ids: Mapping[str, str | None],
    default_prefix: str,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
) -> dict[str, Repository]:
    """Each student's repository, by the student's name.

    Args:
        ids: "user/name", "name" (then the token's owner is the user), or None for
            DEFAULT_PREFIX-STUDENT.
        default_prefix: "user/prefix" or "prefix".

    Raises:
        ValueError: a name that the Hub does not allow, or one name for two students.
        OSError: the token's owner must be known and is not; see `identity`.
    """
    named = {student: repo_id or f"{default_prefix}-{student}" for student, repo_id in ids.items()}
    if not all("/" in repo_id for repo_id in named.values()):
        user = identity(token)
        named = {
            student: repo_id if "/" in repo_id else f"{user}/{repo_id}"
            for student, repo_id in named.items()
        }
    if len(set(named.values())) < len(named):
        raise ValueError(
            f"Each student needs a repository of its own, got {', '.join(named.values())}."
        )
    for student, repo_id in named.items():
        try:
            validate_repo_id(repo_id)
        except HFValidationError as error:
            raise ValueError(
                f"The Hub does not allow the name {repo_id!r} for student {student}: {error}"
            ) from error
    return {student: Repository(repo_id, private, revision) for student, repo_id in named.items()}


# ---- before the first step ----


def check_token(token: str | None = None) -> None:
    """PermissionError if there is no token, given or of a login. Does not ask the Hub."""
    if token is None and get_token() is None:
        raise PermissionError(NO_TOKEN)


def identity(token: str | None = None) -> str:
    """The user that a token belongs to.

    OSError without a token, with a bad one, or without the Hub.
    """
    return answered(lambda: HfApi(token=token).whoami()["name"])


def check_access(repos: Iterable[Repository], token: str | None = None) -> None:
    """Makes sure that every repository exists and that this token may write to it; creates what is
    missing.

    Raises:
        OSError: no token, one that may only read, a name that is somebody else's, or no answer.
    """

    def check() -> None:
        api = HfApi(token=token)
        api.whoami()  # a token that is missing or unknown
        for repo in repos:
            sdk = "gradio" if repo.kind == "space" else None
            try:
                api.create_repo(
                    repo.repo_id,
                    repo_type=repo.kind,
                    space_sdk=sdk,
                    private=repo.private,
                    exist_ok=True,
                )
                _check_write(api, repo)
                if repo.revision:
                    api.create_branch(repo.repo_id, branch=repo.revision, exist_ok=True)
            except HfHubHTTPError as error:
                if error.response.status_code not in (401, 403, 404):
                    raise
                raise PermissionError(
                    f"This token may not write to {repo.repo_id} on {shown_endpoint()}: "
                    f"{_reason(error)} A token with write access to that name is needed, or "
                    "another name."
                ) from error

    answered(check)


def _check_write(api: HfApi, repo: Repository) -> None:
    """create_repo does not object to a token without write access if the repository exists
    already.
    """
    try:
        api.auth_check(repo.repo_id, repo_type=repo.kind, write=True)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        # The repository is there, it has just been made or found: this Hub does not know the
        # question.
        logger.warning(
            f"{shown_endpoint()} cannot tell whether this token may write to {repo.repo_id} "
            f"({_reason(error)}): the first push will."
        )


def answered(question: Callable):
    """The answer of a question to the Hub; an OSError that says what to do if there is none."""
    get_session().timeout = CHECK_SECONDS
    try:
        return question()
    except LocalTokenNotFoundError as error:
        raise PermissionError(NO_TOKEN) from error
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise PermissionError(
                f"{shown_endpoint()} does not accept this token: {_reason(error)}"
            ) from error
        raise ConnectionError(
            f"{shown_endpoint()} cannot be used at present: {_reason(error)}"
        ) from error
    except PermissionError:
        raise
    except Exception as error:  # of the client's HTTP library, which is not ours to name
        raise ConnectionError(f"{shown_endpoint()} cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of a client's error that says something, without secrets that the Hub or a
    proxy repeats.
    """
    text = redacted(getattr(error, "server_message", None) or str(error))
    lines = (line.strip() for line in text.splitlines() if line.strip())
    reason = next(lines, type(error).__name__)
    if isinstance(error, HfHubHTTPError) and error.response.history:
        host = error.response.url.netloc.decode()
        return f"{reason} (It redirects to {host}, to which no token is sent.)"
    return reason


# ---- pushing ----


def push_dataset(repo: Repository, folder: Path, message: str) -> None:
    """Commits the files of a folder to a data set. PushError says how to go on from the folder."""
    get_session().timeout = PUSH_SECONDS
    try:
        HfApi().upload_folder(
            repo_id=repo.repo_id, repo_type=repo.kind, folder_path=folder, commit_message=message
        )
    except Exception as error:  # of the client's HTTP library, which is not ours to name
        raise PushError(
            f"{repo.repo_id}: not pushed: {_reason(error)}\n{folder} is whole. To push it: "
            f"{upload_line(repo.repo_id, folder)}"
        ) from error


def upload_line(repo_id: str, folder: Path) -> str:
    """The command of the Hub's own client that pushes a folder to a data set."""
    return shlex.join(["hf", "upload", repo_id, str(folder), ".", "--repo-type", "dataset"])


def push_folder(
    repo: Repository,
    folder: Path,
    message: str,
    token: str | None = None,
    checkpoint: tuple[Path, str] | None = None,
) -> CommitInfo:
    """One commit with a student's folder; none if the repository holds the same already.

    checkpoint: a further folder, and its path in the repository.
    """
    sources = [(folder, "")] + ([(checkpoint[0], f"{checkpoint[1]}/")] if checkpoint else [])
    operations = [
        CommitOperationAdd(prefix + path.relative_to(source).as_posix(), path)
        for source, prefix in sources
        for path in sorted(source.rglob("*"))
        if path.is_file()
    ]
    get_session().timeout = PUSH_SECONDS
    return HfApi(token=token).create_commit(
        repo.repo_id, operations, commit_message=message, revision=repo.revision
    )


def push_students(
    repos: dict[str, Repository],
    folder: Path,
    message: str,
    token: str | None = None,
    checkpoint: str | None = None,
    report: Callable[[str, Repository, CommitInfo], None] | None = None,
) -> dict[str, CommitInfo]:
    """Pushes FOLDER/STUDENT to each student's repository; a failure of one does not stop the
    others.

    Args:
        checkpoint: path, in the first student's repository, of everything else in the folder: what
            training needs to go on from there.
        report: called after each success.

    Raises:
        PushError: after all have been tried, if any failed.
    """
    done, failed = {}, {}
    for i, (name, repo) in enumerate(repos.items()):
        extra = (folder, checkpoint) if checkpoint and i == 0 else None
        try:
            done[name] = push_folder(repo, folder / name, message, token, extra)
            if report is not None:
                report(name, repo, done[name])
        except Exception as error:
            failed[name] = error
    if failed:
        lines = [
            f"{repos[name].repo_id}: not pushed: {_reason(error)}" for name, error in failed.items()
        ]
        lines += [f"{repos[name].repo_id}: pushed" for name in done]
        raise PushError("\n".join(lines)) from next(iter(failed.values()))
    return done
