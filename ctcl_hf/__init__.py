"""Train a CNN and a vision transformer together for semantic segmentation, and release both.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from . import models
from ._lazy import lazy_names

__version__ = "0.2.0"

_HOME = {
    "BPKD": "methods",
    "CTCL": "methods",
    "CTCLArguments": "arguments.training",
    "CTCLTrainer": "training.trainer",
    "CWD": "methods",
    "DIST": "methods",
    "DML": "methods",
    "DATASETS": "data",
    "DeepLabV3PlusConfig": "models",
    "DeepLabV3PlusForSemanticSegmentation": "models",
    "EvaluationTransform": "data",
    "FeatureKD": "methods",
    "HeteroAKD": "methods",
    "IFVD": "methods",
    "KDCL": "methods",
    "METHODS": "methods",
    "MeanIoU": "metrics",
    "Objective": "methods",
    "OfflineKD": "methods",
    "PeerObjective": "methods",
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
    "load_teacher": "runs.teachers",
    "segment": "scoring.predict",
    "sliding_window_logits": "scoring.predict",
}
__all__ = sorted(_HOME)

# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .arguments.training import CTCLArguments as CTCLArguments
    from .data import DATASETS as DATASETS
    from .data import EvaluationTransform as EvaluationTransform
    from .data import SegmentationData as SegmentationData
    from .data import SegmentationSamples as SegmentationSamples
    from .data import TrainingTransform as TrainingTransform
    from .data import build_ade20k as build_ade20k
    from .data import build_camvid as build_camvid
    from .data import build_cityscapes as build_cityscapes
    from .data import build_own as build_own
    from .data import build_synthetic as build_synthetic
    from .data import build_voc as build_voc
    from .methods import BPKD as BPKD
    from .methods import CTCL as CTCL
    from .methods import CWD as CWD
    from .methods import DIST as DIST
    from .methods import DML as DML
    from .methods import IFVD as IFVD
    from .methods import KDCL as KDCL
    from .methods import METHODS as METHODS
    from .methods import FeatureKD as FeatureKD
    from .methods import HeteroAKD as HeteroAKD
    from .methods import Objective as Objective
    from .methods import OfflineKD as OfflineKD
    from .methods import PeerObjective as PeerObjective
    from .methods import StudentTerms as StudentTerms
    from .methods import Vanilla as Vanilla
    from .methods.pair import StudentPair as StudentPair
    from .metrics import MeanIoU as MeanIoU
    from .models import DeepLabV3PlusConfig as DeepLabV3PlusConfig
    from .models import DeepLabV3PlusForSemanticSegmentation as DeepLabV3PlusForSemanticSegmentation
    from .runs.teachers import load_teacher as load_teacher
    from .scoring.predict import segment as segment
    from .scoring.predict import sliding_window_logits as sliding_window_logits
    from .scoring.protocols import Protocol as Protocol
    from .students import Student as Student
    from .students import StudentOutput as StudentOutput
    from .students.loading import load_student as load_student
    from .training.trainer import CTCLTrainer as CTCLTrainer
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)

models.register()
