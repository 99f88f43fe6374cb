"""Segment images with a released or local student, or by the mean of students' probabilities:
pictures with a legend, overlays, or masks of class ids.

ctcl-hf predict street.jpg --model runs/camvid-paper-ctcl/cnn
ctcl-hf predict photos "more/*.jpg" --model runs/camvid-paper-ctcl/vit --save mask overlay
ctcl-hf predict street.jpg --model runs/camvid-paper-ctcl
"""

import glob
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments.problems import SKIP, did_you_mean
from ..base.files import check_place
from ..base.tables import counted
from .ending import program, told
from .parser import command_parser
from .students import named_students, refuse_without_students

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..data.pairs import LeftOut
    from ..data.palettes import Palette

KINDS = ("figure", "overlay", "mask")


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s IMAGE ... --model MODEL [options]")
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
        help="Folder of a student, or the Hub id of a segmentation model. Several, CNN VIT, or "
        "the folder of a run: what is the likeliest by the mean of the students' probabilities.",
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
    parser.add_argument(
        "--skip_bad",
        action="store_true",
        help="Leave out what is no image, or cannot be read in full, and tell it at the end.",
    )
    arguments = parser.parse_args()
    if not arguments.images:
        parser.error(_without_images(arguments.model))
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
            arguments.skip_bad,
        )


def predict(
    images: Sequence[str],
    model_names: Sequence[str],
    output_dir: Path,
    kinds: Sequence[str],
    use_cpu: bool = False,
    skip_bad: bool = False,
) -> None:
    """Segments every image that is named, on the accelerator if there is one, and saves it.

    skip_bad: leave out what cannot be used, and tell it at the end.

    ValueError names what is no image before the model is loaded; what cannot be read in full, once
    all others are done; and what was left out, if nothing else is there.
    """
    from tqdm.auto import tqdm

    from ..data import palette_of, read_image

    left_out: list[LeftOut] = []
    files = named_images(images, left_out)
    unreadable = problems_of(files)
    if unreadable and not (skip_bad and len(unreadable) < len(files)):
        way_on = [] if len(unreadable) == len(files) else [SKIP]
        raise ValueError("\n".join([*unreadable.values(), *way_on]))
    if (remark := remark_on_masks(files.values())) is not None:
        print(remark, file=sys.stderr)
    for name in model_names:
        refuse_without_students(name)
    check_place("--output_dir", output_dir)
    students = list(named_students(model_names).values())
    # Imported once there is something to segment: it takes seconds.
    from accelerate import PartialState

    from ..scoring.mean import segment_together
    from ..scoring.predict import segment

    for student in students:
        student.model.to(PartialState(cpu=use_cpu).device)
    class_names = students[0].class_names
    palette = palette_of(students[0].config)
    usable = {name: path for name, path in files.items() if name not in unreadable}
    targets = [output_dir / kind / f"{name}.png" for kind in kinds for name in usable]
    if there := [target for target in targets if target.exists()]:
        print(
            f"{there[0]}{f' and {len(there) - 1} more' if len(there) > 1 else ''}: there already, "
            "and replaced. To keep what another model made, give another --output_dir.",
            file=sys.stderr,
        )
    for name, path in tqdm(usable.items(), "Segmenting", disable=None):
        try:
            image = read_image(path)
        except ValueError as error:
            unreadable[name] = str(error)
            continue
        if len(students) > 1:
            labels = segment_together(students, image)
        else:
            labels = segment(students[0].model, students[0].image_processor, image)
        for kind in kinds:
            target = output_dir / kind / f"{name}.png"
            save(kind, image, labels, class_names, palette, target)
            tqdm.write(str(target))
    print(
        f"{counted(len(files) - len(unreadable), 'image')} segmented{''.join(map(str, left_out))}."
    )
    if unreadable and not skip_bad:
        raise ValueError("\n".join([*unreadable.values(), SKIP]))
    for problem in unreadable.values():
        print(f"left out as bad: {problem}", file=sys.stderr)


def _without_images(models: Sequence[str]) -> str:
    """What is to be said where no images were named: perhaps --model has taken them."""
    told = "expected images, before --model, which takes what follows it"
    images = [name for name in models if Path(name).is_file()]
    if not images or len(images) == len(models):
        return f"{told}."
    words = [*images, "--model", *(name for name in models if name not in images)]
    return f"{told}: {program()} {shlex.join(words)}"


def named_images(named: Sequence[str], left_out: "list[LeftOut]") -> dict[str, Path]:
    """The files that the command line names, by what they are called in the output: below a folder,
    their path in it. What lies in a folder and is not taken is noted in `left_out`.

    Raises:
        ValueError: a name that is no file, folder or pattern of some; a folder without images; or
            two images of one name. All of them are told.
    """
    from ..data.pairs import LeftOut, image_files

    found: dict[str, Path] = {}
    problems = []
    for text in named:
        path = Path(text)
        if path.is_dir():
            left_out.append(LeftOut(path))
            taken = image_files(path, below=True, left_out=left_out[-1])
            below = {name: Path(file) for name, file in taken.items()}
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


def problems_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Why files are no image, as far as their headers tell, by name."""
    from ..data.images import check_image

    problems = {}
    for name, file in files.items():
        try:
            check_image(file)
        except (ValueError, OSError) as error:
            problems[name] = str(error)
    return problems


def remark_on_masks(files: Iterable[Path]) -> str | None:
    """What is to be said where masks of a data set are among its images; None if none are."""
    from ..data.own.layouts import (
        IMAGE_FOLDERS,
        MASK_FOLDER_ENDINGS,
        MASK_FOLDERS,
        MASK_WORDS,
        ending_within,
    )

    files = list(files)
    own = {file.parent for file in files}
    folders = own.union(*(folder.parents for folder in own))
    beside = {folder.parent for folder in folders if folder.name.lower() in IMAGE_FOLDERS}
    masks = sorted(
        str(folder)
        for folder in folders
        if (folder.name.lower() in MASK_FOLDERS and (folder in own or folder.parent in beside))
        or (folder.name.lower().endswith(MASK_FOLDER_ENDINGS) and folder in own)
    )
    for folder in sorted(own):
        ending = ending_within({file.stem for file in files if file.parent == folder})
        if ending is not None and any(word in ending.lower() for word in MASK_WORDS):
            masks.append(str(folder / f"*{ending}.*"))
    if not masks:
        return None
    return (
        f"{', '.join(masks)}: if these are the masks of a data set, they are segmented as well. To "
        "leave them out, name the images alone, by their folders or by patterns."
    )


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
