"""Which of a teacher's classes is which of the students'."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Of each of the students' classes, the teacher's that are it; () where none is.
Members = tuple[tuple[int, ...], ...]


def same_name(name: str) -> str:
    """A class's name without what class lists of the same classes differ in: case, spaces, "_" and
    "-".
    """
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())


def members_by_name(class_names: Sequence[str], of_teacher: Sequence[str]) -> Members:
    """Each of the students' classes as the one of the teacher's that has its name: `same_name`.

    ValueError names those that the teacher lacks, and names that are not one class's.
    """
    if tuple(class_names) == tuple(of_teacher):
        return tuple((i,) for i in range(len(of_teacher)))
    places = defaultdict(list)
    for i, name in enumerate(of_teacher):
        places[same_name(name)].append(i)
    missing = [name for name in class_names if same_name(name) not in places]
    if missing:
        raise ValueError(
            f"it has no class of the name {_listed(missing)}; its classes are "
            f"{_listed(of_teacher)}. Say which of its classes are which: --teacher_label_map "
            "FILE.json, {TEACHER'S CLASS OR ITS ID: CLASS OF THE DATA}"
        )
    wanted = Counter(map(same_name, class_names))
    doubtful = [
        name
        for name in class_names
        if wanted[same_name(name)] > 1 or len(places[same_name(name)]) > 1
    ]
    if doubtful:
        raise ValueError(
            f"which of its classes is {_listed(doubtful)} is not clear, as several are called so. "
            "Say it: --teacher_label_map FILE.json"
        )
    return tuple(tuple(places[same_name(name)]) for name in class_names)


def members_by_map(
    class_names: Sequence[str], of_teacher: Sequence[str], label_map: Mapping[str, str]
) -> Members:
    """The students' classes as a map from the teacher's to them says; those not in it are left out.

    Args:
        label_map: {name or id of a teacher's class: name of a class}, names as in `same_name`; a
            key is an id only if no class has that name.

    Raises:
        ValueError: classes that are not there, or one of the teacher's mapped twice.
    """
    named = {same_name(name): i for i, name in enumerate(class_names)}
    members: list[list[int]] = [[] for _ in class_names]
    taken: set[int] = set()
    for key, value in label_map.items():
        if not isinstance(value, str) or same_name(value) not in named:
            raise ValueError(
                f"{value!r}, which is to be its {key!r}, is no class of the data: these are "
                f"{_listed(class_names)}"
            )
        places = list(_places(key, of_teacher))
        if len(places) != 1:
            how_many = f"{len(places)} of its classes have" if places else "none of its classes has"
            raise ValueError(
                f"{how_many} the name or the id {key!r}; they are {_listed(of_teacher)}"
            )
        if places[0] in taken:
            raise ValueError(f"its class {key!r} is mapped twice")
        taken.update(places)
        members[named[same_name(value)]] += places
    if not taken:
        raise ValueError("the map is empty, so that it could teach nothing")
    return tuple(tuple(sorted(own)) for own in members)


def _places(key: str, of_teacher: Sequence[str]) -> Iterator[int]:
    """Where a class of this name is; if nowhere, the one of this id."""
    found = [i for i, name in enumerate(of_teacher) if same_name(name) == same_name(key)]
    if not found and key.isdecimal() and int(key) < len(of_teacher):
        found = [int(key)]
    yield from found


def read_label_map(path: str) -> dict[str, str]:
    """A file of `--teacher_label_map`. ValueError if it holds no JSON object."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"--teacher_label_map {path}: {error}") from error
    if not isinstance(told, dict):
        raise ValueError(
            f"--teacher_label_map {path}: expected an object, "
            '{"TEACHER\'S CLASS": "CLASS OF THE DATA"}, got a ' + type(told).__name__
        )
    return told


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where a key occurs twice, of which the first would be lost."""
    repeated = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
    if repeated:
        raise ValueError(f"--teacher_label_map: {_listed(repeated)} is mapped twice.")
    return dict(pairs)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f", ... {len(names)} in all" if len(names) > 30 else "")
