"""What of a grid's set-up is not the paper's, in words."""

from pathlib import Path
from typing import Any

from ...base.files import RECORD_FILE
from .cell import Cell
from .grid import Grid
from .paper import TABLES, Table

# The paper's set-up, where an argument says it: group in results.json, argument, what it is called,
# value.
PAPER_SETUP = (
    ("students", "from_scratch", "random initial weights, but for files given", False),
    ("students", "aspp_channels", "width of DeepLabV3+'s ASPP", 512),
    ("students", "output_stride", "stride of DeepLabV3+'s encoder (default: the paper's)", None),
    ("data", "image_size", "image size (default: the data set's own)", None),
    ("data", "crop_size", "crop", [512, 512]),
    ("data", "scale_range", "scale of training images", [0.5, 2.0]),
    ("training", "per_device_train_batch_size", "images per process and step", 4),
    ("training", "cnn_lr", "learning rate, SGD", 0.0025),
    ("training", "vit_lr", "learning rate, AdamW", 6e-5),
)


def setup_of(grid: Grid, pair: str, paper: Table | None) -> str:
    """What differs from the paper's set-up, and how the tables of a pair are to be read."""
    cells = [cell for cell in grid.cells() if cell.pair == pair and cell.is_finished]
    steps = cells[0].read("trainer_state.json")["global_step"]
    seeds = len({cell.seed for cell in cells})
    return (
        "What differs from what the paper says of its set-up: "
        + "; ".join(differences(cells[0], pair, steps, seeds, paper))
        + ".\nΔ is the sum of the students' gains over vanilla of the same seed. "
        + (
            "± is the standard deviation over seeds."
            if seeds > 1
            else "With one seed, differences may be chance."
        )
        + " A class is lost that vanilla of the same seed knows (IoU above 5 %) and the method "
        "less than half."
    )


def caption_of(grid: Grid, paper: Table) -> str:
    """Which of the paper's tables it is, and of what data."""
    finished = (cell for cell in grid.cells() if cell.is_finished)
    own = next((_dataset(cell) for cell in finished), paper.dataset)
    caption = f"{paper.caption}, with the paper's numbers beside ours."
    if own != paper.dataset:
        caption = f"On {own}; the paper's numbers beside ours are of other data ({paper.caption})."
    return f"{caption} {paper.remark}".rstrip()


def differences(cell: Cell, pair: str, steps: int, seeds: int, paper: Table | None) -> list[str]:
    """What of a run's set-up is not the paper's, a sentence each."""
    of_paper = [paper] if paper else list(TABLES.values())
    results, dataset = cell.read("results.json"), _dataset(cell)
    facts = {
        "data set": (dataset, {table.dataset for table in of_paper}),
        "students": (pair, {own for table in of_paper for own in table.scores}),
    }
    found = [
        f"{what}: {own} (paper: {' or '.join(sorted(theirs))})"
        for what, (own, theirs) in facts.items()
        if own not in theirs
    ]
    found += [
        f"{title}: {_plain(name, results[group][name])} (paper: {_plain(name, value)})"
        for group, name, title, value in PAPER_SETUP
        if results[group][name] != value
    ]
    if files := results["students"].get("encoder_weights"):
        found.append(f"weights of encoders from {', '.join(Path(file).name for file in files)}")
    batch = (
        results["training"]["per_device_train_batch_size"]
        * results["training"]["gradient_accumulation_steps"]
    )
    is_of_paper = dataset in {table.dataset for table in TABLES.values()}
    length = " (paper: 158,730 of 4 on VOC, not stated elsewhere)" if is_of_paper else ""
    number = " (paper: not stated)" if is_of_paper else ""
    found.append(f"{steps} steps of {batch} images per process{length}")
    found.append(f"{seeds} {'seed' if seeds == 1 else 'seeds'}{number}")
    return found


def _dataset(cell: Cell) -> str:
    """What a run calls its data, which is another name where they are a part of a benchmark."""
    told = cell.read("results.json")["data"]
    if told["dataset_name"] is not None or not (cell.folder / RECORD_FILE).is_file():
        return told["dataset_name"] or told["dataset"]
    return cell.read(RECORD_FILE).get("data", {}).get("dataset") or told["dataset"]


def _plain(name: str, value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list):
        return (" to " if name == "scale_range" else " x ").join(map(str, value))
    return (
        {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )
