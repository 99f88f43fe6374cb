"""Students' model cards, rendered from what a run recorded of itself and from nothing else."""

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers.utils import logging

from ..base.files import RECORD_FILE as RECORD_FILE
from ..base.files import TEMPERATURE, read_json, whole, write_whole
from ..base.hub_access import shown_endpoint
from ..methods.paper import Paper
from .benchmark import drop_results
from .hub import Repository
from .onnx_scores import read_scores, rows_of_card, tags_of
from .rows import values_of_card

RECORD_FORMAT = 1
OLDER_RECORD_FILE = "cards.json"  # what older versions wrote in its place: what their cards said

logger = logging.get_logger(__name__)
FIGURE_FILE = "figure.png"  # beside each card


def render(
    record: Mapping[str, Any],
    name: str,
    repositories: Mapping[str, Repository],
    onnx: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
) -> ModelCard:
    """The card of the student NAME from its run's record, linked to where its siblings are
    published too.

    onnx: what is known of the ONNX files beside it, if there are any (`onnx_scores.read_scores`).
    temperature: by which its logits are divided to be calibrated, where one was fitted.
    """
    recorded = _on_one_line(values_of_card(record, name))
    own = repositories.get(name)
    title = (
        own.repo_id.split("/")[1]
        if own
        else f"{recorded['method']}-{recorded['dataset'] or 'student'}-{name}"
    )
    links = [
        f"[{description}]({shown_endpoint()}/{repositories[sibling].repo_id})"
        if sibling in repositories
        else description
        for sibling, description in recorded["siblings"].items()
    ]
    dataset, origin = recorded["dataset"], recorded["origin"]
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=recorded["dataset_id"] or dataset,
            dataset_name=dataset,
            dataset_split=result["split"],
            metric_type=result["metric"],
            metric_name=result["title"],
            metric_value=result["value"],
        )
        for result in recorded["results"]
        if dataset  # the Hub wants to know what a score is of
    ]
    card_data = ModelCardData(
        pipeline_tag="image-segmentation",
        library_name="transformers",
        license=recorded["license"],
        datasets=[recorded["dataset_id"]] if recorded["dataset_id"] else None,
        base_model=origin if origin and "/" in origin else None,
        tags=[
            *("semantic-segmentation", "knowledge-distillation", "ctcl_hf", recorded["method"]),
            *(tags_of(onnx) if onnx else []),
            *record.get("tags", []),  # a tracker's; older versions did not record them
        ],
        model_name=title,
        eval_results=results or None,
    )
    tables = {
        "scores": [[_cell(text) for text in row] for row in recorded["scores"]],
        "other_metrics": [_cell(title) for title in recorded["other_metrics"]],
        "splits": [_cell(split) for split in recorded["splits"]],
        "per_class": [[_cell(text) for text in row] for row in recorded["per_class"]],
        "training": [[_cell(text) for text in row] for row in recorded["training"]],
    }
    apart = (
        *("results", "origin", "has_figure", "dataset_title", "dataset_id", "paper", "siblings"),
        *tables,
    )
    return ModelCard.from_template(
        card_data,
        template_str=files(__package__).joinpath("student.md").read_text(encoding="utf-8"),
        title=title,
        model_id=own.repo_id if own else "PATH/TO/THIS/FOLDER",
        sibling_links=" and ".join(links),
        several=len(links) > 1,
        figure=FIGURE_FILE if recorded["has_figure"] else None,
        dataset_title=recorded["dataset_title"] or "",
        untaught=" and ".join(map(_cell, record.get("untaught", []))),  # older versions lack it
        citation=Paper(**recorded["paper"]).bibtex if recorded["paper"] else None,
        onnx=onnx and {**onnx, "rows": rows_of_card(onnx)},
        temperature=temperature,
        **tables,
        **{key: value for key, value in recorded.items() if key not in apart},
    )


def _on_one_line(value: Any) -> Any:
    """The same with every text on one line: a break (U+0085 is one to YAML) would cut tables and
    change metadata.
    """
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, Mapping):
        return {key: _on_one_line(inner) for key, inner in value.items()}
    return [_on_one_line(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _cell(text: str) -> str:
    """As it stands in a Markdown table, which a bar would cut."""
    return text.replace("|", "\\|")


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes a run's record into its folder."""
    write_whole(folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")


def write_cards(
    folder: Path,
    record: Mapping[str, Any],
    repositories: Mapping[str, Repository],
    figure: Path | None = None,
) -> None:
    """Writes README.md, and the figure, into the folder of each student, and what they were
    rendered from beside.

    A card that cannot be made costs itself and a warning, no student and no checkpoint.
    """
    write_record(folder, record)
    for name in record["students"]:
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        drop_results(own)
        try:
            card = render(record, name, repositories, read_scores(own), _temperature_of(own))
            write_whole(own / "README.md", str(card))
            if figure is not None:
                with whole(own / FIGURE_FILE) as staged:
                    shutil.copyfile(figure, staged)
        except Exception as error:
            # of the template, of what the Hub's client takes in a card, of the disk
            logger.warning(
                f"The card in {own} could not be made ({type(error).__name__}: {error})."
            )


def _temperature_of(student: Path) -> float:
    """Of a saved student; 1 where none was fitted, or none is saved yet."""
    file = student / "config.json"
    return read_json(file).get(TEMPERATURE, 1.0) if file.is_file() else 1.0


def default_name(folder: Path) -> str:
    """METHOD-DATASET of the run in a folder, to name repositories after; the folder's own name if
    it recorded none.
    """
    path = folder / RECORD_FILE
    record = read_json(path) if path.is_file() else None
    if record is None or record["data"]["dataset"] is None:
        return folder.resolve().name
    return f"{record['method']['name'].lower()}-{record['data']['dataset']}"


def rewrite_cards(folder: Path, repositories: Mapping[str, Repository]) -> None:
    """Renders the cards in a run's folder again, for other repositories.

    A folder without a record is left alone.
    """
    path = folder / RECORD_FILE
    if not path.is_file() and (folder / OLDER_RECORD_FILE).is_file():
        logger.warning(
            f"The cards in {folder} stay as they are: an older version wrote them, without "
            f"{RECORD_FILE}."
        )
    if path.is_file():
        write_cards(folder, read_json(path), repositories)
