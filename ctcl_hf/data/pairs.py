"""Images and masks on disk, paired by their names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def image_files(folder: Path, ending: str = "", below: bool = False) -> dict[str, str]:
    """Paths of a folder's images by their names without `ending` and suffix; whatever else lies there is passed over.

    With `below` the folders in it count as well, and names begin with the path to them. ValueError if two images have
    one name.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*") if below else folder.glob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.stem.endswith(ending) or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        if name in found:
            raise ValueError(f"{path} and {found[name]} have one name: which of them is meant?")
        found[name] = str(path)
    return found


def paired_rows(images: Mapping[str, str], masks: Mapping[str, str], what: str) -> "datasets.Dataset":
    """Rows of image and label, decoded when read, in the order of their names.

    ValueError if there are none, or if an image or a mask lacks its counterpart; `what` says whose they are.
    """
    if not images and not masks:
        raise ValueError(f"{what}: no images were found.")
    problems = [f"{len(lonely)} {kind} ({_first(lonely)})"
                for kind, lonely in (("images without a mask", [images[n] for n in sorted(images.keys() - masks)]),
                                     ("masks without an image", [masks[n] for n in sorted(masks.keys() - images)]))
                if lonely]  # fmt: skip
    if problems:
        raise ValueError(f"{what}: {' and '.join(problems)}.")
    names = sorted(images)
    return lazy_rows(image=[images[name] for name in names], label=[masks[name] for name in names])


def lazy_rows(**paths: list[str]) -> "datasets.Dataset":
    """Rows of images of which only the paths are held."""
    import datasets

    features = datasets.Features({column: datasets.Image() for column in paths})
    return datasets.Dataset.from_dict(paths, features=features)


def listed(names: Iterable[str], files: Mapping[str, str], source: Path) -> dict[str, str]:
    """Those of `files` that a split's list names. ValueError if one is missing."""
    names = list(names)
    if missing := [name for name in names if name not in files]:
        raise ValueError(f"{source} names {len(names)} files, of which {len(missing)} are missing ({_first(missing)}).")
    return {name: files[name] for name in names}


def existing_folder(data_dir: str | None, inside: str, name: str) -> Path:
    """`data_dir`, or the folder in it, that holds `inside`. ValueError says what was expected."""
    if data_dir is None:
        raise ValueError(f"--dataset {name} cannot be downloaded without its licence: give a local copy as --data_dir.")
    folder = Path(data_dir)
    if not folder.is_dir():
        raise ValueError(f"--data_dir {data_dir} is no folder. Expected one with {inside}/ in it.")
    for candidate in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        if (candidate / inside).is_dir():
            return candidate
    raise ValueError(f"--data_dir {data_dir}: found no {inside}/ in it, which {name} has.")


def _first(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
