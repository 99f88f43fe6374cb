"""Short whole runs on a few images, made, killed and looked at."""

import json

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.runs.run import complete, prepare

from .commands import TINY
from .pictures import ids, picture, save

# Four steps are an epoch of the drawn data, so that these two are no multiple of it.
SHORT = (
    *(
        *TINY,
        "--image_size",
        "32",
        "48",
        "--class_names",
        "ground",
        "tree",
        "water",
    ),
    *(
        "--disable_tqdm",
        "True",
        "--eval_strategy",
        "no",
        "--save_strategy",
        "steps",
        "--save_steps",
        "1",
    ),
    *("--hub_token", "hf_writer", "--run_name", "https://me:passphrase@hub.example/street"),
)
STEPS = ("--max_steps", "2")
AGAIN = ("--resume_from_checkpoint", "auto")


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def killed(*args, **kwargs):
    raise Killed


def prepared(folder, *arguments):
    """A run in `folder`, on a few images that lie beside it and are always the same."""
    data = folder.parent / "data"
    for split, number in (("train", 8), ("validation", 4)) if not data.exists() else ():
        for i in range(number):
            picture(data / split / "images" / f"{i}.jpg", i)
            save(data / split / "masks" / f"{i}.png", ids(0, 1, 2, 255))
    options = [*SHORT, *STEPS, "--dataset_name", str(data), *arguments, "--output_dir", str(folder)]
    return prepare(parse_arguments("", options))


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
