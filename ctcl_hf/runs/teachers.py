"""From what `--teachers` names to frozen teachers: any segmentation model, of a folder or the
Hub.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES

from ..base.hub_access import is_name_on_hub, near_folder, refuse_near_folder
from ..scoring.predict import asked, load_for_inference
from ..students import Student, as_student
from ..students.queries import QUERY_TYPES, QueryStudent
from ..students.teacher import Teacher, own_size
from ..students.teacher_classes import members_by_map, members_by_name, read_label_map


def load_teacher(
    name: str,
    class_names: Sequence[str],
    crop_size: tuple[int, int],
    label_map: Mapping[str, str] | None = None,
) -> Teacher:
    """A segmentation model to learn from, of any architecture that transformers or this package
    has, semantic or universal.

    Code beside its weights is not run. It normalises by its own image processor, and sees the
    students' crops, resized where its architecture knows one size.

    Args:
        name: a folder, or a Hub id.
        class_names: the students' classes, which its own are brought to: by their names, of any
            case, spaces, "_" and "-", or by the map.
        crop_size: (height, width) in pixels of the images that it will be shown.
        label_map: {name or id of a class of its own: name of one of `class_names`}. Several may be
            one, whose probabilities are summed; the others are left out. A class that none is
            mapped to it does not teach.

    Raises:
        OSError: no such model, or not the whole of it.
        ValueError: classes that do not match, or a model that segments nothing, or not at this
            size.
    """
    model = _segmenter(name)
    try:
        members = (
            members_by_name(class_names, model.class_names)
            if label_map is None
            else members_by_map(class_names, model.class_names, label_map)
        )
    except ValueError as error:
        raise ValueError(f"{name} cannot teach {len(class_names)} classes: {error}.") from None
    return Teacher(model, members, own_size(model, crop_size))


def _segmenter(name: str) -> Student:
    kind = _model_type(name)
    if kind not in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES:
        return as_student(*load_for_inference(name, AutoModelForSemanticSegmentation))
    if kind not in QUERY_TYPES:
        raise ValueError(
            f"{name} is a {kind}, of which no class map is made here: of universal segmentation "
            f"{', '.join(QUERY_TYPES)} can teach."
        )
    return QueryStudent(*load_for_inference(name, AutoModelForUniversalSegmentation))


def _model_type(name: str) -> str | None:
    """None of what cannot be read, which is told where it is read whole."""
    try:
        with asked(name):
            return AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
    except (ValueError, OSError, StrictDataclassError):
        return None


def check_teacher(name: str) -> None:
    """ValueError if `--teachers` names what is neither a model, nor a run, nor a Hub id;
    FileNotFoundError as `refuse_near_folder`.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not _students_in(name):
            raise ValueError(
                f"--teachers {name}: no students there. Give the output folder of a finished "
                "--method vanilla run, or a segmentation model's folder or Hub id."
            )
    elif not is_name_on_hub(name):
        raise ValueError(
            f"--teachers {name}: there is no such folder, and it is no Hub id.{near_folder(name)}"
        )
    refuse_near_folder(name)


def _students_in(name: str) -> list[str]:
    """The students in a run's output folder; none in a model's own."""
    if Path(name, "config.json").is_file():
        return []
    return sorted(path.parent.name for path in Path(name).glob("*/config.json"))


def load_teachers(
    names: Sequence[str],
    label_maps: Sequence[str] | None,
    students: Sequence[str],
    class_names: Sequence[str],
    crop_size: tuple[int, int],
    tell: bool = False,
) -> tuple[Teacher, ...]:
    """Each student's teacher, as `--teachers` and `--teacher_label_map` say; errors are
    `load_teacher`'s, and ValueError for a run's folder where there are more students than two.

    Args:
        names: one for all students, or one each. Of a run's output folder alone, each of two learns
            from the student of the other's name.
        label_maps: files: none, one for all, or one for each of `names`.
        students: their names.
        tell: whether what each learns from is printed.
    """
    maps = [read_label_map(file) for file in label_maps or ()] or [None]
    of_students = [(name, maps[i % len(maps)]) for i, name in enumerate(names)]
    if len(names) == 1 and _students_in(names[0]):
        if len(students) > 2:
            raise ValueError(
                f"--teachers {names[0]}: a run's folder holds a teacher for each of two students, "
                f"and these are {len(students)}. Give one model, such as "
                f"{Path(names[0]) / _students_in(names[0])[0]}, or one for each."
            )
        of_students = [
            (str(Path(names[0]) / peer), label_map)
            for peer in reversed(students)
            for _, label_map in of_students
        ]
    if len(of_students) == 1:
        of_students = of_students * len(students)
    distinct = [own for i, own in enumerate(of_students) if own not in of_students[:i]]
    loaded = [load_teacher(name, class_names, crop_size, label_map) for name, label_map in distinct]
    if tell:
        for own, teacher in zip(distinct, loaded, strict=True):
            learners = [name for name, of in zip(students, of_students, strict=True) if of == own]
            told = told_of(teacher, class_names)
            print(f"Teacher of {' and '.join(learners)}: {own[0]}, {told}")
    return tuple(loaded[distinct.index(own)] for own in of_students)


def told_of(teacher: Teacher, class_names: Sequence[str]) -> str:
    """Sentences on a teacher: what it is, how its classes are the students', and its size."""
    told = [f"a {teacher.model.description}."]
    if teacher.members is not None:
        own = teacher.model.class_names
        used = {i for members in teacher.members for i in members}
        merged = [
            f"{name} is its {' + '.join(own[i] for i in members)}"
            for name, members in zip(class_names, teacher.members, strict=True)
            if len(members) > 1
        ]
        told.append(f"{len(used)} of its {len(own)} classes are the data's.")
        told += [f"Merged: {'; '.join(merged)}."] if merged else []
        lacking = [
            name for name, members in zip(class_names, teacher.members, strict=True) if not members
        ]
        if lacking:
            told.append(
                f"It lacks {', '.join(lacking)}: where the label is such, it does not teach."
            )
    if teacher.size is not None:
        told.append(
            f"It reads images of {teacher.size[0]}x{teacher.size[1]}, to which crops are resized."
        )
    return " ".join(told)
