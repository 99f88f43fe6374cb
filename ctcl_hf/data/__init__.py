"""Data sets. Adding one is a file with a builder that returns `SegmentationData`, and one line in `DATASETS`."""

from .._lazy import LazyDict, lazy_names

# name -> builder(data_dir), as "module:function" of this folder
DATASETS = LazyDict(
    __name__,
    {
        "camvid": "benchmarks.camvid:build_camvid",
        "voc": "benchmarks.voc:build_voc",
        "cityscapes": "benchmarks.cityscapes:build_cityscapes",
        "ade20k": "benchmarks.ade20k:build_ade20k",
        "synthetic": "benchmarks.synthetic:build_synthetic",
    },
)

_HOME = {
    "BadSample": "segmentation",
    "EvaluationTransform": "transforms",
    "IGNORE_INDEX": "masks",
    "MaskReader": "masks",
    "SegmentationData": "segmentation",
    "SegmentationSamples": "segmentation",
    "TrainingTransform": "transforms",
    "as_picture": "masks",
    "build_ade20k": "benchmarks.ade20k",
    "build_camvid": "benchmarks.camvid",
    "build_cityscapes": "benchmarks.cityscapes",
    "build_own": "own.build",
    "build_synthetic": "benchmarks.synthetic",
    "build_voc": "benchmarks.voc",
    "collate_for_evaluation": "segmentation",
    "palette_for": "palettes",
    "read_image": "images",
    "reason_of": "segmentation",
}
__all__ = ["DATASETS", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
