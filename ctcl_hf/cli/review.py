"""Rank images by where to look first: at labels that may be wrong, or, of images without labels,
at what to label next (wrong labels: pip install 'ctcl-hf[review]').

Two students that were trained together are asked: of the folder of a run on its own data, unless
others are named; or any two segmentation models of the same classes.

ctcl-hf review runs/camvid-paper-ctcl
ctcl-hf review runs/camvid-paper-ctcl --images photos "more/*.jpg"
ctcl-hf review --model runs/a/cnn runs/b/vit --dataset_name street
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments.dataset import DatasetArguments
from ..arguments.parser import ArgumentsParser
from ..arguments.problems import SKIP, raise_problems
from ..arguments.ranges import check_of_sides, checks_of_numbers
from ..base.extras import require
from ..base.files import check_place
from ..base.tables import counted
from .data import data_of_model, load_data, names_data
from .ending import told_with_data
from .predict import named_images, problems_of
from .students import named_students, refuse_without_students

if TYPE_CHECKING:
    from ..data import SegmentationData
    from ..students import Student


@dataclass
class ReviewArguments:
    model: list[str] | None = field(
        default=None,
        metadata={"help": "Two students in place of a run, folders or Hub ids: CNN VIT."},
    )
    split: str | None = field(
        default=None, metadata={"help": "Which images of the data. Default: validation."}
    )
    images: list[str] | None = field(
        default=None,
        metadata={
            "help": "Images without labels in place of the data: files, folders with what lies "
            "below them, and patterns in quotes."
        },
    )
    top: int = field(
        default=50, metadata={"help": "How many images the page shows; the table has all."}
    )
    image_size: list[int] | None = field(
        default=None,
        metadata={
            "help": "HEIGHT WIDTH in pixels to which images are resized. Default: what the "
            "students' own processors do."
        },
    )
    use_cpu: bool = field(default=False, metadata={"help": "Even where there is an accelerator."})
    workers: int = field(default=2, metadata={"help": "Processes that read images."})
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Where review.csv and review.html go. Default: review in the run's folder, or "
            "here."
        },
    )

    def __post_init__(self):
        raise_problems(
            [
                (
                    self.model is not None and len(self.model) != 2,
                    f"--model {' '.join(self.model or [])}: expected two students.",
                ),
                (
                    self.images is not None and self.split is not None,
                    "--split is of a data set: it has no effect on --images.",
                ),
                check_of_sides("image_size", self.image_size),
                *checks_of_numbers(self),
            ]
        )


def main() -> None:
    parser = ArgumentsParser(
        [ReviewArguments, DatasetArguments], usage="%(prog)s [RUN] [options]", description=__doc__
    )
    parser.add_argument("run", nargs="?", help="Folder of a run or of a checkpoint.")
    arguments, dataset, given = parser.parse(None)
    if (given.run is None) == (arguments.model is None):
        parser.error("expected either the folder of a run, or --model CNN VIT.")
    if arguments.images and names_data(sys.argv[1:]):
        parser.error("--images are no data set: leave out either them or what names one.")
    names = [given.run] if given.run else arguments.model
    with told_with_data():
        for name in names:
            refuse_without_students(name)
        check_place("--output_dir", output_folder(names, arguments))
        if arguments.images:
            named = named_images(arguments.images, left_out := [])
            bad = {} if dataset.skip_bad else problems_of(named)
            if bad:
                raise ValueError("\n".join([*bad.values(), SKIP]))
            if passed_over := "".join(map(str, left_out)):
                print(passed_over.removeprefix("; "), file=sys.stderr)
            files = list(dict.fromkeys(named.values()))
            print(*review_images(names, files, arguments, dataset.skip_bad), sep="\n")
        else:
            require("review", "cleanlab")
            dataset = data_of_model(names[0], dataset, sys.argv[1:])
            print(*review_data(names, dataset, arguments), sep="\n")


def output_folder(names: list[str], arguments: ReviewArguments) -> Path:
    """Where a review goes of the run, or of the two students, of these names."""
    folder = Path(names[0]) if len(names) == 1 else Path()
    return Path(arguments.output_dir or folder / "review")


def two_students(names: list[str]) -> "dict[str, Student]":
    """The students of a run, or two saved ones, by their own names.

    ValueError or OSError: there are not two.
    """
    students = named_students(names)
    if len(students) != 2:
        raise ValueError(
            f"{' and '.join(names)}: expected two students, got {len(students)}. Give the folder "
            "of a run of two, or --model CNN VIT"
        )
    return students


def review_data(
    names: list[str], dataset: DatasetArguments, arguments: ReviewArguments
) -> tuple[Path, Path]:
    """Ranks a split of a data set; returns the files that it has written."""
    students = two_students(names)
    split = arguments.split or "validation"
    data = load_data(dataset, split, next(iter(students.values())).class_names)
    return review(students, data, split, names, arguments)


def review_images(
    names: list[str], files: Sequence[Path], arguments: ReviewArguments, skip_bad: bool
) -> tuple[Path, Path]:
    """Ranks images without labels; returns the files that it has written."""
    from ..data import SegmentationData, palette_of
    from ..data.pairs import lazy_rows
    from ..scoring.predict import input_size

    students = two_students(names)
    first = next(iter(students.values()))
    size = arguments.image_size or input_size(first.image_processor)
    if size is None:
        raise ValueError(
            f"The image processor of {next(iter(students))} resizes to no one size: give "
            "--image_size HEIGHT WIDTH"
        )
    data = SegmentationData(
        "images",
        {"images": lazy_rows(image=[str(file) for file in files])},
        tuple(first.class_names),
        tuple(palette_of(first.config)),
        (size[0], size[1]),
    )
    data = data.without_bad() if skip_bad else data
    return review(students, data, "images", names, arguments)


def review(
    students: "dict[str, Student]",
    data: "SegmentationData",
    split: str,
    names: list[str],
    arguments: ReviewArguments,
) -> tuple[Path, Path]:
    """Ranks a split by two students; returns the files that it has written."""
    from accelerate import Accelerator

    from ..runs.page.review import REVIEW_PAGE
    from ..runs.review import write_review
    from ..scoring.scorer import Scorer

    scorer = Scorer(students, data, Accelerator(cpu=arguments.use_cpu))
    height, width = arguments.image_size or scorer.image_size or data.image_size
    images = f"{counted(len(data.splits[split]), 'image')}, {len(data.class_names)} classes"
    print(images if arguments.images else data)
    folder = output_folder(names, arguments)
    if (folder / REVIEW_PAGE).is_file():
        print(f"{folder} holds a review, which will be replaced. To keep it: --output_dir OTHER.")
    print(f"Looked at: whole images at {height}x{width}. Classes {scorer.class_note}.")
    return write_review(
        scorer,
        split,
        (height, width),
        folder,
        arguments.top,
        arguments.workers,
    )


if __name__ == "__main__":  # `python -m ctcl_hf.cli.review`
    sys.argv[0] = "ctcl-hf review"
    main()
