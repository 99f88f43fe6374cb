"""The check list at the end of a table: what a reader must know to believe it, or to make it
again.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...arguments.data import DataArguments
from ...base.tables import listed
from ...data.fingerprint import fingerprint
from ...publishing.card import OLDER_RECORD_FILE, RECORD_FILE
from ...publishing.rows import OWN_CODE
from .cell import Cell
from .grid import Grid
from .statistics import LEAST_BLOCKS
from .tables import AT_EQUAL_SECONDS, Section, minutes_of, of_which_runs

IDS_SHOWN = 6  # of a map of mask ids


@lru_cache
def _splits(arguments: str) -> str:
    """The splits of the data that JSON arguments name, as they lie there now, each with its
    fingerprint.

    A table is written many times: they are read once.
    """
    try:
        data = DataArguments(**json.loads(arguments)).load()
        prints = (
            f"{split} {len(rows)} images, {fingerprint(data.samples(split, transform=None))}"
            for split, rows in data.splits.items()
        )
        return f"{'; '.join(prints)} (fingerprints, as in run.json)"
    except (OSError, ValueError, TypeError) as error:
        return f"not at hand for a fingerprint ({error})"


def checklist(
    grid: Grid, cells: Sequence[Cell], sections: Sequence[Section], block_length: int
) -> str:
    """Markdown: what the finished cells of one pair were trained on, how they were scored, and what
    intervals cover.

    sections: the tables of the pair, of which it tells.
    """
    facts = cells[0].read("results.json")
    data, training = facts["data"], facts["training"]
    scores = next(iter(cells[0].evaluations().values())).students.values()
    classes = list(dict.fromkeys(label for of in scores for label in of.ious))
    size = "the data's own size"
    if data["image_size"]:
        size = f"{'x'.join(map(str, data['image_size']))} (height x width)"
    state = cells[0].read("trainer_state.json")
    rows = {row: [cell for cell in cells if cell.row == row] for row in grid.rows}
    rows = {row: own for row, own in rows.items() if own}
    by_seed = {row.title: ", ".join(str(cell.seed) for cell in own) for row, own in rows.items()}
    same_seeds = len(set(by_seed.values())) == 1
    lines = {
        "data": f"{data['dataset_name'] or data['dataset']}; "
        f"{_splits(json.dumps(data, sort_keys=True))}",
        "class map": f"{len(classes)} classes: {', '.join(classes)}; masks "
        f"{_masks(data, cells[0])}",
        "resolution": f"trained on crops of {'x'.join(map(str, data['crop_size']))} from images "
        f"scaled about {size}; scored: {facts['protocol']}",
        "checkpoint": _selection(training, state["global_step"]),
        "seeds": next(iter(by_seed.values()))
        if same_seeds
        else "; ".join(f"{k}: {v}" for k, v in by_seed.items()),
        "intervals": "95 %. Over seeds: Student's t of differences paired by seed; covers weights, "
        "order and augmentation, on these images. Over images: bootstrap over blocks of "
        f"{block_length} consecutive images, mIoU from summed counts, methods paired on the same "
        "blocks and seeds; covers the choice of images, for these students; none of fewer than "
        f"{LEAST_BLOCKS} blocks. Neither covers other data, nor that the best of several methods "
        "was picked",
        **(
            {
                "equal seconds": "both runs of a seed at their last validation within the shorter "
                "one's training time; against the slower run, whose learning rate has not decayed "
                "to its end there"
            }
            if any(section.remark == AT_EQUAL_SECONDS for section in sections)
            else {}
        ),
        "hardware": _of_all(cells, lambda cell: cell.read("results.json")["machine"]),
        "precision": "bfloat16"
        if training["bf16"]
        else "float16"
        if training["fp16"]
        else "float32",
        "versions": _of_all(cells, lambda cell: listed(cell.read("results.json")["versions"])),
        "time": "; ".join(f"{row.title}: {_minutes(own)}" for row, own in rows.items())
        + " minutes a run, with its report; runs at a time: "
        + _of_all(cells, lambda cell: str(cell.facts()["jobs"])),
    }
    text = [f"- **{what}**: {value}" for what, value in lines.items()]
    text += [f"- **{row.title}** ran `{row.arguments}`: {_loss(own)}" for row, own in rows.items()]
    return "\n".join(text)


def _minutes(cells: Sequence[Cell]) -> str:
    minutes, whole = minutes_of(cells)
    return f"{minutes:.1f}{of_which_runs(whole, len(cells))}"


def _masks(data: Mapping[str, Any], cell: Cell) -> str:
    """What a run's flags say of what masks hold, as they were given; without any, what the data
    map.
    """
    flags = []
    for name in ("label_map", "ignore_index", "reduce_labels", "palette"):
        value = data.get(name)
        if value is not None and value is not False:
            words = value if isinstance(value, list) else [] if value is True else [value]
            flags.append(" ".join([f"--{name}", *map(str, words)]))
    if flags:
        return f"read by `{' '.join(flags)}`"
    record = cell.read(RECORD_FILE) if (cell.folder / RECORD_FILE).is_file() else {}
    read = record.get("data", {}).get("train") or {}
    mapped = [f"{old} as {new}" for old, new in read.get("label_map", {}).items()]
    if not mapped:
        return "as stored"
    more = f" and {len(mapped) - IDS_SHOWN} more" if len(mapped) > IDS_SHOWN else ""
    return f"read with {', '.join(mapped[:IDS_SHOWN])}{more}"


def _selection(training: Mapping[str, Any], steps: int) -> str:
    if training.get("load_best_model_at_end"):
        return (
            f"of {steps} steps, the best by {training['metric_for_best_model']} on validation, "
            "which is not held out"
        )
    return f"the last of {steps} steps; nothing is selected by validation or test"


def _of_all(cells: Sequence[Cell], read) -> str:
    """What all cells have in common, or each of what they have."""
    return " / ".join(dict.fromkeys(read(cell) for cell in cells))


def _loss(cells: Sequence[Cell]) -> str:
    """Terms, weights and options that the runs recorded for their cards; those that differ by seed
    are told apart.
    """
    found: dict[str | None, list[int]] = {}
    for cell in cells:
        found.setdefault(_recorded_loss(cell), []).append(cell.seed)
    unknown = found.pop(None, None)
    if not found:
        return "what it ran was not recorded"
    told = (
        next(iter(found))
        if len(found) == 1
        else "NOT THE SAME WITH EVERY SEED: "
        + " / ".join(f"seeds {seeds}: {loss}" for loss, seeds in found.items())
    )
    return f"{told}; of seeds {unknown} it is not recorded" if unknown else told


def _recorded_loss(cell: Cell) -> str | None:
    """None if nothing says it."""
    if (cell.folder / RECORD_FILE).is_file():
        record = cell.read(RECORD_FILE)
        method, code = record["method"], record.get(OWN_CODE, {})
        losses = {name: listed(of) for name, of in method["weights"].items()}
        told = {name: value for name, value in method.items() if name == "class_weights"}
        told |= {f"code of {what}": origin for what, origin in code.items()}
        options = listed(method["options"] | told)
    elif (cell.folder / OLDER_RECORD_FILE).is_file():
        by_student = {
            name: dict(own["training"]) for name, own in cell.read(OLDER_RECORD_FILE).items()
        }
        losses = {name: rows["loss, by term and weight"] for name, rows in by_student.items()}
        options = next(iter(by_student.values())).get("options of the method")
    else:
        return None
    parts = [f"{name} {loss}" for name, loss in losses.items()]
    return "; ".join([*parts, f"options: {options}"] if options else parts)
