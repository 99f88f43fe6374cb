"""A whole run from its arguments: data, students, objective and trainer; and what is written at its end."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from accelerate.utils import gather_object
from transformers import set_seed
from transformers.utils import logging

from ..arguments.data import DataArguments
from ..arguments.pair import StudentArguments
from ..arguments.recipes import Arguments
from ..arguments.training import CTCLArguments
from ..data import DATASETS, SegmentationData, TrainingTransform
from ..data.class_weights import class_weights
from ..data.summary import DataSummary
from ..figures import blind_classes_figure, history_figure, pixels_of, save_figure
from ..methods import METHODS
from ..methods.pair import StudentPair
from ..metrics.scores import Evaluation, curve, evaluations_from_json
from ..publishing.rows import weights_text
from ..registry import origin_of, short_name
from ..scoring.evaluate import NothingToScore
from ..scoring.image_counts import SplitCounts, save_counts
from ..scoring.predict import load_for_inference
from ..students import Student, as_student
from ..students.loading import is_timm_encoder, load_student
from ..tables import markdown_table
from ..training.checkpoints import find_checkpoint
from ..training.classes import GROUPS, groups_text, still_lost
from ..training.guards.trackers import GuardedTracker
from ..training.locks import write_whole
from ..training.pictures import PicturesForTrackers
from ..training.progress import metrics_table, parameter_table
from ..training.record import RunFacts, machine, versions
from ..training.trainer import CTCLTrainer
from .files import DATA_FILE, GROUPS_FILE
from .page.live import LiveReport
from .page.run import write_run_page
from .pictures import spread_figure, write_extremes, write_samples, write_spread


class Run(NamedTuple):
    """A run that is ready to start."""

    arguments: Arguments
    data: SegmentationData
    trainer: CTCLTrainer
    checkpoint: str | None  # to resume from
    summary: DataSummary | None  # of data that were checked, on the main process


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
    pair_students = _students(students, data, image_size)
    for student in pair_students.values():
        for size in {tuple(data_arguments.crop_size), image_size}:
            student.check_size(size)
    # After the students: that the Hub does not answer is told sooner than every file can be read.
    summary = _check(data, data_arguments) if training.local_process_index == 0 else None
    control = _control(training.control, data_arguments) if training.control else None
    training.hub_model_id = training.hub_model_id or f"{short_name(method.method)}-{data.name}"
    # Each learns from a trained student of the other's kind.
    teachers = {}
    if method.teachers is not None:
        peers = reversed(pair_students)
        teachers["teachers"] = tuple(_teacher(Path(method.teachers) / name, data.class_names) for name in peers)
    objective = METHODS[method.method](*pair_students.values(), **teachers, **options.values())
    if method.class_weights is not None:
        weights = class_weights(method.class_weights, data)
        objective.weigh_classes(weights)
        if training.process_index == 0:
            told = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(data.class_names, weights, strict=True))
            print(f"Weights of the classes in the cross entropy: {told}.")
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
            dataset_code=origin_of(DATASETS[data_arguments.dataset]) if data_arguments.dataset_name is None else None,
            recipe=arguments.recipe,
            command=command.replace(training.hub_token, "<HUB_TOKEN>") if training.hub_token else command,
            control=control,
            license=training.hub_license,
            protocol=str(protocol),
        ),
        protocol=protocol,
    )
    if training.live_report:
        trainer.add_callback(LiveReport())
    if checkpoint is not None:
        trainer.check_resumption(Path(checkpoint))
    for name, repository in trainer.publisher.repositories.items():
        print(f"{name} will be published at {repository.url}")
    run = Run(arguments, data, trainer, checkpoint, summary)
    pictures = PicturesForTrackers(trainer.callback_handler, lambda: pixels_of(spread_figure(trainer.model, data)))
    trainer.add_callback(GuardedTracker(pictures))
    return run


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


def _check(data: SegmentationData, arguments: DataArguments) -> DataSummary | None:
    try:
        if arguments.check_data and not data.is_streamed:
            return data.check()
        data.check_classes()
        return None
    except ValueError as error:
        if arguments.dataset_name is None:
            raise
        raise ValueError(
            f"{error}\nWhat masks hold is said by --class_names, --label_map, --ignore_index, --reduce_labels and "
            "--palette: docs/data.md."
        ) from None


def _students(arguments: StudentArguments, data: SegmentationData, size: tuple[int, int]) -> dict[str, Student]:
    """Both students by name: their families, numbered where they are of one."""
    families = ("cnn", "vit") if arguments.students is None else (None, None)
    sources = arguments.students or (arguments.cnn, arguments.vit)
    loaded = [
        load_student(
            name,
            data.class_names,
            size,
            family=family,
            from_scratch=arguments.from_scratch,
            encoder_weights=weights,
            aspp_channels=arguments.aspp_channels,
            output_stride=arguments.output_stride,
            palette=data.palette,
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
        if run.trainer.is_world_process_zero():
            show_data(run)
        if not train(run):
            return False
        finish(run)
        return True


def show_data(run: Run) -> None:
    """Prints what the data hold, and writes it to the output folder with a sheet of augmented images and their masks.

    That the ids in masks stand for other classes than was meant is seen there before an hour is spent.
    """
    folder = Path(run.trainer.args.output_dir)
    if run.summary is not None:
        print(run.summary)
        write_whole(folder / DATA_FILE, json.dumps(run.summary.as_json(), indent=2) + "\n")
    print(f"Augmented images with their masks, to be looked at: {write_samples(run.trainer, run.data, folder)}")


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
    scores. figure.png: images, truth, both predictions and where they disagree; extremes.png: the same of the best and
    the worst images. curves.png: scores and loss terms over the run. classes.png: which classes a student's peer was
    blind to, where the method groups them. report.html: all of it on a page.
    """
    trainer, data, folder = run.trainer, run.data, Path(run.trainer.args.output_dir)
    names = trainer.model.names
    metrics, counts, tables = {}, {}, [parameter_table(trainer.model), f"Scored: {trainer.protocol}."]
    for split in data.scored_splits:
        samples = data.samples(split, trainer.protocol.transform)
        try:
            metrics |= trainer.evaluate(samples, metric_key_prefix=split)
        except NothingToScore:
            tables.append(f"{split}: {len(samples)} images, none of which has a labelled pixel: not scored")
            continue
        gathered = {name: own.gather() for name, own in trainer.image_counts.items()}
        if trainer.is_world_process_zero():
            counts[split] = SplitCounts(samples.names(), {name: own.dense() for name, own in gathered.items()})
        control = (trainer.facts.control or {}).get(split)
        tables.append(f"{split}: {len(samples)} images\n\n{metrics_table(trainer.scores[split], split, control)}")
    if not trainer.is_world_process_zero():
        return
    history = trainer.state.log_history
    weights = trainer.record()["weights"]
    told = {name: weights_text(own, trainer.state.global_step) for name, own in weights.items()}
    tables += ["\n".join(f"Weights of {name}: {text}." for name, text in told.items() if text)]
    if curve(history, names[0]):
        tables.append(_best_table(history, names))
    tables += [
        text
        for text in (groups_text(history), "\n".join(map(str, still_lost(history, names, data.class_names))))
        if text
    ]
    trainer.save_state()
    save_counts(folder, data.class_names, counts)
    facts = {
        "recipe": run.arguments.recipe,
        "students": vars(run.arguments.students),
        "data": vars(run.arguments.data),
        "method": vars(run.arguments.method) | run.arguments.options.values(),
        "training": trainer.args.to_dict(),
        "metrics": metrics,
        "scores": {split: scores.to_json() for split, scores in trainer.scores.items()},
        "weights": weights,
        "protocol": str(trainer.protocol),
        "versions": versions(),
        "machine": machine(trainer.args.device, trainer.args.world_size),
        "command": trainer.facts.command,
    }
    write_whole(folder / "results.json", json.dumps(facts, indent=2, default=str))  # a grid may be looking for it
    text = "\n\n".join(tables)
    (folder / "results.md").write_text(text + "\n")
    trainer.facts.figure = write_spread(trainer.model, data, folder)
    write_extremes(trainer.model, data, counts, folder)
    trainer.create_model_card()
    written = {"figure": "figure.png", **{name: name for name in names}}
    if any("loss" in log for log in history):
        save_figure(history_figure(history, names, trainer.model.objective.logged()), folder / "curves.png")
        written["curves"] = "curves.png"
    changes = [(log["step"], log[GROUPS]) for log in history if GROUPS in log]
    if changes:
        save_figure(blind_classes_figure(changes, trainer.state.global_step, data.class_names), folder / GROUPS_FILE)
        written["classes"] = GROUPS_FILE
    written["report"] = write_run_page(folder).name
    print(f"\n{text}\n")
    for title, file in written.items():
        print(f"{title:8} {folder / file}")


def _best_table(history: list[dict], names: tuple[str, ...]) -> str:
    """Each student's first, best and last validation mIoU."""
    lines = [["validation mIoU (%)", "first", "best", "last"]]
    for name in names:
        ious = [(iou, step) for step, iou in curve(history, name)]
        cells = [f"{100 * iou:.2f} (step {step})" for iou, step in (ious[0], max(ious), ious[-1])]
        lines.append([name, *cells])
    return markdown_table(lines)


def _control(folder: str, data: DataArguments) -> dict[str, Evaluation]:
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
    return evaluations_from_json(facts["scores"])


def _teacher(folder: Path, class_names: tuple[str, ...]) -> Student:
    """A trained student to learn from. OSError if the folder holds none, ValueError if it knows other classes."""
    teacher = as_student(*load_for_inference(str(folder)))
    known = tuple(teacher.class_names)
    if known != tuple(class_names):
        raise ValueError(f"--teachers: {folder} knows the classes {', '.join(known)}, not {', '.join(class_names)}.")
    return teacher
