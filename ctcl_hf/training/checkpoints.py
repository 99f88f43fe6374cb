"""Checkpoints on disk: written whole or not at all, found, and which one to resume from."""

import itertools
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..base.files import RECORD_FILE, read_json, write_whole
from .best import was_stopped_early

logger = logging.get_logger(__name__)

# in a checkpoint: its files, their sizes, and hashes of TENSORS; written last
MANIFEST_FILE = "manifest.json"
TENSORS = {".safetensors", ".pt", ".pth"}  # names end so
# Trainer's, in a checkpoint; in an output folder since its students are saved
STATE_FILE = "trainer_state.json"
STAGING = ".saving"  # in an output folder: what is being saved


# ---- writing ----


def complete_checkpoint(staged: Path, final: Path) -> None:
    """Makes a checkpoint of a folder that is fully written: with a manifest, synced, and all at
    once under its name.
    """
    files = [path for path in sorted(staged.rglob("*")) if path.is_file()]
    facts = {path.relative_to(staged).as_posix(): {"size": path.stat().st_size} for path in files}
    for name, fact in facts.items():
        if Path(name).suffix in TENSORS:
            fact["sha256"] = _hash(staged / name)
    manifest = staged / MANIFEST_FILE
    write_whole(manifest, json.dumps(facts, indent=2) + "\n")
    for path in [*files, manifest, *{path.parent for path in files}, staged]:
        _sync(path)
    # What it replaces is of the same step, and as good: it goes at once too, and until then under a
    # name by which it is found, so that a kill leaves one of the two.
    replaced = final.with_name(f"checkpoint-replaced-{step_of(final)}")
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    staged.rename(final)
    _sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def move_whole(staged: Path, final: Path, last: str) -> None:
    """Moves the files of a folder that is fully written to their places in another, and the one
    named `last` after all.

    Until then there is none of that name: it says that all is there, and of one origin. What else
    lies there stays.
    """
    files = sorted(
        (path for path in staged.rglob("*") if path.is_file()), key=lambda path: path.name == last
    )
    targets = {path: final / path.relative_to(staged) for path in files}
    for path, target in targets.items():
        _sync(path)
        target.parent.mkdir(parents=True, exist_ok=True)
    (final / last).unlink(missing_ok=True)
    for path, target in targets.items():
        os.replace(path, target)
    for folder in {target.parent for target in targets.values()}:
        _sync(folder)
    shutil.rmtree(staged, ignore_errors=True)


def _hash(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as opened:
        while part := opened.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Waits until a file's contents, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_old_checkpoints(newest: Path, limit: int | None, best: Collection[Path]) -> None:
    """Keeps the last `limit` complete checkpoints up to the newest, and the best ones; leaves alone
    what is none.
    """
    if not limit or limit < 1:
        return
    before = (path for path in checkpoints_of(newest.parent) if step_of(path) <= step_of(newest))
    complete = [path for path in before if problem_of(path) is None]
    kept = {path.resolve() for path in best}
    for path in complete[:-limit]:
        if path.resolve() not in kept:
            shutil.rmtree(path, ignore_errors=True)


# ---- finding ----


def checkpoints_of(folder: Path) -> list[Path]:
    """Folders named as checkpoints, complete or not, by step."""
    numbered = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[-1].isdigit()]
    return sorted(
        numbered, key=lambda path: (step_of(path), path.name == f"checkpoint-{step_of(path)}")
    )


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.split("-")[-1])


def steps_behind(folder: Path) -> int:
    """The optimizer steps behind what a checkpoint, or an output folder with saved students,
    holds.
    """
    return read_json(folder / STATE_FILE)["global_step"]


def has_stopped_early(folder: Path) -> bool:
    """Whether early stopping has ended the training behind a checkpoint or an output folder."""
    state = read_json(folder / STATE_FILE)
    return was_stopped_early(state["log_history"], state["global_step"])


def trained_steps(folder: Path) -> int | None:
    """The steps behind the students in an output folder, if they are those of a training's end;
    None if not.

    Early stopping ends a training, too.
    """
    try:
        state = read_json(folder / STATE_FILE)
        step = state["global_step"]
        ended = 0 < state["max_steps"] <= step or was_stopped_early(state["log_history"], step)
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or none that could be read
        return None
    return step if ended and any(folder.glob("*/config.json")) else None


def problem_of(checkpoint: Path, contents: bool = False) -> str | None:
    """Why a folder is no complete checkpoint, or None; with `contents`, weights and the like are
    read and compared.
    """
    if not checkpoint.is_dir():
        return "no such folder"
    try:
        manifest = manifest_of(checkpoint)
        for file, fact in manifest.items():
            found = checkpoint / file
            if not found.is_file():
                return f"{file} is missing"
            if found.stat().st_size != fact["size"]:
                return f"{file} has {found.stat().st_size} bytes instead of {fact['size']}"
        return changed_file(checkpoint, manifest) if contents else None
    except FileNotFoundError:
        return f"{MANIFEST_FILE}, which a checkpoint of this package ends with, is missing"
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return f"{MANIFEST_FILE} cannot be read: {error}"


def manifest_of(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """By file, its size, and maybe its hash. Before there were hashes, the size stood alone."""
    facts = read_json(checkpoint / MANIFEST_FILE)
    return {file: {"size": fact} if isinstance(fact, int) else fact for file, fact in facts.items()}


def changed_file(checkpoint: Path, manifest: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which file does not hold what was saved, or None.

    Files that are not there are not looked at.
    """
    for file, fact in manifest.items():
        if (
            "sha256" in fact
            and (checkpoint / file).is_file()
            and _hash(checkpoint / file) != fact["sha256"]
        ):
            return f"{file} is damaged: its bytes are not those that were saved"
    return None


class FolderTaken(ValueError):
    """An output folder holds another run."""


def find_checkpoint(output_dir: str, resume: str | None) -> str | None:
    """The checkpoint to resume from. A folder that holds another run is never silently written
    over.

    FolderTaken says how far that has come, and names a folder that is free; ValueError, what is
    wrong with the checkpoint.

    With "auto" it is the last complete one, and every later folder that is not complete is named in
    a warning. Where there is none, it is the output folder itself if that holds the students of a
    training's end.
    """
    folder = Path(output_dir)
    last = next(_complete_from_last(folder, warn=resume == "auto"), None)
    other = "choose another --output_dir"
    if resume == "auto":
        if last is not None:
            return str(last)
        if trained_steps(folder) is not None:
            return str(folder)
        resume = None
    if resume is not None:
        problem = problem_of(Path(resume), contents=True)
        if problem is not None:
            like = f"like {folder / 'checkpoint-100'}" if last is None else f"such as {last}"
            raise ValueError(
                f"--resume_from_checkpoint {resume}: {problem}. Give a folder {like}, not that of "
                "one student, or `auto`."
            )
        if Path(resume).resolve().parent == folder.resolve():
            step = steps_behind(Path(resume))
            if last is not None and step_of(last) > step:
                raise ValueError(
                    f"--resume_from_checkpoint {resume}: {output_dir} holds later ones, the last "
                    f"of step {step_of(last)}, which would stay between those of this run. Delete "
                    f"them, or {other}."
                )
            return resume
    if last is not None or any(folder.glob("*/config.json")) or (folder / "results.json").is_file():
        free = f"{other}, such as {_free_folder(folder)}"
        steps = trained_steps(folder)
        if steps is not None and (folder / "results.json").is_file():
            state = f", finished after {steps} steps"
            way = f"To train anew, {free}"
        elif steps is not None or last is not None:
            state = f", which has come to step {steps_behind(last) if steps is None else steps}"
            way = f"Continue it with --resume_from_checkpoint auto, or {free}"
        elif any(folder.glob("*/config.json")) or (folder / RECORD_FILE).is_file():
            state, way = "", f"It has no complete checkpoint: {free}"
        else:
            raise FolderTaken(
                f"{output_dir} holds a results.json, which a run would write over, and no run: "
                f"{free}."
            )
        raise FolderTaken(f"{output_dir} already holds a run{state}. {way}.")
    return resume


def _free_folder(taken: Path) -> Path:
    """One beside it that is not there."""
    numbered = (taken.with_name(f"{taken.name}-{i}") for i in itertools.count(2))
    return next(folder for folder in numbered if not folder.exists())


def _complete_from_last(folder: Path, warn: bool) -> Iterator[Path]:
    for path in reversed(checkpoints_of(folder)):
        problem = problem_of(path, contents=True)
        if problem is None:
            yield path
        elif warn:
            logger.warning(f"{path} is skipped, since it is no complete checkpoint: {problem}.")
