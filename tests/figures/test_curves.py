"""Curves that can be read off."""

import numpy as np
import pytest

from ctcl_hf.figures import (
    class_gains_figure,
    grid_curves_figure,
    history_figure,
    pulls_figure,
)
from ctcl_hf.runs.page.charts import line_chart

TITLES = {"ce": "cross entropy (nats)", "teaches_pixels": "share of pixels it teaches"}


def history(steps=(10, 20, 30), evaluated=(30,), extra=0):
    logs = [
        {
            "step": step,
            **{f"ce_{n}": 2.4 / step for n in ("cnn", "vit")},
            "teaches_pixels_cnn": 0.6,
            **{f"t{i}_cnn": 1.0 for i in range(extra)},
        }
        for step in steps
    ]
    return logs + [
        {"step": step, "eval_cnn_mean_iou": 0.5, "eval_vit_mean_iou": 0.4} for step in evaluated
    ]


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]


def drawn(figure):
    figure.draw_without_rendering()
    return {axes.get_title(): axes for axes in figure.axes}


def test_a_single_evaluation_is_seen_and_all_panels_have_the_same_steps():
    """A line of one point draws nothing, and the mIoU of a run that evaluates once had no panel to
    be seen in.
    """
    for figure, title in (
        (history_figure(history(), ["cnn", "vit"], TITLES), "mIoU on validation"),
        (
            grid_curves_figure({"dml": [history()]}, ["cnn", "vit"], TITLES, ["ce"]),
            "cnn: mIoU on validation",
        ),
    ):
        line = drawn(figure)[title].lines[0]
        assert line.get_marker() == "o" and len(line.get_xdata()) == 1
    axes = drawn(history_figure(history(), ["cnn", "vit"], TITLES))
    assert {of.get_xlim() for of in axes.values()} == {(0, 30 * 1.02)}


@pytest.mark.parametrize("extra", range(6))
def test_no_panel_is_blank(extra):
    titles = TITLES | {f"t{i}": f"term {i}" for i in range(extra)}
    figure = history_figure(history(extra=extra), ["cnn", "vit"], titles)
    assert len(figure.axes) == 3 + extra and all(axes.lines and axes.axison for axes in figure.axes)
    figure = grid_curves_figure({"dml": [history(extra=extra)]}, ["cnn", "vit"], titles, ["ce"])
    assert len(figure.axes) == 5 + extra and all(axes.lines and axes.axison for axes in figure.axes)


def test_shares_are_in_percent_and_no_tick_has_an_exponent():
    """mIoU was a share beside tables in percent, and losses had ticks such as 2.35 x 10^0."""
    axes = drawn(history_figure(history(evaluated=(10, 20)), ["cnn", "vit"], TITLES))
    assert all(text.endswith(" %") for text in labels(axes["mIoU on validation"].yaxis))
    assert all(text.endswith(" %") for text in labels(axes["share of pixels it teaches"].yaxis))
    runs = [history(range(1, 400, 7), (100, 200))]
    axes = drawn(grid_curves_figure({"dml": runs, "ctcl": runs}, ["cnn", "vit"], TITLES, ["ce"]))
    losses = axes["cnn: cross entropy (nats), logarithmic"]
    assert losses.get_yscale() == "log" and len(labels(losses.yaxis)) >= 3
    for text in labels(losses.yaxis):
        float(text)  # and no $\\mathdefault{...}$
    near = [{"step": step, "ce_cnn": 2.3 + step / 100} for step in (1, 2, 3)]
    axes = drawn(grid_curves_figure({"dml": [near]}, ["cnn"], TITLES, ["ce"]))[
        "cnn: cross entropy (nats)"
    ]
    assert axes.get_yscale() == "linear" and len(labels(axes.yaxis)) >= 3


def test_lines_that_are_means_say_so_and_ticks_are_short():
    """Linear and logarithmic panels stood side by side without a word; steps had ticks at 2.5, and
    shares at 4.300 %.
    """
    runs = [history((2, 4, 6, 8), (4, 8))] * 2
    figure = grid_curves_figure({"dml": runs}, ["cnn", "vit"], TITLES, ["ce"])
    axes = drawn(figure)["cnn: mIoU on validation"]
    assert figure.get_suptitle() == "Lines are means over seeds"
    assert all(text.isdecimal() for text in labels(axes.xaxis))
    assert not any(text.endswith("0 %") and "." in text for text in labels(axes.yaxis))
    assert not grid_curves_figure({"dml": runs[:1]}, ["cnn"], TITLES, ["ce"]).get_suptitle()
    chart = line_chart("loss", {"cnn": [(2, 1.0), (9, 2.0)]}, 9)
    assert all(tick.text.isdecimal() for tick in chart.x_ticks)


def test_gains_of_both_students_are_on_one_axis():
    gains = {"cnn": np.array([[1.0, 2.0]]), "vit": np.array([[-30.0, 5.0]])}
    figure = class_gains_figure({"dml": gains}, ["road", "sky"])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_a_term_has_one_colour_in_the_panels_of_both_students():
    """The auxiliary head's is the CNN's alone, so that all after it had other colours for the
    ViT.
    """
    pull = {"norm": 1.0, "ratio": 0.5, "cosine": 0.1}
    found = {
        step: {
            "cnn": dict.fromkeys(("ce", "aux", "hfd"), pull),
            "vit": dict.fromkeys(("ce", "hfd"), pull),
        }
        for step in (1, 2)
    }
    figure = pulls_figure(found)
    panels = np.reshape(figure.axes, (2, 2))
    assert [line.get_color() for line in panels[0, 0].lines] == ["C0", "C1"]
    assert [line.get_color() for line in panels[0, 1].lines] == ["C1"]


def test_long_names_of_methods_fit_into_the_legend_below_the_curves():
    """Six of them stood in one line, wider than the figure."""
    names = [f"ctcl, pixel_classes known, no_region_bsd, alpha {i}" for i in range(6)] + ["a" * 70]
    figure = grid_curves_figure(
        {name: [history()] for name in names}, ["cnn", "vit"], TITLES, {"ce"}
    )
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
