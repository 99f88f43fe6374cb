"""Whether the finished runs of a grid were made by files of the user's own as they are now."""

from collections.abc import Sequence

from ...base.registry import is_reference, origin_of
from ...methods import METHODS
from ...publishing.card import RECORD_FILE
from ...publishing.rows import OWN_CODE
from ...students import STUDENTS
from .cell import Cell


def changed_code(cells: Sequence[Cell]) -> str | None:
    """A sentence that names the folders of all finished cells which were run with other code of the
    user's own than this process has run; None if there are none.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        was, now = (_recorded(cell), _present(cell)) if cell.is_finished else ([], [])
        if was != now:
            what = (", ".join(was) or "none", ", ".join(now) or "none")
            found.setdefault(what, []).append(str(cell.folder))
    if not found:
        return None
    told = [
        f"{', '.join(folders)}: was run with other code of your own ({was}) than there is now "
        f"({now})."
        for (was, now), folders in found.items()
    ]
    return "\n".join(told)


def _present(cell: Cell) -> list[str]:
    """What of it is from files of the user's own, with their hashes as they were run in this
    process.
    """
    references = [word for word in cell.arguments if is_reference(word)]
    own = [
        registry[word]
        for registry in (METHODS, STUDENTS)
        for word in references
        if word in registry
    ]
    return sorted({origin_of(entry) for entry in own})


def _recorded(cell: Cell) -> list[str]:
    """The same as its run recorded it; none of a run of a version that could have none."""
    if not (cell.folder / RECORD_FILE).is_file():
        return []
    return sorted({*cell.read(RECORD_FILE).get(OWN_CODE, {}).values()})
