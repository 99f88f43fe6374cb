"""Metrics. Mean IoU, in the shape of the `evaluate` library, and both accuracies are always scored;
what is scored beside them is one file each, with a subclass of `Metric`, and one line in `METRICS`.

Nothing heavy is imported before it is asked for.
"""

import inspect
from typing import TYPE_CHECKING, Any

from .._lazy import lazy_names
from ..base.registry import Registry


def _problem(metric: Any) -> str | None:
    """What is wrong with a metric of one's own."""
    from .metric import Metric
    from .scores import is_taken

    if not (isinstance(metric, type) and issubclass(metric, Metric) and metric is not Metric):
        return "expected a subclass of ctcl_hf.metrics.Metric"
    if inspect.isabstract(metric):
        return "it must say in compute() what its scores are"
    if not metric.TITLES:
        return "it must name its scores: TITLES = {NAME: TITLE}"
    if taken := [name for name in metric.TITLES if is_taken(name)]:
        return f"{', '.join(taken)} is the name of a score that every run has"
    return None


# name -> what is scored beside mean IoU, as "module:class" of this folder
METRICS: "Registry[type[Metric]]" = Registry(
    __name__,
    {
        "dice": "dice:Dice",
        "frequency_weighted_iou": "frequency_weighted_iou:FrequencyWeightedIoU",
    },
    kind="metric",
    problem=_problem,
)

_HOME = {
    "MeanIoU": "mean_iou.mean_iou",
    "Metric": "metric",
    "confusion_counts": "mean_iou.mean_iou",
    "scores_from_counts": "mean_iou.mean_iou",
    "titles_of": "metric",
}
__all__ = ["METRICS", *_HOME]
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .mean_iou.mean_iou import MeanIoU as MeanIoU
    from .mean_iou.mean_iou import confusion_counts as confusion_counts
    from .mean_iou.mean_iou import scores_from_counts as scores_from_counts
    from .metric import Metric as Metric
    from .metric import titles_of as titles_of
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
