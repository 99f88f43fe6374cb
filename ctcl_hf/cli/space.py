"""Show two students on images of yours: on this machine, or in a Space in which anyone can try them
(pip install 'ctcl-hf[space]').

ctcl-hf space runs/camvid-paper-ctcl
ctcl-hf space me/ctcl-camvid me/ctcl-camvid-cnn me/ctcl-camvid-vit --trust_remote_code
"""

import json
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from ..base.extras import require
from ..base.heartbeat import alive
from ..base.hub_access import (
    from_cache_unless_hub_answers,
    refuse_missing_folder,
    refuse_near_folder,
)
from .ending import hide_bars_without_terminal, told
from .parser import command_parser
from .students import refuse_without_students, students_of_run

EXAMPLES = "images"  # folder of the app's own, and of a Space's
LAST_PORT = 65535


def main() -> None:
    parser = command_parser(
        __doc__, "%(prog)s RUN | STUDENT STUDENT | USER/NAME USER/STUDENT USER/STUDENT [options]"
    )
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="A run of two students, or two students, each a folder or a Hub id: shown here, by a "
        "browser. Or the name of a Space, which is made if it does not exist, and two students on "
        "the Hub: published there.",
    )
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="Run the code beside the weights, which a DeepLabV3+ needs where ctcl_hf is not "
        "installed, as in a Space.",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help="Images to choose from, in place of three street scenes.",
    )
    parser.add_argument(
        "--port", type=int, help="Of the page on this machine: the first free one from 7860 on."
    )
    parser.add_argument("--private", action="store_true", help="Make a new Space private.")
    arguments = parser.parse_args()
    names, is_published = arguments.names, len(arguments.names) == 3
    if len(names) > 3:
        parser.error(f"expected a run, two students, or a Space and two, got {' '.join(names)}.")
    if is_published and arguments.port is not None:
        parser.error(f"--port has no effect on a Space, as which {names[0]} is meant.")
    if arguments.port is not None and not 1 <= arguments.port <= LAST_PORT:
        parser.error(f"--port {arguments.port}: expected 1 to {LAST_PORT}.")
    if arguments.private and not is_published:
        parser.error("--private has no effect without a Space: USER/NAME and two students.")
    with (
        told(ValueError, OSError, ImportError),
        as_file(files("ctcl_hf.publishing") / "space") as app,
    ):
        require("space", "gradio")
        examples = arguments.examples or app / EXAMPLES
        trusted = arguments.trust_remote_code
        if is_published:
            private = arguments.private or None
            push_space(app, names[0], names[1:], private, trusted, examples)
        else:
            show(shown_students(names), trusted, examples, arguments.port)


def shown_students(names: Sequence[str]) -> list[str]:
    """Folders or Hub ids: the two that are named, or those of the run that is. ValueError or
    OSError: there are others.
    """
    for name in names:
        refuse_missing_folder(name)
        refuse_near_folder(name)
        refuse_without_students(name)
    if len(names) == 2:
        return list(names)
    found = students_of_run(Path(names[0]))
    if len(found) != 2:
        raise ValueError(
            f"{names[0]}: expected the folder of a run of two students. To show two others, give "
            "both; for a Space, its name and both students' on the Hub."
        )
    return [str(student) for student in found]


def show(
    students: Sequence[str], trust_remote_code: bool, examples: Path, port: int | None
) -> None:
    """The page on this machine, until Ctrl-C."""
    from ..publishing.space.facts import images_in

    images_in(examples)  # what is none is told before all else is imported
    with alive("starting"):
        from ..publishing.space.app import demo, serve

        hide_bars_without_terminal()
        local = all(Path(name).is_dir() for name in students)
        with nullcontext() if local else from_cache_unless_hub_answers():
            page = demo(list(students), trust_remote_code, examples)
    address = serve(page, port, examples, waits=False)
    print(f"{' and '.join(students)}: {address} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    page.close(verbose=False)


def push_space(
    app: Path,
    space: str,
    students: list[str],
    private: bool | None,
    trust_remote_code: bool,
    examples: Path,
) -> None:
    """Commits the app of a folder, its settings, its card and a folder of examples to a Space."""
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
    from ..publishing.space.facts import images_in, named

    if "/" not in space or not is_name_on_hub(space):
        raise ValueError(f"{space} is no USER/NAME of the Hub, which a Space needs.")
    for student in students:
        if Path(student).is_dir() or "/" not in student or not is_name_on_hub(student):
            raise ValueError(
                f"{student} is no USER/STUDENT of the Hub: publish the students of a run first "
                "(ctcl-hf push FOLDER), and give their names there. To show them on this machine: "
                f"ctcl-hf space {shlex.join(students)}"
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
            sdk_version=version("gradio"),
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
