"""Students of a family of one's own, which a command line names as FILE.py:NAME."""

from collections.abc import Iterable, Sequence

from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING as SEGMENTATION,
)

from ..base.registry import origin_of, own_code
from . import STUDENTS, Student

FAMILIES = ("cnn", "vit", "hybrid")


def own_student(
    reference: str, class_names: Sequence[str], image_size: tuple[int, int], from_scratch: bool
) -> Student:
    """A student of the family that the command line has named, made by its `new`: see there.

    Its architecture is known to transformers' Auto classes from then on, and its family where its
    folder is read again.

    Raises:
        ValueError: nothing of that name, or a student that is not for these classes, or that nobody
            could load.
    """
    if reference not in STUDENTS:
        raise ValueError(f"{reference}: {STUDENTS.refusal(reference)}.")
    family = STUDENTS[reference]
    with own_code(reference):
        student = family.new(class_names, image_size, from_scratch)
    if type(student) is not family:
        raise ValueError(
            f"{reference}: its new must return a {family.__name__}, got a {type(student).__name__}."
        )
    with own_code(reference):
        kind, _ = student.family, student.description  # which every family must say
    if kind not in FAMILIES:
        raise ValueError(f"{reference}: its family is {kind!r}: one of {', '.join(FAMILIES)}.")
    config = student.config
    if config.id2label != dict(enumerate(class_names)):
        raise ValueError(
            f"{reference}: its student knows the classes {_some(config.id2label.values())}, not "
            f"{_some(class_names)}: give its configuration id2label and label2id of the "
            "class_names."
        )
    _make_known(reference, student.model)
    if config.model_type not in STUDENTS:
        STUDENTS[config.model_type] = family
    if student.origin is None:
        student.origin = "random weights" if from_scratch else origin_of(family)
    return student


def _make_known(reference: str, model: PreTrainedModel) -> None:
    """To the Auto classes, by which a student's folder is read.

    ValueError if they would read another, or none.
    """
    config, kind = type(model.config), model.config.model_type
    # of transformers, or made known before
    if config in SEGMENTATION and SEGMENTATION[config] is type(model):
        return
    if kind in CONFIG_MAPPING:
        raise ValueError(
            f"{reference}: a folder of model_type {kind!r} is read as that of transformers' "
            f"{kind}, not as a {type(model).__name__}. Give your model a configuration class of "
            "its own, with another model_type."
        )
    if model._auto_class is None or config._auto_class is None:
        raise ValueError(
            f"{reference}: {type(model).__name__} is no architecture of transformers, so that "
            "nobody could load what is saved of it. Have its code saved beside the weights, by two "
            f"lines below it: {config.__name__}.register_for_auto_class() and "
            f"{type(model).__name__}.register_for_auto_class('AutoModelForSemanticSegmentation')."
        )
    AutoConfig.register(kind, config)
    AutoModelForSemanticSegmentation.register(config, type(model))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f", ... {len(names)} in all" if len(names) > 4 else "")
