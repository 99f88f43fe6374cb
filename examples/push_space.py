"""Publish a Space in which anyone can try two released students (pip install -e '.[space]').

python examples/push_space.py me/ctcl-camvid me/ctcl-camvid-cnn me/ctcl-camvid-vit --trust_remote_code
"""

import argparse
import json
import sys
from pathlib import Path

SPACE = Path(__file__).parent / "space"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("space", metavar="USER/NAME", help="The Space; made if it does not exist.")
    parser.add_argument("students", nargs=2, metavar="USER/STUDENT", help="The two students' repositories.")
    parser.add_argument("--private", action="store_true", default=None, help="Make a new Space private.")
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="Let the Space run the code beside the weights, which a DeepLabV3+ needs.",
    )
    arguments = parser.parse_args()
    try:
        push_space(arguments.space, arguments.students, arguments.private, arguments.trust_remote_code)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def push_space(space: str, students: list[str], private: bool | None, trust_remote_code: bool) -> None:
    import gradio
    from huggingface_hub import CommitOperationAdd, HfApi, SpaceCard, SpaceCardData, constants

    from ctcl_hf.data import images
    from ctcl_hf.publishing.hub import Repository, check_access

    check_access([Repository(space, private, kind="space")])
    if missing := [student for student in students if not HfApi().repo_exists(student)]:
        raise ValueError(f"{constants.ENDPOINT} has no model {' and no '.join(missing)}: publish the students first.")
    card = SpaceCard.from_template(
        SpaceCardData(
            title=" and ".join(student.split("/")[-1] for student in students),
            sdk="gradio",
            sdk_version=gradio.__version__,
            app_file="app.py",
            models=students,
        ),
        template_str=(SPACE / "README.md").read_text(),
        students=students,
    )
    settings = {"students": students, "trust_remote_code": trust_remote_code}
    operations = [
        CommitOperationAdd("README.md", str(card).encode()),
        CommitOperationAdd("images.py", images.__file__),
        CommitOperationAdd("settings.json", json.dumps(settings, indent=2).encode()),
        *(
            CommitOperationAdd(path.relative_to(SPACE).as_posix(), path)
            for path in sorted(SPACE.rglob("*"))
            if path.is_file() and path.name != "README.md" and "__pycache__" not in path.parts
        ),
    ]
    commit = HfApi().create_commit(space, operations, repo_type="space", commit_message="Show two students")
    print(f"{Repository(space, kind='space').url} at commit {commit.oid[:12]}")


if __name__ == "__main__":
    main()
