"""Pushing from within a training run: at its end, and in the background at every save."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from huggingface_hub import CommitInfo
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from ..base.redaction import redacted
from .destinations import load_repositories, note_commits, open_repositories, push_noting
from .hub import PushError, Repository, push_students

logger = logging.get_logger(__name__)

SNAPSHOTS = ".pushing"  # in a run's output folder: what is being pushed
NOT_PUSHED = "{} was not pushed. Training goes on, nothing is lost here.\n{}"


class Publisher:
    """A run's two repositories, and what is on its way to them.

    Args:
        folder: the run's output folder.
        ids: by student, "[USER/]NAME" of its repository, or None.
        prefix: what is None in `ids` becomes "[USER/]PREFIX-STUDENT". Default: the folder's name.
        token, private, revision: of the repositories, see `Repository`. Default: of the user who is
            logged in.
        strategy: what is pushed at every save.
        keep_all: of the saves that wait to be pushed, keep all and not the newest alone.
    """

    def __init__(
        self,
        folder: Path,
        ids: Mapping[str, str | None],
        prefix: str | None = None,
        token: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        strategy: HubStrategy = HubStrategy.EVERY_SAVE,
        keep_all: bool = False,
    ):
        self.folder = folder
        self.ids = ids
        self.prefix = prefix or folder.absolute().name
        self.token = token
        self.private = private
        self.revision = revision
        self.strategy = strategy
        # by student, once `open` has found them usable, or `recall` published
        self.repositories: dict[str, Repository] = {}
        self.is_open = False  # whether the Hub was asked
        self._pusher = BackgroundPusher(keep_all or strategy == HubStrategy.ALL_CHECKPOINTS)

    def recall(self) -> bool:
        """Whether all that lies in the output folder has been pushed to the repositories that are
        asked for, as is noted there. These are then known, and the Hub was not asked.
        """
        noted = load_repositories(self.folder)
        asked = noted.keys() == self.ids.keys() and all(map(self._is_asked, noted, noted.values()))
        if not asked or any(repo.commit is None for repo in noted.values()):
            return False
        self.repositories = noted
        return True

    def _is_asked(self, student: str, repo: Repository) -> bool:
        """Whether a repository is the one that `open` would decide on for some user."""
        wanted = self.ids[student] or f"{self.prefix}-{student}"
        named = wanted in (repo.repo_id, repo.repo_id.split("/")[-1])
        return named and repo.revision == self.revision

    def open(self, token: str | None = None, private: bool | None = None) -> None:
        """Decides each student's repository, and makes sure that it can be written to.

        OSError says what is missing.
        """
        token = token or self.token
        private = self.private if private is None else private
        found = open_repositories(self.folder, self.ids, self.prefix, token, private, self.revision)
        shutil.rmtree(self.folder / SNAPSHOTS, ignore_errors=True)  # of a run that was killed
        self.repositories = found
        self.is_open = True

    def push(
        self, message: str, token: str | None = None, revision: str | None = None
    ) -> dict[str, CommitInfo]:
        """Pushes the students in the output folder that are not pushed yet, after all that is on
        its way.

        PushError tells how to go on.
        """
        self.wait()
        own = {
            name: replace(repo, revision=revision or repo.revision)
            for name, repo in self.unpushed.items()
        }
        try:
            return push_noting(own, self.folder, message, token or self.token, self._remember)
        except PushError as error:
            raise PushError(
                f"{error}\nBoth students are in {self.folder}; `ctcl-hf push {self.folder}` goes "
                "on."
            ) from error

    @property
    def unpushed(self) -> dict[str, Repository]:
        """The repositories that do not hold what lies in the output folder, as far as is noted
        there.
        """
        return {name: repo for name, repo in self.repositories.items() if repo.commit is None}

    def forget_commits(self) -> None:
        """Notes that what lies in the output folder is not what was pushed."""
        note_commits(self.folder, dict.fromkeys(self.ids))
        for name, repo in self.repositories.items():
            self.repositories[name] = replace(repo, commit=None)

    def _remember(self, name: str, repo: Repository, commit: CommitInfo) -> None:
        self.repositories[name] = replace(self.repositories[name], commit=commit.oid)

    def push_checkpoint(self, checkpoint: Path, step: int) -> None:
        """Pushes a checkpoint's students in the background, as the strategy says; returns at
        once.
        """
        if self.strategy == HubStrategy.END:
            return
        in_repository = {
            HubStrategy.CHECKPOINT: "last-checkpoint",
            HubStrategy.ALL_CHECKPOINTS: checkpoint.name,
        }
        path, message = in_repository.get(self.strategy), f"Training in progress, step {step}"
        try:
            snapshot = Snapshot(
                checkpoint,
                into=self.folder / SNAPSHOTS,
                parts=None if path else tuple(self.repositories),
                push=lambda at: push_students(self.repositories, at, message, self.token, path),
                message=message,
            )
        except OSError as error:  # a full disk, where files cannot be linked
            logger.warning(NOT_PUSHED.format(message, redacted(str(error))))
            return
        self._pusher.submit(snapshot)

    def wait(self) -> None:
        """Returns once nothing is on its way any more."""
        self._pusher.wait()


class BackgroundPusher:
    """Pushes snapshots one after the other, in a thread that never keeps the process from ending.

    Of the snapshots that wait, only the newest is kept, unless each is wanted: a slow network
    delays pushes, but never the last one.
    """

    def __init__(self, keep_all: bool = False):
        self.keep_all = keep_all
        self._lock = threading.Lock()
        self._waiting: list[Snapshot] = []
        self._thread: threading.Thread | None = None

    def submit(self, snapshot: "Snapshot") -> None:
        """Takes over a snapshot, and returns at once."""
        with self._lock:
            if not self.keep_all:
                while self._waiting:
                    self._waiting.pop().discard()
            self._waiting.append(snapshot)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Returns once nothing is left to push."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                snapshot = self._waiting.pop(0)
            try:
                snapshot.push()
            except Exception as error:
                # the run goes on; the next save, or the end of the run, pushes again
                logger.warning(NOT_PUSHED.format(snapshot.message, redacted(str(error))))
            finally:
                snapshot.discard()


class Snapshot:
    """A checkpoint as it was when it was saved: later saves and deletions do not touch it.

    Args:
        source: a checkpoint's folder.
        into: the folder, on the same file system, that the snapshot is made in.
        parts: folders within it that are needed; None for all of it.
        push: called with the snapshot's folder.
        message: what it is.
    """

    def __init__(
        self,
        source: Path,
        into: Path,
        parts: Sequence[str] | None,
        push: Callable[[Path], object],
        message: str,
    ):
        into.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{source.name}-", dir=into))
        self.message = message
        self._push = push
        # Hard links: files of a checkpoint are written once and never changed.
        try:
            for part in ["."] if parts is None else parts:
                shutil.copytree(
                    source / part, self.folder / part, copy_function=_link, dirs_exist_ok=True
                )
        except OSError:
            self.discard()
            raise

    def push(self) -> None:
        self._push(self.folder)

    def discard(self) -> None:
        """Removes what was linked; the checkpoint itself stays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
