"""A reliability diagram: how often models are right where they say how likely that is."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def reliability_figure(sums: Mapping[str, np.ndarray], errors: Mapping[str, float]) -> Figure:
    """A panel for each model: accuracy of each bin of confidence as a bar, the diagonal on which it
    would be as sure as it is right, and below it the share of the pixels in each bin.

    Args:
        sums: by model, (3, bins): pixels in a bin, their confidences, and those that are right.
        errors: its expected calibration error, in 0..1.
    """
    figure = Figure(figsize=(3.4 * len(sums) + 0.4, 4.4), layout="constrained")
    panels = figure.subplots(2, len(sums), sharex=True, height_ratios=(3, 1), squeeze=False)
    for (name, own), (above, below) in zip(sums.items(), panels.T, strict=True):
        _draw(above, below, own)
        above.set_title(f"{name}: ECE {100 * errors[name]:.1f} %")
    panels[0, 0].set_ylabel("right (%)")
    panels[1, 0].set_ylabel("pixels (%)")
    return figure


def _draw(above: Axes, below: Axes, sums: np.ndarray) -> None:
    pixels, confidences, right = sums
    width = 100 / len(pixels)
    middles = (np.arange(len(pixels)) + 0.5) * width
    held = pixels > 0
    accuracy = 100 * right[held] / pixels[held]
    above.bar(middles[held], accuracy, 0.9 * width, color="#4c72b0")
    above.plot([0, 100], [0, 100], color="#c44e52", linewidth=1)
    means = 100 * confidences[held] / pixels[held]
    above.plot(means, accuracy, "o", color="black", markersize=3)
    above.set(xlim=(0, 100), ylim=(0, 100))
    below.bar(middles, 100 * pixels / max(pixels.sum(), 1), 0.9 * width, color="#8c8c8c")
    below.set_xlabel("confidence (%)")
