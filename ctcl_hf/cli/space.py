"""Publish a Space in which anyone can try two released students (pip install 'ctcl-hf[space]').

ctcl-hf space me/ctcl-camvid me/ctcl-camvid-cnn me/ctcl-camvid-vit --trust_remote_code
"""

import json
import shlex
import sys
from importlib.resources import as_file, files
from pathlib import Path

from ..base.extras import require
from .ending import told
from .parser import command_parser

EXAMPLES = "images"  # folder of the app's own, and of a Space's


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s USER/NAME USER/STUDENT USER/STUDENT [options]")
    parser.add_argument("space", metavar="USER/NAME", help="The Space; made if it does not exist.")
    parser.add_argument(
        "students", nargs="+", metavar="USER/STUDENT", help="The two students' repositories."
    )
    parser.add_argument(
        "--private", action="store_true", default=None, help="Make a new Space private."
    )
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="Let the Space run the code beside the weights, which a DeepLabV3+ needs.",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help="Images to choose from, in place of three street scenes.",
    )
    arguments = parser.parse_args()
    if len(arguments.students) != 2:
        parser.error(f"expected two students, got {' '.join(arguments.students)}.")
    with (
        told(ValueError, OSError, ImportError),
        as_file(files("ctcl_hf.publishing") / "space") as app,
    ):
        require("space", "gradio")
        push_space(
            app,
            arguments.space,
            arguments.students,
            arguments.private,
            arguments.trust_remote_code,
            arguments.examples or app / EXAMPLES,
        )


def push_space(
    app: Path,
    space: str,
    students: list[str],
    private: bool | None,
    trust_remote_code: bool,
    examples: Path,
) -> None:
    """Commits the app of a folder, its settings, its card and a folder of examples to a Space."""
    import gradio
    from huggingface_hub import (
        CommitOperationAdd,
        CommitOperationDelete,
        HfApi,
        SpaceCard,
        SpaceCardData,
    )

    from ..base.hub_access import is_name_on_hub, shown_endpoint
    from ..data import images
    from ..publishing.hub import Repository, check_access
    from ..publishing.space.app import images_in, named

    if "/" not in space or not is_name_on_hub(space):
        raise ValueError(f"{space} is no USER/NAME of the Hub, which a Space needs.")
    for student in students:
        if Path(student).is_dir() or "/" not in student or not is_name_on_hub(student):
            raise ValueError(
                f"{student} is no USER/STUDENT of the Hub: publish the students of a run first "
                "(ctcl-hf push FOLDER), and give their names there. On this machine: python -m "
                f"ctcl_hf.publishing.space.app {shlex.join(students)}"
            )
    chosen = images_in(examples)
    if not chosen:
        raise ValueError(f"--examples {examples}: there is no image.")
    check_access([Repository(space, private, kind="space")])
    api = HfApi()
    if missing := [student for student in students if not api.repo_exists(student)]:
        raise ValueError(
            f"{shown_endpoint()} has no model {' and no '.join(missing)}: publish the students "
            "of a run first (ctcl-hf push FOLDER), and give their names on the Hub."
        )
    card = SpaceCard.from_template(
        SpaceCardData(
            title=named(students)[0],
            sdk="gradio",
            sdk_version=gradio.__version__,
            app_file="app.py",
            models=students,
        ),
        template_str=(app / "README.md").read_text(encoding="utf-8"),
        students=students,
    )
    settings = {
        "students": students,
        # What is shown, and whose code is run, stays what it is now.
        "revisions": [api.model_info(student).sha for student in students],
        "trust_remote_code": trust_remote_code,
    }
    added = {"images.py": images.__file__}
    added |= {f"{EXAMPLES}/{path.name}": path for path in chosen}
    added |= {path.name: path for path in app.iterdir() if path.suffix in (".py", ".txt")}
    before = api.list_repo_files(space, repo_type="space")
    operations = [
        CommitOperationAdd("README.md", str(card).encode()),
        CommitOperationAdd("settings.json", json.dumps(settings, indent=2).encode()),
        *(CommitOperationAdd(place, path) for place, path in sorted(added.items())),
        *(
            CommitOperationDelete(place)
            for place in before
            if place.startswith(f"{EXAMPLES}/") and place not in added
        ),
    ]
    commit = api.create_commit(
        space, operations, repo_type="space", commit_message="Show two students"
    )
    print(f"{Repository(space, kind='space').url} at commit {commit.oid[:12]}")


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.space`
    sys.argv[0] = "ctcl-hf space"
    main()
