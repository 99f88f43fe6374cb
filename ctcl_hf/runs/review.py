"""Ranking a set of images by where to look first: a table of all, and a page of the first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..base.files import write_whole
from ..base.tables import csv_table
from ..scoring.review import ImageScores, review_split
from ..scoring.scorer import Scorer
from .page.review import entry_of, write_review_page

REVIEW_TABLE = "review.csv"
COLUMNS = (
    *("rank", "image", "file", "label_quality", "divergence", "disagreement"),
    *("class", "called", "called_share"),
)


def write_review(
    scorer: Scorer,
    split: str,
    image_size: tuple[int, int],
    folder: Path,
    top: int = 50,
    workers: int = 0,
) -> tuple[Path, Path]:
    """Writes review.csv of all images of a split and review.html of the first ones; returns both.

    Of an image nothing is kept but its scores: the first ones are looked at a second time, for
    their pictures.

    Args:
        scorer: of two students.
        image_size: (height, width) in pixels that images are resized to.
        top: how many images the page shows.
        workers: processes that read images.

    Raises:
        BadSample: names a file that cannot be read.
    """
    data, students = scorer.data, list(scorer.predictors)
    samples = data.samples(split, transform=None)
    seen = tqdm(
        review_split(scorer, split, image_size, workers=workers),
        f"Looking at {split}",
        len(samples),
        disable=None,
    )
    scored = {number: scores for number, scores, _ in seen}
    ranked = sorted(scored, key=lambda number: scored[number].rank())
    records = [
        {"rank": rank, "image": samples.name(number)}
        | {"file": samples.stored(number)["image"]["path"]}
        | _record(scored[number], data.class_names)
        for rank, number in enumerate(ranked, 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / REVIEW_TABLE
    write_whole(table, csv_table(records, COLUMNS))
    first = ranked[:top]
    drawn = tqdm(
        review_split(scorer, split, image_size, first, workers),
        "Drawing the first",
        len(first),
        disable=None,
    )
    entries = [
        entry_of(
            rank, samples.name(number), scores, maps, samples.read_picture(number), data, students
        )
        for rank, (number, scores, maps) in enumerate(drawn, 1)
    ]
    name = data.title or data.name
    title = f"{name if name == split else f'{name}, {split}'}: where to look"
    return table, write_review_page(folder, entries, title, len(ranked), students)


def _record(scores: ImageScores, class_names: Sequence[str]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "label_quality": scores.label_quality,
        "divergence": scores.divergence,
        "disagreement": scores.disagreement,
    }
    if scores.confusion is not None:
        first, second, share = scores.confusion
        record |= {"class": class_names[first], "called": class_names[second]}
        record["called_share"] = share
    return record
