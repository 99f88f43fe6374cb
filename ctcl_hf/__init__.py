"""Train a CNN and a vision transformer together for semantic segmentation, and release both.

Names are imported when they are first used.
"""

from . import models
from ._lazy import lazy_names

__version__ = "0.2.0"

_HOME = {
    "CTCL": "methods",
    "CTCLArguments": "arguments.training",
    "CTCLTrainer": "training.trainer",
    "CWD": "methods",
    "DML": "methods",
    "DATASETS": "data",
    "DeepLabV3PlusConfig": "models",
    "DeepLabV3PlusForSemanticSegmentation": "models",
    "EvaluationTransform": "data",
    "IFVD": "methods",
    "KDCL": "methods",
    "METHODS": "methods",
    "MeanIoU": "metrics",
    "Objective": "methods",
    "OfflineKD": "methods",
    "PeerDistillation": "methods",
    "Protocol": "scoring.protocols",
    "SegmentationData": "data",
    "SegmentationSamples": "data",
    "Student": "students",
    "StudentOutput": "students",
    "StudentPair": "methods.pair",
    "StudentTerms": "methods",
    "TrainingTransform": "data",
    "Vanilla": "methods",
    "build_camvid": "data",
    "build_synthetic": "data",
    "build_ade20k": "data",
    "build_cityscapes": "data",
    "build_own": "data",
    "build_voc": "data",
    "load_student": "students.loading",
    "segment": "scoring.predict",
    "sliding_window_logits": "scoring.predict",
}
__all__ = sorted(_HOME)


__getattr__, __dir__ = lazy_names(__name__, _HOME)

models.register()
