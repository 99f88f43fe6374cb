"""What is known of the page before models are loaded: its title, and the images to choose from.

Lies beside `app.py` in a Space, with the package's reader of images.
"""

import re
from itertools import takewhile
from pathlib import Path

from PIL import Image

try:
    from ctcl_hf.data.images import check_image
except ImportError:
    from images import check_image


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that are named as images are; what else lies there, such as Thumbs.db,
    is left alone.

    ValueError names the first that is no image.
    """
    if not folder.is_dir():
        what = " is a file" if folder.is_file() else ": there is no such folder"
        raise ValueError(f"--examples {folder}{what}: give a folder of images.")
    kinds = Image.registered_extensions()
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
        for path in files:
            check_image(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"--examples {folder}: {error}") from error
    return files


def named(students: list[str]) -> tuple[str, list[str]]:
    """A title for two students, and what tells one from the other: "ctcl-camvid: cnn and vit" of
    me/ctcl-camvid-cnn and me/ctcl-camvid-vit, or of runs/ctcl-camvid/cnn and runs/ctcl-camvid/vit.
    """
    students = [student.rstrip("/") for student in students]
    parts = zip(*(re.split(r"(?<=[-/])", student) for student in students), strict=False)
    same = "".join(first for first, second in takewhile(lambda pair: pair[0] == pair[1], parts))
    names = [student[len(same) :] for student in students]
    if names[0] == names[1]:
        return " and ".join(students), students
    shared = same.rstrip("-/").split("/")[-1]
    return (f"{shared}: " if shared else "") + " and ".join(names), names
