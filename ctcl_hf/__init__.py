"""Train a CNN and a vision transformer together for semantic segmentation, and release both.

Names are imported when first used; only the models are imported at once, which makes them known to transformers'
Auto classes and pipelines.
"""

import importlib

from . import models  # noqa: F401

__version__ = "0.1.0"

_HOME = {
    "CTCL": "methods",
    "CTCLArguments": "arguments",
    "CTCLTrainer": "trainer",
    "DATASETS": "data",
    "DeepLabV3PlusConfig": "models",
    "DeepLabV3PlusForSemanticSegmentation": "models",
    "EvaluationTransform": "data",
    "METHODS": "methods",
    "MeanIoU": "metrics",
    "Objective": "methods",
    "SegmentationData": "data",
    "SegmentationSamples": "data",
    "Student": "students",
    "StudentOutput": "students",
    "StudentPair": "pair",
    "StudentTerms": "methods",
    "Vanilla": "methods",
    "build_camvid": "data",
    "build_synthetic": "data",
    "load_student": "loading",
    "segment": "inference",
    "TrainingTransform": "data",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
