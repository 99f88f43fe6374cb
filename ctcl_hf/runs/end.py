"""The end of a run: students saved, scored, published and drawn, in this order; a later start makes
what is missing.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers.utils import logging

from ..base.files import write_whole
from ..base.tables import counted, markdown_table
from ..figures import blind_classes_figure, costing, history_figure, save_figure
from ..metrics.scores import curve, evaluations_from_json
from ..publishing.card import RECORD_FILE
from ..publishing.hub import PushError
from ..publishing.rows import weights_text
from ..scoring.evaluate import NothingToScore
from ..scoring.image_counts import SplitCounts, load_counts, save_counts
from ..training.checkpoints import has_stopped_early, trained_steps
from ..training.classes import GROUPS, groups_text, kept_steps, still_lost
from ..training.progress import metrics_table, parameter_table
from ..training.record import machine, versions
from ..training.trainer import CTCLTrainer
from .files import FIGURE_FILE, GROUPS_FILE, is_drawn, read_if_there
from .page.run import write_run_page
from .pictures import write_extremes, write_spread

if TYPE_CHECKING:
    from .run import Run

logger = logging.get_logger(__name__)

# of the end, in the order in which they are made
PARTS = ("students", "scores", "publication", "pictures")
# in an output folder: scores and what they are of; written when all of it is there
RESULTS_FILE = "results.json"


def missing_at_end(trainer: CTCLTrainer) -> list[str]:
    """What of `PARTS` the output folder does not hold of this run: all of them if it is not trained
    to its end.
    """
    folder = Path(trainer.args.output_dir)
    steps = trained_steps(folder)
    is_whole = steps == trainer.total_steps()
    if steps is None or not (is_whole or has_stopped_early(folder)):
        return list(PARTS)
    there = {
        "students": True,
        "scores": read_if_there(folder / RESULTS_FILE).get("steps") == steps,
        "publication": not trainer.args.push_to_hub or not trainer.publisher.unpushed,
        "pictures": is_drawn(folder),
    }
    return [part for part in PARTS if not there[part]]


def finish(run: "Run") -> None:
    """Makes what is missing of the run's end, and nothing else.

    Pictures, tables and cards that cannot be made cost themselves and a warning.

    Raises:
        OSError: the students, or then their scores, could not be written or taken.
        PushError: they could not be published; all the rest is made before it is raised.
    """
    trainer, folder = run.trainer, Path(run.trainer.args.output_dir)
    if not run.missing:
        _tell(
            trainer,
            f"{folder} holds this run, finished after {trained_steps(folder)} steps: it is left as "
            "it is.",
        )
        return
    if "students" in run.missing:
        trainer.save_model(_internal_call=True)  # not yet to the Hub: once, with its scores
    else:
        trainer.load_trained()
        if "scores" not in run.missing:
            trainer.scores.update(
                evaluations_from_json(read_if_there(folder / RESULTS_FILE)["scores"])
            )
        weights = read_if_there(folder / RECORD_FILE).get("weights", {})
        trainer.chosen_steps.update(
            {name: own["step"] for name, own in weights.items() if own["chosen"]}
        )
        trainer.facts.figure = None if "pictures" in run.missing else folder / FIGURE_FILE
        _tell(
            trainer,
            f"{folder} is trained to its end already. What is missing is made: "
            f"{', '.join(run.missing)}.",
        )
    if "scores" in run.missing:
        try:
            score(run)
        except OSError as error:
            raise OSError(
                f"{str(error).rstrip('.')}. Both students are saved in {folder}: the same command "
                "with --resume_from_checkpoint auto scores them, and makes the rest."
            ) from error
    failure = None
    if "publication" in run.missing and trainer.args.push_to_hub:
        try:
            publish(trainer)
        except PushError as error:
            failure = error
    if "pictures" in run.missing and trainer.is_world_process_zero():
        draw(run)
        if trainer.facts.figure is not None:
            trainer.publisher.forget_commits()  # of cards without it
            if trainer.args.push_to_hub and failure is None:
                trainer.push_saved("Show predictions")
    if failure is not None:
        raise failure


def _tell(trainer: CTCLTrainer, text: str) -> None:
    if trainer.is_world_process_zero():
        print(text)


# ---- scores ----


def score(run: "Run") -> None:
    """Evaluates every labelled split but train, prints the tables, and writes scores and cards to
    the output folder.

    results.md and results.json: scores, arguments, machine and versions. counts.npz: what every
    image adds to the scores.
    """
    trainer, data, folder = run.trainer, run.data, Path(run.trainer.args.output_dir)
    metrics: dict[str, float] = {}
    counts, sizes = {}, {}
    # of an earlier try, which was killed before it came to its end
    of_splits = tuple(f"{split}_" for split in data.scored_splits)
    trainer.state.log_history = [
        log
        for log in trainer.state.log_history
        if not any(key.startswith(of_splits) for key in log)
    ]
    for split in data.scored_splits:
        samples = (
            trainer.eval_dataset  # whose batches the training may have kept
            if split == "validation"
            else data.samples(split, trainer.protocol.transform)
        )
        sizes[split] = len(samples)
        try:
            metrics |= trainer.evaluate(samples, metric_key_prefix=split)
        except NothingToScore:
            continue
        gathered = {name: own.gather() for name, own in trainer.image_counts.items()}
        if trainer.is_world_process_zero():
            counts[split] = SplitCounts(
                samples.names(), {name: own.dense() for name, own in gathered.items()}
            )
    if not trainer.is_world_process_zero():
        return
    save_counts(folder, data.class_names, counts)
    trainer.save_state()
    with costing(f"The tables in {folder / 'results.md'}"):
        text = "\n\n".join(_tables(trainer, sizes, data.class_names))
        print(f"\n{text}\n")
        record = trainer.record()
        heading = f"# {record['method']['name']} on {record['dataset_title']}"
        write_whole(folder / "results.md", f"{heading}\n\n{text}\n")
    trainer.create_model_card()
    facts = {
        "steps": trainer.state.global_step,
        "recipe": run.arguments.recipe,
        "students": vars(run.arguments.students),
        "data": vars(run.arguments.data),
        "method": vars(run.arguments.method) | run.arguments.options.values(),
        "training": trainer.args.to_dict(),
        "metrics": metrics,
        "scores": {split: scores.to_json() for split, scores in trainer.scores.items()},
        "weights": trainer.record()["weights"],
        "protocol": str(trainer.protocol),
        "versions": versions(),
        "machine": machine(trainer.args.device, trainer.args.world_size),
        "command": trainer.facts.command,
    }
    # last: it says that all is there
    write_whole(folder / RESULTS_FILE, json.dumps(facts, indent=2, default=str))
    for name in trainer.model.names:
        print(f"{name:8} {folder / name}")


def _tables(
    trainer: CTCLTrainer, sizes: Mapping[str, int], class_names: Sequence[str]
) -> list[str]:
    """Students, scores of each split, and what became of the classes, as text.

    sizes: how many images each split has. Those of which none has a label have no scores.
    """
    names, history = trainer.model.names, trainer.state.log_history
    tables = [parameter_table(trainer.model), f"Scored: {trainer.protocol}."]
    for split, images in sizes.items():
        heading = f"{split}: {counted(images, 'image')}"
        if split not in trainer.scores:
            tables.append(f"{heading}, none of which has a labelled pixel: not scored")
            continue
        control = (trainer.facts.control or {}).get(split)
        tables.append(f"{heading}\n\n{metrics_table(trainer.scores[split], split, control)}")
    weights = trainer.record()["weights"]
    told = {name: weights_text(own, trainer.state.global_step) for name, own in weights.items()}
    tables.append("\n".join(f"Weights of {name}: {text}." for name, text in told.items() if text))
    if curve(history, names[0]):
        tables.append(_best_table(history, names))
    lost = "\n".join(map(str, still_lost(history, names, class_names, kept_steps(weights))))
    return tables + [text for text in (groups_text(history), lost) if text]


def _best_table(history: list[dict], names: tuple[str, ...]) -> str:
    """Each student's first, best and last validation mIoU."""
    lines = [["validation mIoU (%)", "first", "best", "last"]]
    for name in names:
        ious = [(iou, step) for step, iou in curve(history, name)]
        best = max(ious, key=lambda point: point[0])  # the first of equal ones
        cells = [f"{100 * iou:.2f} (step {step})" for iou, step in (ious[0], best, ious[-1])]
        lines.append([name, *cells])
    return markdown_table(lines)


# ---- the Hub ----


def publish(trainer: CTCLTrainer) -> None:
    """Pushes the saved students, with cards that link to each other.

    PushError if one of them could not be.
    """
    if not trainer.is_world_process_zero():
        return
    trainer.create_model_card()
    for name in trainer.push_saved():
        print(f"{name:8} {trainer.publisher.repositories[name].url}")


# ---- pictures ----


def draw(run: "Run") -> None:
    """Draws the run into its output folder, and shows its students' predictions on their cards.

    curves.png: scores and loss terms over the run. classes.png: which classes a student's peer was
    blind to, where the method groups them. extremes.png, figure.png: images, truth, all
    predictions and where they disagree, of the images that are scored best and worst, and of some
    spread evenly. report.html: all of the run on a page.
    """
    trainer, folder = run.trainer, Path(run.trainer.args.output_dir)
    history = trainer.state.log_history
    if any("loss" in log for log in history):
        with costing(f"The curves in {folder / 'curves.png'}"):
            figure = history_figure(history, trainer.model.names, trainer.model.objective.logged())
            save_figure(figure, folder / "curves.png")
            print(f"curves   {folder / 'curves.png'}")
    changes = [(log["step"], log[GROUPS]) for log in history if GROUPS in log]
    if changes:
        with costing(f"The picture in {folder / GROUPS_FILE}"):
            figure = blind_classes_figure(changes, trainer.state.global_step, run.data.class_names)
            save_figure(figure, folder / GROUPS_FILE)
            print(f"classes  {folder / GROUPS_FILE}")
    with costing("The picture of the images that are scored best and worst"):
        write_extremes(trainer.model, run.data, load_counts(folder)[1], folder)
    with costing(f"The figure in {folder / FIGURE_FILE}"):
        trainer.facts.figure = write_spread(trainer.model, run.data, folder)
        print(f"figure   {folder / FIGURE_FILE}")
    with costing("The page of the run"):
        print(f"report   {write_run_page(folder)}")
    # last, since the record of a figure says that there is no more to draw
    with costing("The cards that show it"):
        trainer.create_model_card()
