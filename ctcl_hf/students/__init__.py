"""Students. A new family is one file with a subclass of `Student`, and one line in `STUDENTS`."""

from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as SEGMENTATION_TYPES

from .deeplabv3plus import DeepLabV3PlusStudent
from .logits import LogitStudent
from .segformer import SegformerStudent
from .student import Student, StudentOutput

# model_type of the configuration -> its family of students
STUDENTS: dict[str, type[Student]] = {"deeplabv3plus": DeepLabV3PlusStudent, "segformer": SegformerStudent}


def as_student(model: PreTrainedModel, image_processor: BaseImageProcessor) -> Student:
    """The model as a student: of its own family, or with its logits alone. ValueError if it segments nothing."""
    kind = model.config.model_type
    known = dict.fromkeys([*STUDENTS, *SEGMENTATION_TYPES])
    if kind not in known:
        raise ValueError(
            f"A {kind or type(model).__name__} is no model for semantic segmentation: expected one of "
            f"{', '.join(known)}."
        )
    return STUDENTS.get(kind, LogitStudent)(model, image_processor)


__all__ = [
    "STUDENTS",
    "DeepLabV3PlusStudent",
    "LogitStudent",
    "SegformerStudent",
    "Student",
    "StudentOutput",
    "as_student",
]
