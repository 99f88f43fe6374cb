"""Data sets. Adding one is a file with a builder that returns `SegmentationData`, and one line in `DATASETS`."""

from collections.abc import Callable

from .camvid import build_camvid
from .segmentation import IGNORE_INDEX, SegmentationData, SegmentationSamples, collate_for_evaluation
from .synthetic import build_synthetic
from .transforms import EvaluationTransform, TrainingTransform

# name -> builder(data_dir)
DATASETS: dict[str, Callable[[str | None], SegmentationData]] = {"camvid": build_camvid, "synthetic": build_synthetic}

__all__ = [
    "DATASETS",
    "IGNORE_INDEX",
    "EvaluationTransform",
    "SegmentationData",
    "SegmentationSamples",
    "TrainingTransform",
    "build_camvid",
    "build_synthetic",
    "collate_for_evaluation",
]
