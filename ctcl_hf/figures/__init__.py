"""Pictures of segmentations and of training runs (matplotlib, without a display)."""

from pathlib import Path

from matplotlib.figure import Figure

from .curves import blind_classes_figure as blind_classes_figure
from .curves import class_gains_figure as class_gains_figure
from .curves import grid_curves_figure as grid_curves_figure
from .curves import history_figure as history_figure
from .curves import pulls_figure as pulls_figure
from .segmentations import colourize as colourize
from .segmentations import comparison_figure as comparison_figure
from .segmentations import methods_figure as methods_figure
from .segmentations import mistakes_figure as mistakes_figure
from .segmentations import overlay as overlay
from .segmentations import overlay_figure as overlay_figure
from .segmentations import samples_figure as samples_figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a PNG at 110 dpi, making its folder if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
