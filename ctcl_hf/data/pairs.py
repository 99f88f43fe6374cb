"""Images and masks on disk, paired by their names."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.files import problem_of_name
from ..base.tables import counted

if TYPE_CHECKING:
    import datasets

# what is expected beside images
TEXT_SUFFIXES = (".txt", ".csv", ".json", ".md", ".xml", ".yaml", ".yml")
HIDDEN = (".", "__MACOSX", "@eaDir")  # .ipynb_checkpoints, ._a.png; what Macs and network disks add
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


# for which files are left out that were meant to be used
LACKS = ("without a mask", "without an image", "listed but missing")


class Incomplete(ValueError):
    """What is missing does not keep the files that are there from being read."""


class Unpaired(Incomplete):
    """Images or masks lack their counterparts, and others have them."""


class LeftOut:
    """What lies among the files of a data set and is not taken, by reason."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths: dict[str, set[Path]] = {}

    def add(self, reason: str, path: Path) -> None:
        self.paths.setdefault(reason, set()).add(path)

    def __str__(self) -> str:
        """Nothing, or "; " and the `sentence`."""
        return f"; {self.sentence}" if self.paths else ""

    @property
    def sentence(self) -> str:
        """`left out: 2 hidden (.ipynb_checkpoints, ...)`; nothing if there is nothing."""
        parts = []
        for reason, paths in sorted(self.paths.items()):
            names = [
                str(path.relative_to(self.folder))
                for path in sorted(paths)
                if path.is_relative_to(self.folder)
            ]
            parts.append(f"{len(paths)} {reason} ({_first(names)})")
        return f"left out: {', '.join(parts)}" if parts else ""


def image_files(
    folder: Path,
    ending: str = "",
    below: bool = False,
    left_out: LeftOut | None = None,
    unique: bool = True,
) -> dict[str, str]:
    """Paths of a folder's images by their names without `ending` and suffix.

    With `below` the folders in it count as well, links to folders too, and names begin with the
    path to them. What is hidden (.ipynb_checkpoints, ._a.png) or no image is passed over, and noted
    in `left_out`. ValueError if two images have one name and `unique` is asked for.
    """
    left_out = left_out or LeftOut(folder)
    found: dict[str, str] = {}
    for path in files_in(folder, below, left_out):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            if path.suffix.lower() not in TEXT_SUFFIXES:
                left_out.add("of another kind", path)
            continue
        if not path.stem.endswith(ending):
            continue
        if (problem := problem_of_name(str(path))) is not None:
            raise ValueError(problem)
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        if name in found and unique:
            raise ValueError(f"{path} and {found[name]} have one name: which of them is meant?")
        found[name] = str(path)
    return found


def files_in(folder: Path, below: bool, left_out: LeftOut) -> Iterator[Path]:
    """What is no folder and not hidden, in order.

    A link to a folder that has been seen is not followed again.
    """
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here, real = Path(root), os.path.realpath(root)
        if real in seen:
            left_out.add("linked twice", here)
            folders.clear()
            continue
        seen.add(real)
        for name in (*folders, *files):
            if name.startswith(HIDDEN):
                left_out.add("hidden", here / name)
        folders[:] = sorted(name for name in folders if below and not name.startswith(HIDDEN))
        yield from (here / name for name in sorted(files) if not name.startswith(HIDDEN))


def paired_rows(
    images: Mapping[str, str], masks: Mapping[str, str], what: str, left_out: LeftOut | None = None
) -> "datasets.Dataset":
    """Rows of image and label, decoded when read, in the order of their names.

    Unpaired if an image or a mask lacks its counterpart, unless those are to be noted in
    `left_out`, and ValueError if all do or there are none; `what` says whose they are.
    """
    if not images and not masks:
        raise ValueError(f"{what}: no images were found.")
    lonely = {
        ("image", "without a mask"): [images[name] for name in sorted(images.keys() - masks)],
        ("mask", "without an image"): [masks[name] for name in sorted(masks.keys() - images)],
    }
    names = sorted(images.keys() & masks)
    if any(lonely.values()) and (left_out is None or not names):
        found = " and ".join(
            f"{counted(len(paths), kind)} {lack} ({_first(paths)})"
            for (kind, lack), paths in lonely.items()
            if paths
        )
        raise (Unpaired if names else ValueError)(f"{what}: {found}.")
    for (_, lack), paths in lonely.items():
        for path in paths:
            left_out.add(lack, Path(path))
    return lazy_rows(image=[images[name] for name in names], label=[masks[name] for name in names])


def lazy_rows(**paths: list[str]) -> "datasets.Dataset":
    """Rows of images of which only the paths are held."""
    import datasets

    features = datasets.Features({column: datasets.Image() for column in paths})
    return datasets.Dataset.from_dict(paths, features=features)


def read_list(path: Path) -> list[str]:
    """Names of a split's list, one on a line, which may hold spaces; quotes around one are dropped.

    ValueError names a list that is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise ValueError(f"{path} is not UTF-8: save it so ({error}).") from error
    return [line.strip().strip('"') for line in text.splitlines() if line.strip()]


def listed(
    names: Iterable[str], files: Mapping[str, str], source: Path, left_out: LeftOut | None = None
) -> dict[str, str]:
    """Those of `files` that a split's list names.

    Unpaired if one is missing, unless to be noted in `left_out`.
    """
    names = list(names)
    missing = [name for name in names if name not in files]
    if missing and left_out is None:
        raise Unpaired(
            f"{source} names {counted(len(names), 'file')}, of which {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing ({_first(missing)})."
        )
    for name in missing:
        left_out.add("listed but missing", left_out.folder / name)
    return {name: files[name] for name in names if name in files}


def existing_folder(data_dir: str | None, inside: str, name: str) -> Path:
    """`data_dir`, or the folder in it, that holds `inside`. ValueError says what was expected."""
    if data_dir is None:
        raise ValueError(
            f"{name} cannot be downloaded without its licence: give a local copy as --data_dir."
        )
    folder = Path(data_dir)
    if not folder.is_dir():
        raise ValueError(f"--data_dir {data_dir} is no folder. Expected one with {inside}/ in it.")
    for candidate in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        if (candidate / inside).is_dir():
            return candidate
    raise ValueError(
        f"--data_dir {data_dir}: found no {inside}/ in it, which {name} has. Data of your own are "
        f"--dataset_name {data_dir}."
    )


def _first(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
