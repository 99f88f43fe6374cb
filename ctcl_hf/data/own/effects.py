"""Options of data that would change nothing for data of their kind: refused, so that none is
recorded as applied.
"""

from collections.abc import Mapping, Sequence

from PIL import Image

from ..masks import Colour


def check_map(
    label_map: Mapping[int, int] | None, ignore_index: int | None, reduce_labels: bool
) -> None:
    """ValueError if two options say of an id what it stands for."""
    if reduce_labels and (label_map or ignore_index is not None):
        raise ValueError(
            "--reduce_labels says what id 0 is: leave --label_map and --ignore_index out."
        )
    if ignore_index in (label_map or {}):
        raise ValueError(
            f"--ignore_index {ignore_index} and --label_map {ignore_index}:"
            f"{(label_map or {})[ignore_index]} both say what id {ignore_index} is: leave one out."
        )


def check_source(name: str, is_folder_of_images: bool, **options: str | None) -> None:
    """ValueError if an option tells of columns where there are none, or of folders.

    Args:
        options: as in `build_own`; None where they are not given.
    """
    of_columns = ("image_column", "label_column")
    given = [
        option
        for option, value in options.items()
        if value is not None and (option in of_columns) == is_folder_of_images
    ]
    if given:
        kind = "a folder of image files" if is_folder_of_images else "Parquet, or of the Hub"
        raise ValueError(
            f"--{given[0]} {options[given[0]]} has no effect: {name} is {kind}. Leave it out."
        )


def check_colours(
    mask: Image.Image | None,
    colours: Mapping[Colour, int],
    names: Sequence[str],
    label_map: Mapping[int, int],
    reduce_labels: bool,
) -> None:
    """ValueError if the first mask is of colours, and something is said of ids that these never
    become.

    Args:
        mask: None where it could not be opened.
        colours: RGB -> class id.
    """
    if mask is None or not colours or mask.mode not in ("RGB", "RGBA"):
        return
    way = (
        'A colour that is not scored is called "ignored" in the palette or list, and a class may '
        "have several: docs/data.md."
    )
    if reduce_labels:
        raise ValueError(f"--reduce_labels is for masks of ids, and these are of colours. {way}")
    if beyond := sorted(set(label_map) - set(range(len(names)))):
        raise ValueError(
            f"--label_map or --ignore_index {beyond[0]}: the masks are of colours, which are ids "
            f"0..{len(names) - 1} by their class ({names[0]} is 0). {way}"
        )
    if without := [name for i, name in enumerate(names) if i not in colours.values()]:
        raise ValueError(
            f"The masks are of colours, and the palette or list has none for {', '.join(without)}: "
            "no pixel could be of that class. Give it a colour, or leave it out of the classes: "
            "--class_names."
        )
