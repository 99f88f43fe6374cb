"""Metrics in the shape of the `evaluate` library; nothing heavy is imported before it is asked for."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "MeanIoU":
        from ctcl_hf.metrics.mean_iou.mean_iou import MeanIoU

        return MeanIoU
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
