"""Metrics in the shape of the `evaluate` library; nothing heavy is imported before it is asked
for.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_names

_HOME = {
    "MeanIoU": "mean_iou.mean_iou",
    "confusion_counts": "mean_iou.mean_iou",
    "scores_from_counts": "mean_iou.mean_iou",
}
__all__ = list(_HOME)
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .mean_iou.mean_iou import MeanIoU as MeanIoU
    from .mean_iou.mean_iou import confusion_counts as confusion_counts
    from .mean_iou.mean_iou import scores_from_counts as scores_from_counts
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
