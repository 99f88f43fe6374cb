"""Pictures of segmentations and of training runs (matplotlib, without a display)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from transformers.utils import logging

from ..base.files import whole
from .curves import blind_classes_figure as blind_classes_figure
from .curves import class_gains_figure as class_gains_figure
from .curves import grid_curves_figure as grid_curves_figure
from .curves import history_figure as history_figure
from .curves import pulls_figure as pulls_figure
from .reliability import reliability_figure as reliability_figure
from .segmentations import colourize as colourize
from .segmentations import comparison_figure as comparison_figure
from .segmentations import highlight as highlight
from .segmentations import methods_figure as methods_figure
from .segmentations import mistakes_figure as mistakes_figure
from .segmentations import overlay as overlay
from .segmentations import overlay_figure as overlay_figure
from .segmentations import samples_figure as samples_figure

logger = logging.get_logger(__name__)

DPI = 110  # of a figure, unless it is to show pixels at their own size


@contextmanager
def costing(what: str) -> Iterator[None]:
    """Whatever fails within it costs that part of a report, with a warning that says why, and
    nothing else.
    """
    try:
        yield
    except Exception as error:
        # of drawing, of fonts, of an image that cannot be read, of a full disk
        logger.warning(
            f"{what} could not be made ({type(error).__name__}: {error}). All else goes on."
        )


def save_figure(figure: Figure, path: str | Path, dpi: float = DPI) -> None:
    """Writes a PNG, whole or not at all, making its folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as staged, _words_as_written(figure):
        figure.savefig(staged, dpi=dpi, format="png")


def pixels_of(figure: Figure) -> np.ndarray:
    """RGB (H, W, 3) uint8 of a figure."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with _words_as_written(figure):
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextmanager
def _words_as_written(figure: Figure) -> Iterator[None]:
    r"""Within it no word is read as a formula: none of ours is one, and a class may be called
    `tree $\foo$`.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with rc_context({"text.parse_math": False}):  # of ticks that are made while it is drawn
        yield
