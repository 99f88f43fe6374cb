"""Metrics in the shape of the `evaluate` library; nothing heavy is imported before it is asked for."""

from .._lazy import lazy_names

_HOME = {
    "MeanIoU": "mean_iou.mean_iou",
    "confusion_counts": "mean_iou.mean_iou",
    "scores_from_counts": "mean_iou.mean_iou",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
