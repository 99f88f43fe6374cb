"""Classes whose names say that they are none."""

from collections.abc import Mapping, Sequence

from .masks import IGNORE_INDEX, Colour

UNSCORED = (
    "void",
    "unlabelled",
    "unlabeled",
    "unlabel",
    "ignore",
    "ignored",
    "unknown",
    "dontcare",
)


def is_unscored(name: str) -> bool:
    """Whether it is what tools call pixels that nobody has labelled, in any spelling."""
    return "".join(letter for letter in name.lower() if letter.isalpha()) in UNSCORED


def remark_on_names(
    names: Sequence[str], label_map: Mapping[int, int], colours: Mapping[Colour, int]
) -> str | None:
    """That a class will be learnt and scored which may mean pixels that nobody has labelled, and
    how to say so; None if no name does.

    Args:
        label_map, colours: what the masks' ids and colours stand for, see `MaskReader`.
    """
    for class_id, name in enumerate(names):
        if not is_unscored(name) or label_map.get(class_id) == IGNORE_INDEX:
            continue
        if class_id in colours.values():
            way = f'call it "ignored" in place of {name} where its colour is given'
        elif class_id == 0:
            way = "leave it out of the names, and give --reduce_labels"
        elif class_id == len(names) - 1:
            way = f"leave it out of the names, and give --ignore_index {class_id}"
        else:
            moved = " ".join(f"{i}:{i - 1}" for i in range(class_id + 1, len(names)))
            way = (
                f"leave it out of the names, and give --label_map {class_id}:{IGNORE_INDEX} {moved}"
            )
        return (
            f"{name} is a class as any other, which is learnt and scored. If it means pixels that "
            f"are not to be scored, {way}."
        )
    return None
