"""Pictures of a grid: curves, the gains of classes, and predictions side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...arguments.data import DataArguments
from ...figures import class_gains_figure, grid_curves_figure, methods_figure, save_figure
from ...figures.curves import keys_of, points_of
from ...methods import METHODS, Objective
from ...publishing.card import RECORD_FILE
from ...scoring.predict import load_for_inference, segment
from .cell import Cell
from .evidence import evidence_of
from .grid import Grid
from .names import safe_name

FIGURE_IMAGES = 3


def write_curves(grid: Grid) -> list[Path]:
    """Writes a PNG of curves for each pair: mIoU over steps, loss terms, and who teaches how
    much. Of a pair whose runs have logged nothing there is none.
    """
    written: list[Path] = []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.is_finished and cell.pair == pair]
        if cells:
            histories = {}
            for cell in cells:
                histories.setdefault(cell.row.title, []).append(
                    cell.read("trainer_state.json")["log_history"]
                )
            methods = _methods_of(cells)
            titles = _titles_of(cells)
            names = cells[0].student_names()
            if not any(points_of(histories, key, names) for key in keys_of(titles)):
                continue  # as of few steps without an evaluation
            losses = {term for method in methods for term in (*method.OWN_TERMS, *method.TERMS)}
            figure = grid_curves_figure(histories, names, titles, losses)
            written.append(grid.folder / f"curves-{safe_name(pair)}.png")
            save_figure(figure, written[-1])
    return written


def logged_quantities(cells: Sequence[Cell]) -> dict[str, str]:
    """What the log histories of finished cells hold of each student, "TERM_{}", and its title."""
    return keys_of(_titles_of(cells))


def _titles_of(cells: Sequence[Cell]) -> dict[str, str]:
    """What finished cells log, by term, as the runs recorded it: a method of the user's own may not
    be at hand.
    """
    titles: dict[str, str] = {}
    for cell in cells:
        recorded = (
            cell.read(RECORD_FILE).get("titles") if (cell.folder / RECORD_FILE).is_file() else None
        )
        titles |= (
            METHODS[cell.read("results.json")["method"]["method"]].titles()
            if recorded is None
            else recorded
        )
    return titles


def _methods_of(cells: Sequence[Cell]) -> list[type[Objective]]:
    """Those that are at hand: one of the user's own may not be."""
    names = {cell.read("results.json")["method"]["method"]: None for cell in cells}
    return [METHODS[name] for name in names if name in METHODS]


def write_class_gains(grid: Grid, block_length: int) -> list[Path]:
    """Writes a PNG for each pair: what each method adds to the IoU of each class, of each student,
    on each split.
    """
    written = []
    for pair in grid.pairs:
        cells = [cell for cell in grid.cells() if cell.is_finished and cell.pair == pair]
        gains: dict[str, dict[str, np.ndarray]] = {}
        names: tuple[str, ...] = ()
        for split in (
            [split for split in cells[0].read("results.json")["scores"] if split != "eval"]
            if cells
            else []
        ):
            for evidence in evidence_of(grid, pair, split, block_length):
                names = evidence.class_names
                for i, student in enumerate(evidence.students):
                    of = 100 * (evidence.ious[:, i] - evidence.control_ious[:, i])
                    gains.setdefault(evidence.row.title, {})[f"{student}, {split}"] = of
        if gains:
            written.append(grid.folder / f"classes-{safe_name(pair)}.png")
            save_figure(class_gains_figure(gains, names), written[-1])
    return written


def write_predictions(grid: Grid) -> list[Path]:
    """Writes a PNG for each pair as the paper's Figure 4: images, truth, and each method's
    prediction per student.
    """
    written = []
    for pair in grid.pairs:
        cells = [
            cell
            for cell in grid.cells()
            if (cell.pair, cell.seed) == (pair, grid.seeds[0]) and cell.is_finished
        ]
        if not cells:
            continue
        told = cells[0].read("results.json")["data"]
        data = DataArguments(**told).load()
        rows = data.splits["validation"]
        chosen = (
            np.linspace(0, len(rows) - 1, min(FIGURE_IMAGES, len(rows)))
            .round()
            .astype(int)
            .tolist()
        )
        samples = data.samples("validation", transform=None)
        images, truths = zip(*(samples.read_picture(index) for index in chosen), strict=True)
        predictions: dict[str, dict[str, list[np.ndarray]]] = {}
        for cell in cells:
            for name in cell.student_names():
                model, image_processor = load_for_inference(str(cell.folder / name))
                maps = [segment(model, image_processor, image) for image in images]
                predictions.setdefault(cell.row.title, {})[name] = maps
        pixels = [np.asarray(image) for image in images]
        written.append(grid.folder / f"figure-{safe_name(pair)}.png")
        save_figure(
            methods_figure(pixels, truths, predictions, data.class_names, data.palette), written[-1]
        )
    return written
