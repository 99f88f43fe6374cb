"""Data sets. Adding one is a file with a builder that returns `SegmentationData`, and one line in
`DATASETS`.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy_names
from ..base.registry import Registry


def _problem(builder: Any) -> str | None:
    """What is wrong with a builder of one's own."""
    try:
        if inspect.isfunction(builder) and inspect.signature(builder).bind(None):
            return None
    except TypeError:
        pass
    return (
        "expected a function of data_dir (what --data_dir says, or None) that returns a "
        "ctcl_hf.SegmentationData"
    )


# As "module:function" of this folder.
DATASETS: "Registry[Callable[..., SegmentationData]]" = Registry(
    __name__,
    {
        "camvid": "benchmarks.camvid:build_camvid",
        "voc": "benchmarks.voc:build_voc",
        "cityscapes": "benchmarks.cityscapes:build_cityscapes",
        "ade20k": "benchmarks.ade20k:build_ade20k",
        "synthetic": "benchmarks.synthetic:build_synthetic",
    },
    kind="data set",
    problem=_problem,
)
"""Data sets by the name that `--dataset` takes: builders, functions of `data_dir` that return a
`SegmentationData`.

One's own is registered by assignment: `DATASETS["mine"] = build_mine`.
"""

_HOME = {
    "BadSample": "samples",
    "EvaluationTransform": "transforms",
    "IGNORE_INDEX": "masks",
    "MaskReader": "masks",
    "SegmentationData": "segmentation",
    "SegmentationSamples": "samples",
    "TrainingTransform": "transforms",
    "as_picture": "masks",
    "build_ade20k": "benchmarks.ade20k",
    "build_camvid": "benchmarks.camvid",
    "build_cityscapes": "benchmarks.cityscapes",
    "build_own": "own.build",
    "build_synthetic": "benchmarks.synthetic",
    "build_voc": "benchmarks.voc",
    "collate_for_evaluation": "samples",
    "palette_for": "palettes",
    "palette_of": "palettes",
    "read_image": "images",
    "reason_of": "samples",
}
__all__ = ["DATASETS", *_HOME]
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .benchmarks.ade20k import build_ade20k as build_ade20k
    from .benchmarks.camvid import build_camvid as build_camvid
    from .benchmarks.cityscapes import build_cityscapes as build_cityscapes
    from .benchmarks.synthetic import build_synthetic as build_synthetic
    from .benchmarks.voc import build_voc as build_voc
    from .images import read_image as read_image
    from .masks import IGNORE_INDEX as IGNORE_INDEX
    from .masks import MaskReader as MaskReader
    from .masks import as_picture as as_picture
    from .own.build import build_own as build_own
    from .palettes import palette_for as palette_for
    from .palettes import palette_of as palette_of
    from .samples import BadSample as BadSample
    from .samples import SegmentationSamples as SegmentationSamples
    from .samples import collate_for_evaluation as collate_for_evaluation
    from .samples import reason_of as reason_of
    from .segmentation import SegmentationData as SegmentationData
    from .transforms import EvaluationTransform as EvaluationTransform
    from .transforms import TrainingTransform as TrainingTransform
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
