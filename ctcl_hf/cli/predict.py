"""Segment images with a released or local student, or by the mean of two students' probabilities:
pictures with a legend, overlays, or masks of class ids.

ctcl-hf predict street.jpg --model runs/camvid-paper-ctcl/cnn
ctcl-hf predict photos "more/*.jpg" --model runs/camvid-paper-ctcl/vit --save mask overlay
ctcl-hf predict street.jpg --model runs/camvid-paper-ctcl
"""

import argparse
import glob
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments.problems import did_you_mean
from ..base.files import check_place
from .ending import program, told
from .students import named_students, refuse_without_students

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..data.palettes import Palette

KINDS = ("figure", "overlay", "mask")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=program(),
        usage="%(prog)s IMAGE ... --model MODEL [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        nargs="*",  # to say what is wrong where --model has taken them
        metavar="IMAGE",
        help="Files, folders with what lies below them, and patterns in quotes.",
    )
    parser.add_argument(
        "--model",
        required=True,
        nargs="+",
        help="Folder of a student, or the Hub id of a segmentation model. Two, CNN VIT, or the "
        "folder of a run: what is the likeliest by the mean of both students' probabilities.",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("predictions"),
        help="What is saved goes into KIND/NAME.png in it. Default: predictions.",
    )
    parser.add_argument(
        "--save",
        nargs="+",
        metavar="KIND",
        default=["figure"],
        help="figure: the segmentation over the image, with a legend, at least of screen size. "
        "overlay: the same at the image's own size, without a legend. mask: class ids of the "
        "image's own size, with the classes' colours as palette. Default: figure.",
    )
    parser.add_argument(
        "--use_cpu", action="store_true", help="Even where there is an accelerator."
    )
    arguments = parser.parse_args()
    if not arguments.images:
        parser.error("expected images, before --model, which takes what follows it.")
    for kind in arguments.save:
        if kind not in KINDS:
            parser.error(
                f"--save {kind}: expected one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
            )
    with told(ValueError, OSError):
        predict(
            arguments.images,
            arguments.model,
            arguments.output_dir,
            arguments.save,
            arguments.use_cpu,
        )


def predict(
    images: Sequence[str],
    model_names: Sequence[str],
    output_dir: Path,
    kinds: Sequence[str],
    use_cpu: bool = False,
) -> None:
    """Segments every image that is named, on the accelerator if there is one, and saves it.

    ValueError names what is no image before the model is loaded; what cannot be read in full, once
    all others are done.
    """
    from tqdm.auto import tqdm

    from ..data import palette_of, read_image

    files = named_images(images)
    check_images(files.values())
    for name in model_names:
        refuse_without_students(name)
    check_place("--output_dir", output_dir)
    # Imported once there is something to segment: it takes seconds.
    from accelerate import PartialState

    from ..scoring.mean import segment_together
    from ..scoring.predict import segment

    students = list(named_students(model_names).values())
    for student in students:
        student.model.to(PartialState(cpu=use_cpu).device)
    class_names = students[0].class_names
    palette = palette_of(students[0].config)
    unreadable = []
    for name, path in tqdm(files.items(), "Segmenting", disable=None):
        try:
            image = read_image(path)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        if len(students) > 1:
            labels = segment_together(students, image)
        else:
            labels = segment(students[0].model, students[0].image_processor, image)
        for kind in kinds:
            target = output_dir / kind / f"{name}.png"
            save(kind, image, labels, class_names, palette, target)
            tqdm.write(str(target))
    if unreadable:
        raise ValueError("\n".join(unreadable))


def named_images(named: Sequence[str]) -> dict[str, Path]:
    """The files that the command line names, by what they are called in the output: below a folder,
    their path in it.

    Raises:
        ValueError: a name that is no file, folder or pattern of some; a folder without images; or
            two images of one name. All of them are told.
    """
    from ..data.pairs import image_files

    found: dict[str, Path] = {}
    problems = []
    for text in named:
        path = Path(text)
        if path.is_dir():
            below = {name: Path(file) for name, file in image_files(path, below=True).items()}
        elif path.exists():
            below = {path.stem: path}
        else:
            files = [Path(file) for file in sorted(glob.glob(text, recursive=True))]
            below = {file.stem: file for file in files if file.is_file()}
            if len(below) < sum(file.is_file() for file in files):
                problems.append(
                    f"{text}: some of its images have one name. Give their folder instead."
                )
        if not below:
            problems.append(
                f"{text}: no image there. Expected an image, a folder of images, or a pattern of "
                "files."
            )
        for name, file in below.items():
            if found.setdefault(name, file) != file:
                problems.append(
                    f"{found[name]} and {file} are both called {name}: one would overwrite the "
                    "other. Segment them one after the other, with another --output_dir."
                )
    if problems:
        raise ValueError("\n".join(problems))
    return found


def check_images(files: Iterable[Path]) -> None:
    """ValueError tells all files that are no image, as far as their headers tell."""
    from ..data.images import check_image

    problems = []
    for file in files:
        try:
            check_image(file)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def save(
    kind: str,
    image: "Image.Image",
    labels: "np.ndarray",
    class_names: Sequence[str],
    palette: "Palette",
    target: Path,
) -> None:
    """Writes one of KINDS as PNG, of class ids (H, W) uint8 over their image."""
    import numpy as np
    from PIL import Image

    from ..data import as_picture
    from ..figures import DPI, overlay, overlay_figure, save_figure

    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "mask":
        as_picture(labels, palette).save(target)
    elif kind == "overlay":
        Image.fromarray(overlay(np.asarray(image), labels, palette)).save(target)
    else:
        figure = overlay_figure(np.asarray(image), labels, class_names, palette)
        save_figure(figure, target, dpi=max(image.width / figure.get_figwidth(), DPI))


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.predict`
    sys.argv[0] = "ctcl-hf predict"
    main()
