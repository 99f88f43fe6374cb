"""Data sets. Adding one is a file with a builder that returns `SegmentationData`, and one line in `DATASETS`."""

from ..lazy import LazyDict, lazy_names

# name -> builder(data_dir), as "module:function" of this folder
DATASETS = LazyDict(__name__, {"camvid": "camvid:build_camvid", "synthetic": "synthetic:build_synthetic"})

_HOME = {
    "BadSample": "segmentation",
    "EvaluationTransform": "transforms",
    "IGNORE_INDEX": "segmentation",
    "SegmentationData": "segmentation",
    "SegmentationSamples": "segmentation",
    "TrainingTransform": "transforms",
    "build_camvid": "camvid",
    "build_synthetic": "synthetic",
    "collate_for_evaluation": "segmentation",
}
__all__ = ["DATASETS", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
