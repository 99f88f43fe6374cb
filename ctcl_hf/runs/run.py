"""A whole run from its arguments: data, students, objective and trainer; and what is written at its end."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate.utils import gather_object
from transformers import set_seed
from transformers.utils import logging

from ..arguments.data import DataArguments
from ..arguments.pair import StudentArguments
from ..arguments.recipes import Arguments
from ..arguments.training import CTCLArguments
from ..data import SegmentationData, TrainingTransform
from ..figures import blind_classes_figure, comparison_figure, history_figure, save_figure
from ..files import write_whole
from ..methods import METHODS
from ..methods.pair import StudentPair
from ..scoring.evaluate import NothingToScore
from ..scoring.image_counts import SplitCounts, save_counts
from ..scoring.predict import load_for_inference, segment
from ..students import Student, as_student
from ..students.loading import is_timm_encoder, load_student
from ..tables import markdown_table
from ..training.checkpoints import find_checkpoint
from ..training.classes import GROUPS, groups_text, still_lost
from ..training.progress import metrics_table, parameter_table
from ..training.record import RunFacts, machine, versions
from ..training.trainer import CTCLTrainer

FIGURE_IMAGES = 4


class Run(NamedTuple):
    """A run that is ready to start."""

    arguments: Arguments
    data: SegmentationData
    trainer: CTCLTrainer
    checkpoint: str | None  # to resume from


def prepare(arguments: Arguments) -> Run:
    """Everything that can fail before the first step: data, students, checkpoint. ValueError or OSError says what."""
    _, students, data_arguments, method, options, training, command = arguments
    checkpoint = _same_everywhere(find_checkpoint(training.output_dir, training.resume_from_checkpoint), training)
    data = data_arguments.load()
    if training.process_index == 0:
        print(data)
    image_size = tuple(data_arguments.image_size or data.image_size)
    protocol = data_arguments.build_protocol(data.protocol, image_size, tuple(data_arguments.crop_size))
    if training.process_index == 0:
        crop, whole = ("x".join(map(str, size)) for size in (data_arguments.crop_size, image_size))
        print(f"Trained: on crops of {crop} from images scaled about {whole} (height x width). Scored: {protocol}.")
    logging.disable_progress_bar()  # of single files read and written, which would break the training bar
    set_seed(training.seed)
    pair_students = _students(students, data.class_names, image_size)
    for student in pair_students.values():
        for size in {tuple(data_arguments.crop_size), image_size}:
            student.check_size(size)
    # After the students: that the Hub does not answer is told sooner than every file can be read.
    if training.local_process_index == 0:
        _check(data, data_arguments)
    control = _control(training.control, data_arguments) if training.control else None
    training.hub_model_id = training.hub_model_id or f"{method.method}-{data.name}"
    # Each learns from a trained student of the other's kind.
    teachers = {}
    if method.teachers is not None:
        peers = reversed(pair_students)
        teachers["teachers"] = tuple(_teacher(Path(method.teachers) / name, data.class_names) for name in peers)
    objective = METHODS[method.method](*pair_students.values(), **teachers, **options.values())
    pair = StudentPair(pair_students, objective)
    augment = TrainingTransform(
        image_size, tuple(data_arguments.crop_size), tuple(data_arguments.scale_range), data_arguments.photometric
    )
    trainer = CTCLTrainer(
        pair,
        training,
        train_dataset=data.samples("train", augment),
        eval_dataset=data.samples("validation", protocol.transform),
        facts=RunFacts(
            dataset=data.name,
            dataset_title=data.title,
            dataset_id=data.hub_id,
            recipe=arguments.recipe,
            command=command,
            control=control,
            license=training.hub_license,
            protocol=str(protocol),
        ),
        protocol=protocol,
    )
    if checkpoint is not None:
        trainer.check_resumption(Path(checkpoint))
    for name, repository in trainer.publisher.repositories.items():
        print(f"{name} will be published at {repository.url}")
    return Run(arguments, data, trainer, checkpoint)


def _same_everywhere(checkpoint: str | None, training: CTCLArguments) -> str | None:
    """The checkpoint. ValueError if not all processes have found this one."""
    if training.world_size > 1:
        found = [path and Path(path).name for path in gather_object([checkpoint])]
        if len(set(found)) > 1:
            raise ValueError(
                f"The processes of this run would go on from different checkpoints ({', '.join(map(str, found))}): "
                f"{training.output_dir} must be on a disk that all machines share."
            )
    return checkpoint


def _check(data: SegmentationData, arguments: DataArguments) -> None:
    try:
        if arguments.check_data and not data.is_streamed:
            data.check()
        else:
            data.check_classes()
    except ValueError as error:
        if arguments.dataset_name is None:
            raise
        raise ValueError(
            f"{error}\nWhat masks hold is said by --class_names, --label_map, --ignore_index, --reduce_labels and "
            "--palette: docs/data.md."
        ) from None


def _students(arguments: StudentArguments, class_names: tuple[str, ...], size: tuple[int, int]) -> dict[str, Student]:
    """Both students by name: their families, numbered where they are of one."""
    families = ("cnn", "vit") if arguments.students is None else (None, None)
    sources = arguments.students or (arguments.cnn, arguments.vit)
    loaded = [
        load_student(
            name,
            class_names,
            size,
            family=family,
            from_scratch=arguments.from_scratch,
            encoder_weights=weights,
            aspp_channels=arguments.aspp_channels,
            output_stride=arguments.output_stride,
        )
        for name, family, weights in zip(sources, families, _weights_of(sources, arguments), strict=True)
    ]
    names = [family or student.family for family, student in zip(families, loaded, strict=True)]
    if names[0] == names[1]:
        names = [f"{name}_{i}" for i, name in enumerate(names, 1)]
    return dict(zip(names, loaded, strict=True))


def _weights_of(sources: Sequence[str], arguments: StudentArguments) -> list[str | None]:
    """Of each student, the local file of its encoder's weights. ValueError if there are more or fewer than encoders."""
    given = arguments.encoder_weights or []
    encoders = [name for name in sources if is_timm_encoder(name)]
    if given and len(given) != len(encoders):
        raise ValueError(
            f"--encoder_weights {' '.join(given)}: expected a file for each timm encoder among the students, which are "
            f"{', '.join(encoders) or 'none'}."
        )
    files = iter(given)
    return [next(files, None) if is_timm_encoder(name) else None for name in sources]


def complete(run: Run) -> bool:
    """Trains, and finishes what is trained to its end; no other run writes to the folder before all of it is there.

    False if a signal stopped the training. OSError if another run is writing to the output folder.
    """
    with run.trainer.holding_output_folder():
        if not train(run):
            return False
        finish(run)
        return True


def train(run: Run) -> bool:
    """Trains, from the checkpoint if there is one. False if a signal stopped it before its end."""
    run.trainer.train(resume_from_checkpoint=run.checkpoint)
    if run.trainer.preemption.stopped:
        step = run.trainer.state.global_step
        print(f"Stopped after step {step} by a signal. With --resume_from_checkpoint auto, the same command goes on.")
    return not run.trainer.preemption.stopped


def finish(run: Run) -> None:
    """Saves both students, reports on them, and publishes them if asked to. PushError if that fails, after the rest."""
    trainer = run.trainer
    trainer.save_model(_internal_call=True)  # not yet to the Hub: once, with its scores
    report(run)
    if trainer.args.push_to_hub:
        commits = trainer.push_to_hub()
        for name in commits or {}:
            print(f"{name:8} {trainer.publisher.repositories[name].url}")


def report(run: Run) -> None:
    """Evaluates every labelled split but train, prints the tables, and writes results and figures to the output folder.

    results.md and results.json: scores, arguments, machine and versions. counts.npz: what every image adds to the
    scores. figure.png: images, truth, both predictions and where they disagree. curves.png: scores and loss terms
    over the run. classes.png: which classes a student's peer was blind to, where the method groups them.
    """
    trainer, data, folder = run.trainer, run.data, Path(run.trainer.args.output_dir)
    names = trainer.model.names
    metrics, counts, tables = {}, {}, [parameter_table(trainer.model), f"Scored: {trainer.protocol}."]
    for split in data.scored_splits:
        samples = data.samples(split, trainer.protocol.transform)
        try:
            scores = trainer.evaluate(samples, metric_key_prefix=split)
        except NothingToScore:
            tables.append(f"{split}: {len(samples)} images, none of which has a labelled pixel: not scored")
            continue
        metrics |= scores
        gathered = {name: own.gather() for name, own in trainer.image_counts.items()}
        if trainer.is_world_process_zero():
            counts[split] = SplitCounts(samples.names(), {name: own.dense() for name, own in gathered.items()})
        control = (trainer.facts.control or {}).get(split)
        tables.append(f"{split}: {len(samples)} images\n\n{metrics_table(scores, names, split, control)}")
    if not trainer.is_world_process_zero():
        return
    history = trainer.state.log_history
    if any(f"eval_{names[0]}_mean_iou" in log for log in history):
        tables.append(_best_table(history, names))
    tables += [text for text in (groups_text(history), "\n".join(map(str, still_lost(history, names)))) if text]
    trainer.save_state()
    save_counts(folder, data.class_names, counts)
    facts = {
        "recipe": run.arguments.recipe,
        "students": vars(run.arguments.students),
        "data": vars(run.arguments.data),
        "method": vars(run.arguments.method) | run.arguments.options.values(),
        "training": trainer.args.to_dict(),
        "metrics": metrics,
        "scores": trainer.scores,
        "protocol": str(trainer.protocol),
        "versions": versions(),
        "machine": machine(trainer.args.device, trainer.args.world_size),
        "command": trainer.facts.command,
    }
    write_whole(folder / "results.json", json.dumps(facts, indent=2, default=str))  # a grid may be looking for it
    text = "\n\n".join(tables)
    write_whole(folder / "results.md", text + "\n")
    save_figure(_comparison(run), folder / "figure.png")
    trainer.facts.figure = folder / "figure.png"
    trainer.create_model_card()
    written = {"figure": "figure.png", **{name: name for name in names}}
    if any("loss" in log for log in history):
        objective = trainer.model.objective
        terms = {term: term for weights in objective.weights for term in weights}  # of a method that gives no titles
        save_figure(history_figure(history, names, terms | objective.titles()), folder / "curves.png")
        written["curves"] = "curves.png"
    changes = [(log["step"], log[GROUPS]) for log in history if GROUPS in log]
    if changes:
        save_figure(blind_classes_figure(changes, trainer.state.global_step, data.class_names), folder / "classes.png")
        written["classes"] = "classes.png"
    print(f"\n{text}\n")
    for title, file in written.items():
        print(f"{title:8} {folder / file}")


def _comparison(run: Run):
    """The figure of a few validation images, each segmented by the saved students' own path."""
    rows = run.data.splits["validation"]
    samples = run.data.samples("validation", transform=None)
    chosen = np.linspace(0, len(rows) - 1, min(FIGURE_IMAGES, len(rows))).round().astype(int).tolist()
    images, truths = zip(*(samples.read_picture(index) for index in chosen), strict=True)
    predictions = {
        name: [segment(student.model, student.image_processor, image) for image in images]
        for name, student in run.trainer.model.students.items()
    }
    pixels = [np.asarray(image) for image in images]
    return comparison_figure(pixels, truths, predictions, run.data.class_names, run.data.palette)


def _best_table(history: list[dict], names: tuple[str, ...]) -> str:
    """Each student's first, best and last validation mIoU."""
    lines = [["validation mIoU (%)", "first", "best", "last"]]
    for name in names:
        curve = [(log[f"eval_{name}_mean_iou"], log["step"]) for log in history if f"eval_{name}_mean_iou" in log]
        cells = [f"{100 * iou:.2f} (step {step})" for iou, step in (curve[0], max(curve), curve[-1])]
        lines.append([name, *cells])
    return markdown_table(lines)


def _control(folder: str, data: DataArguments) -> dict[str, dict[str, float]]:
    """The scores of a vanilla run on the same data, by split. ValueError if the folder holds no such run."""
    path = Path(folder) / "results.json"
    if not path.is_file():
        raise ValueError(f"--control {folder}: no results.json there. Give the output folder of a finished run.")
    facts = json.loads(path.read_text())
    dataset, own = (told.get("dataset_name") or told["dataset"] for told in (facts["data"], vars(data)))
    if facts["method"]["method"] != "vanilla" or dataset != own:
        raise ValueError(
            f"--control {folder}: a run of --method {facts['method']['method']} on {dataset}, but the control of this "
            f"one is --method vanilla on {own}."
        )
    return facts["scores"]


def _teacher(folder: Path, class_names: tuple[str, ...]) -> Student:
    """A trained student to learn from. OSError if the folder holds none, ValueError if it knows other classes."""
    teacher = as_student(*load_for_inference(str(folder)))
    known = tuple(teacher.config.id2label[i] for i in range(teacher.config.num_labels))
    if known != tuple(class_names):
        raise ValueError(f"--teachers: {folder} knows the classes {', '.join(known)}, not {', '.join(class_names)}.")
    return teacher
