"""Pictures of a run's own data: what its students are trained on, and what they make of some
images.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..data import BadSample, SegmentationData, reason_of
from ..figures import comparison_figure, samples_figure, save_figure
from ..methods.pair import StudentPair
from ..scoring.image_counts import SplitCounts
from ..scoring.predict import segment
from ..training.trainer import CTCLTrainer
from .comparison.statistics import best_and_worst, image_scores
from .files import EXTREMES_FILE, FIGURE_FILE

SAMPLES = 8
SPREAD = 4
EXTREMES = 2  # of the best images, and of the worst
NAME = 24  # characters of an image's name beside it


def read_samples(trainer: CTCLTrainer) -> list[dict[str, Any]]:
    """What the first steps train on, augmented. OSError names a file that cannot be read."""
    try:
        return [trainer.train_dataset[key] for key in islice(trainer.train_sampler, SAMPLES)]
    except BadSample as error:
        raise OSError(f"The training data could not be read: {reason_of(error)}.") from error


def write_samples(samples: Sequence[Mapping[str, Any]], data: SegmentationData, file: Path) -> None:
    """Draws samples with their masks."""
    images = [sample["pixel_values"].permute(1, 2, 0).numpy() for sample in samples]
    labels = [sample["labels"].numpy() for sample in samples]
    save_figure(samples_figure(images, labels, data.class_names, data.palette), file)


def spread_figure(pair: StudentPair, data: SegmentationData) -> Figure:
    """Validation images, evenly spread, as the students segment them."""
    rows = len(data.splits["validation"])
    chosen = np.linspace(0, rows - 1, min(SPREAD, rows)).round().astype(int).tolist()
    return _figure(pair, data, "validation", dict.fromkeys(chosen, ""))


def write_spread(pair: StudentPair, data: SegmentationData, folder: Path) -> Path:
    """Writes `spread_figure`."""
    save_figure(spread_figure(pair, data), folder / FIGURE_FILE)
    return folder / FIGURE_FILE


def write_extremes(
    pair: StudentPair, data: SegmentationData, counts: Mapping[str, SplitCounts], folder: Path
) -> Path | None:
    """The images that the students score best on and worst, of validation or else of the first
    split that is scored.
    """
    split = "validation" if "validation" in counts else next(iter(counts), None)
    if split is None:
        return None
    scores = image_scores(counts[split].students.values()).mean(1)
    best, worst = best_and_worst(scores, EXTREMES)
    chosen = dict.fromkeys(best, "best") | dict.fromkeys(worst, "worst")
    names = [name[-NAME:] for name in counts[split].images]
    titles = {
        number: f"{names[number]}\n{which}: mIoU {scores[number]:.1f} %"
        for number, which in chosen.items()
    }
    save_figure(_figure(pair, data, split, titles), folder / EXTREMES_FILE)
    return folder / EXTREMES_FILE


def _figure(
    pair: StudentPair, data: SegmentationData, split: str, titles: Mapping[int, str]
) -> Figure:
    """A row for each image, by number, with its title; segmented by the saved students' own
    path.
    """
    samples = data.samples(split, transform=None)
    images, truths = zip(*(samples.read_picture(number) for number in titles), strict=True)
    predictions = {
        name: [segment(student.model, student.image_processor, image) for image in images]
        for name, student in pair.students.items()
    }
    pixels = [np.asarray(image) for image in images]
    return comparison_figure(
        pixels, truths, predictions, data.class_names, data.palette, list(titles.values())
    )
