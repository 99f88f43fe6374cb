"""Short whole runs on a few images, made, killed and looked at."""

import json

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.runs.run import complete, prepare

from .commands import TINY
from .pictures import ids, picture, save

SHORT = (
    *TINY,
    *(
        "--disable_tqdm",
        "True",
        "--eval_strategy",
        "no",
    ),
    *("--run_name", "https://me:passphrase@hub.example/street"),
)
SAVING = ("--save_strategy", "steps", "--save_steps", "1")  # unless a test says how
STEPS = ("--max_steps", "2")  # of four an epoch
AGAIN = ("--resume_from_checkpoint", "auto")


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def killed(*args, **kwargs):
    raise Killed


def few_images(folder):
    """Options of a run on a few images, which lie in `folder` then, and are always the same."""
    for split, number in (("train", 8), ("validation", 4)) if not folder.exists() else ():
        for i in range(number):
            picture(folder / split / "images" / f"{i}.jpg", i)
            save(folder / split / "masks" / f"{i}.png", ids(0, 1, 2, 255))
    named = ("--class_names", "ground", "tree", "water")
    return ["--dataset_name", str(folder), "--image_size", "32", "48", *named]


def prepared(folder, *arguments):
    """A run in `folder`, on a few images that lie beside it."""
    saving = () if "--save_strategy" in arguments else SAVING
    options = [*SHORT, *saving, *STEPS, *few_images(folder.parent / "data"), *arguments]
    return prepare(parse_arguments("", [*options, "--output_dir", str(folder)]))


def go(folder, *arguments):
    return complete(prepared(folder, *arguments))


def files(folder):
    """Contents and times of all files but the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in paths
    }


def results(folder):
    return json.loads((folder / "results.json").read_text())
