"""Publish the two students of a finished run, or finish a push that failed. Says what each
repository got.

ctcl-hf push runs/camvid-paper-ctcl
"""

import argparse
import sys
from pathlib import Path

from .ending import told
from .parser import command_parser
from .students import refuse_without_students


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s FOLDER [options]")
    parser.add_argument(
        "folder", type=Path, help="Output folder of a run, or one of its checkpoints."
    )
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="STUDENT=[USER/]NAME",
        help="Where one student goes, such as cnn=me/my-cnn; once for each. Default: what the run "
        "said or METHOD-DATASET-STUDENT.",
    )
    parser.add_argument(
        "--private", action="store_true", default=None, help="Make new repositories private."
    )
    parser.add_argument(
        "--benchmark",
        nargs=2,
        metavar=("TASK", "UNIT"),
        help="Put the mean IoU on a benchmark's leaderboard, too: a task in eval.yaml of the Hub's "
        "data set that the run was trained on, and how it counts, percent or share.",
    )
    parser.add_argument("--revision", help="Branch to push to. Default: the repository's own.")
    parser.add_argument("--message", default="Upload students", help="Message of the commits.")
    arguments = parser.parse_args()
    with told(ValueError, OSError):
        push(arguments)


def push(arguments: argparse.Namespace) -> None:
    from ..base.files import read_json
    from ..base.hub_access import near_folder
    from ..publishing.benchmark import benchmark_of, write_result
    from ..publishing.card import RECORD_FILE, default_name, rewrite_cards
    from ..publishing.destinations import (
        load_repositories,
        note_commits,
        open_repositories,
        push_noting,
    )

    folder = arguments.folder
    refuse_without_students(str(folder))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.{near_folder(str(folder))}")
    if (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} is one student: give the folder of the run above it, "
            f"{folder.resolve().parent}."
        )
    students = sorted(path.parent.name for path in folder.glob("*/config.json"))
    named = {}
    for text in arguments.repository:
        name, _, repo_id = text.partition("=")
        if name not in students or not repo_id:
            raise ValueError(
                f"--repository {text}: expected STUDENT=[USER/]NAME with one of "
                f"{', '.join(students)}."
            )
        named[name] = repo_id
    wanted = load_repositories(folder) or load_repositories(folder.parent)
    ids = {
        name: named.get(name) or (wanted[name].repo_id if name in wanted else None)
        for name in students
    }
    first = next(iter(wanted.values()), None)
    private = arguments.private
    revision = arguments.revision
    if first is not None:
        private = first.private if private is None else private
        revision = revision or first.revision
    benchmark = None
    if arguments.benchmark is not None:
        path = folder / RECORD_FILE
        if not path.is_file():
            raise ValueError(f"--benchmark: {folder} holds no {RECORD_FILE} with a run's scores.")
        benchmark = benchmark_of(read_json(path), *arguments.benchmark)
    repos = open_repositories(folder, ids, default_name(folder), private=private, revision=revision)
    rewrite_cards(folder, repos)
    if benchmark is not None:
        for name in repos:
            write_result(folder / name, read_json(folder / RECORD_FILE), name, benchmark)
    note_commits(folder, dict.fromkeys(repos))  # what was pushed had other cards

    def report(name, repo, commit):
        print(f"{name:8} {repo.url} at commit {commit.oid[:12]}")

    push_noting(repos, folder, arguments.message, report=report)


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.push`
    sys.argv[0] = "ctcl-hf push"
    main()
