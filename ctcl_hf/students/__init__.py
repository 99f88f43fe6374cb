"""Students. A new family is one file with a subclass of `Student`, and one line in `STUDENTS`."""

from typing import TYPE_CHECKING, Any

from .._lazy import lazy_names
from ..base.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.image_processing_utils import BaseImageProcessor


def _problem(family: Any) -> str | None:
    """What is wrong with a family of one's own."""
    from .student import Student

    if not (isinstance(family, type) and issubclass(family, Student)):
        return "expected a subclass of ctcl_hf.Student"
    before = family.__mro__[: family.__mro__.index(Student)]
    if not any("new" in vars(kind) for kind in before):
        return (
            f"{family.__name__} must say how one is made: a class method new(class_names, "
            "image_size, from_scratch)"
        )
    return None


# model_type of the configuration -> its family of students, as "module:class" of this folder
STUDENTS: "Registry[type[Student]]" = Registry(
    __name__,
    {
        "deeplabv3plus": "deeplabv3plus:DeepLabV3PlusStudent",
        "segformer": "segformer:SegformerStudent",
    },
    kind="family of students",
    problem=_problem,
)

_HOME = {
    "DeepLabV3PlusStudent": "deeplabv3plus",
    "LogitStudent": "logits",
    "SegformerStudent": "segformer",
    "Student": "student",
    "StudentOutput": "student",
}
__all__ = ["STUDENTS", "as_student", *_HOME]
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .deeplabv3plus import DeepLabV3PlusStudent as DeepLabV3PlusStudent
    from .logits import LogitStudent as LogitStudent
    from .segformer import SegformerStudent as SegformerStudent
    from .student import Student as Student
    from .student import StudentOutput as StudentOutput
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)


def as_student(model: "PreTrainedModel", image_processor: "BaseImageProcessor") -> "Student":
    """The model as a student: of its own family, or with its logits alone.

    ValueError if it segments nothing.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    from .logits import LogitStudent

    kind = model.config.model_type
    if kind in STUDENTS:
        return STUDENTS[kind](model, image_processor)
    known = dict.fromkeys([*STUDENTS, *MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES])
    if kind not in known:
        raise ValueError(
            f"A {kind or type(model).__name__} is no model for semantic segmentation: expected one "
            f"of {', '.join(known)}."
        )
    return LogitStudent(model, image_processor)
