"""A whole run from its arguments: data, students, objective and trainer, and then its training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from accelerate.utils import broadcast_object_list
from transformers import set_seed
from transformers.utils import logging

from ..arguments.data import DataArguments
from ..arguments.pair import StudentArguments
from ..arguments.recipes import Arguments
from ..base.files import read_json, write_whole
from ..base.heartbeat import alive
from ..base.registry import OwnCodeError, origin_of, own_code, short_name
from ..data import DATASETS, SegmentationData, TrainingTransform
from ..data.class_weights import class_weights
from ..data.summary import DataSummary
from ..figures import costing, pixels_of
from ..methods import METHODS
from ..methods.pair import StudentPair
from ..metrics import titles_of
from ..metrics.scores import Evaluation, evaluations_from_json
from ..publishing.rows import PRECISIONS
from ..students import Student
from ..students.loading import is_timm_encoder, load_student
from ..students.teacher import Teacher
from ..training.checkpoints import steps_behind
from ..training.guards.processes import wait_for_all
from ..training.pictures import GuardedPictures
from ..training.progress import FirstStep
from ..training.record import RunFacts, machine
from ..training.resumption import check_checkpoint
from ..training.trainer import CTCLTrainer
from .cached_teachers import cached, check_images
from .data_checks import check_files, check_number
from .end import finish, missing_at_end
from .files import DATA_FILE, SAMPLES_FILE
from .page.live import LiveReport
from .pictures import read_samples, spread_figure, write_samples
from .start import check_places, checkpoint_for, progress_in
from .teachers import load_teachers

logger = logging.get_logger(__name__)
MUCH_PADDING = 0.5  # share of the crops, above which a run warns


class Run(NamedTuple):
    """A run that is ready to start."""

    arguments: Arguments
    data: SegmentationData
    trainer: CTCLTrainer
    checkpoint: str | None  # to resume from
    summary: DataSummary | None  # of data that were checked, on the main process
    missing: list[str]  # of its end: see `missing_at_end`
    found: list[str]  # in its output folder: see `progress_in`


@alive("getting ready: data, students, checkpoint")
def prepare(arguments: Arguments) -> Run:
    """Everything that can fail before the first step: data, students, checkpoint.

    ValueError or OSError says what.
    """
    _, students, data_arguments, method, options, training, command = arguments
    check_places(arguments)
    control = _control(training.control, data_arguments) if training.control else None
    wait_for_all()  # for the first time, so that one process may work alone later
    found = progress_in(training.output_dir)
    checkpoint = checkpoint_for(training, command)
    load = data_arguments.load_or_tell_all if data_arguments.check_data else data_arguments.load
    data = load()
    check_number(training, data, data_arguments)
    if missing_splits := {"train", "validation"} - data.splits.keys():
        raise ValueError(
            f"{data.name} has no split {' or '.join(sorted(missing_splits))}, but "
            f"{', '.join(data.splits)}: training wants train and validation."
        )
    if training.process_index == 0:
        print(data)
    image_size = tuple(data_arguments.image_size or data.image_size)
    protocol = data_arguments.build_protocol(
        data.protocol, image_size, tuple(data_arguments.crop_size)
    )
    metrics = data_arguments.metric_kinds()
    titles_of(metrics)  # two of one name would be told at the first evaluation
    crop, whole = ("x".join(map(str, size)) for size in (data_arguments.crop_size, image_size))
    if training.process_index == 0:
        print(
            f"Trained: on crops of {crop} from images scaled about {whole} (height x width). "
            f"Scored: {protocol}. Computed: in "
            f"{PRECISIONS[training.mixed_precision]}."
        )
    augment = TrainingTransform(
        image_size,
        tuple(data_arguments.crop_size),
        tuple(data_arguments.scale_range),
        data_arguments.photometric,
    )
    if method.cache_teacher is not None:
        check_images(data, augment)
    # of single files read and written, which would break the training bar
    logging.disable_progress_bar()
    set_seed(training.seed)
    pair_students = _students(students, data, image_size)
    for student in pair_students.values():
        for size in {tuple(data_arguments.crop_size), image_size}:
            student.check_size(size)
    training.hub_model_id = training.hub_model_id or f"{short_name(method.method)}-{data.name}"
    teachers: dict[str, tuple[Teacher, ...]] = {}
    if method.teachers is not None:
        teachers["teachers"] = load_teachers(
            method.teachers,
            method.teacher_label_map,
            tuple(pair_students),
            data.class_names,
            tuple(data_arguments.crop_size),
            tell=training.process_index == 0,
        )
    if method.cache_teacher is not None:
        teachers["teachers"] = cached(
            teachers["teachers"],
            Path(method.cache_teacher),
            len(data.splits["train"]),
            tuple(data_arguments.crop_size),
            tell=training.process_index == 0,
        )
    with own_code(method.method):
        objective = METHODS[method.method](*pair_students.values(), **teachers, **options.values())
    pair = StudentPair(pair_students, objective)
    if checkpoint is not None:
        check_checkpoint(Path(checkpoint), pair)
    # After the students: that the Hub does not answer, or that a checkpoint is another's, is told
    # sooner than every file can be read.
    summary = check_files(data, data_arguments) if training.local_process_index == 0 else None
    wait_for_all()
    if method.class_weights is not None:
        weights = class_weights(method.class_weights, data)
        objective.weigh_classes(weights)
        if training.process_index == 0:
            told = ", ".join(
                f"{name} {weight:.3g}"
                for name, weight in zip(data.class_names, weights, strict=True)
            )
            print(f"Weights of the classes in the cross entropy: {told}.")
    if (padded := augment.padded_share()) > MUCH_PADDING and training.process_index == 0:
        logger.warning(
            f"{100 * padded:.0f} % of the crops will be padding, which teaches nothing: crops of "
            f"{crop} are large beside images of {whole}. Lower --crop_size, or raise --image_size."
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
            validation_share=data_arguments.validation_share,
            unusable=data.unusable,
            parts={
                "train": data_arguments.max_train_samples,
                "scored": data_arguments.max_eval_samples,
            },
            untaught=[data.class_names[i] for i in summary.absent("train")] if summary else [],
            dataset_code=origin_of(DATASETS[data_arguments.dataset])
            if data_arguments.dataset_name is None
            else None,
            metrics_code=data_arguments.metrics_code(),
            recipe=arguments.recipe,
            command=command,
            control=control,
            license=training.hub_license,
            protocol=str(protocol),
        ),
        protocol=protocol,
        metrics=metrics,
    )
    if training.process_index == 0:
        print(f"Trains on {machine(trainer.args.device, trainer.args.world_size)}.")
    if training.live_report:
        trainer.add_callback(LiveReport())
    # the main process's, which knows the Hub's part too
    missing = broadcast_object_list([missing_at_end(trainer)])[0]
    if missing:
        trainer.open_repositories()
    if checkpoint is not None:
        trainer.check_resumption(Path(checkpoint if "students" in missing else training.output_dir))
    for name, repository in trainer.publisher.unpushed.items():
        print(f"{name} will be published at {repository.url}")
    run = Run(arguments, data, trainer, checkpoint, summary, missing, found)
    pictures = GuardedPictures(
        trainer.callback_handler, lambda: pixels_of(spread_figure(trainer.model, data))
    )
    trainer.add_callback(pictures)
    return run


def _students(
    arguments: StudentArguments, data: SegmentationData, size: tuple[int, int]
) -> dict[str, Student]:
    """All students by name: their families, numbered where several are of one."""
    sources = arguments.sources
    families = ("cnn", "vit") if arguments.students is None else (None,) * len(sources)
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
        for name, family, weights in zip(
            sources, families, _weights_of(sources, arguments), strict=True
        )
    ]
    of_families = [own or student.family for own, student in zip(families, loaded, strict=True)]
    names = [
        f"{name}_{of_families[: i + 1].count(name)}" if of_families.count(name) > 1 else name
        for i, name in enumerate(of_families)
    ]
    return dict(zip(names, loaded, strict=True))


def _weights_of(sources: Sequence[str], arguments: StudentArguments) -> list[str | None]:
    """Of each student, the local file of its encoder's weights.

    ValueError if there are more or fewer than encoders.
    """
    given = arguments.encoder_weights or []
    encoders = [name for name in sources if is_timm_encoder(name)]
    if given and len(given) != len(encoders):
        raise ValueError(
            f"--encoder_weights {' '.join(given)}: expected a file for each timm encoder among the "
            f"students, which are {', '.join(encoders) or 'none'}."
        )
    files = iter(given)
    return [next(files, None) if is_timm_encoder(name) else None for name in sources]


def complete(run: Run) -> bool:
    """Trains, and finishes what is trained to its end; no other run writes to the folder before all
    of it is there.

    Where training, or more of the run, is over already, what is missing is made and nothing else.

    False if a signal stopped the training. OSError if another run is writing to the output folder,
    or has since `prepare`, or if another process of this run has ended.
    """
    trainer, folder = run.trainer, run.trainer.args.output_dir
    with trainer.lost_processes_told(), trainer.holding_output_folder():
        if trainer.is_world_process_zero() and progress_in(folder) != run.found:
            raise OSError(
                f"Another run has written to {folder} meanwhile. The same command goes on from "
                "there."
            )
        if "students" in run.missing and trainer.is_world_process_zero():
            show_data(run)
        if "students" in run.missing and not train(run):
            return False
        finish(run)
        wait_for_all()  # reports and uploads are the main process's alone
        return True


def show_data(run: Run) -> None:
    """Prints what the data hold, and writes it to the output folder with a sheet of augmented
    images and their masks.

    That the ids in masks stand for other classes than was meant is seen there before an hour is
    spent.
    """
    folder = Path(run.trainer.args.output_dir)
    if run.summary is not None:
        print(run.summary)
        facts = run.summary.as_json() | {"left_out": run.data.left_out}
        write_whole(folder / DATA_FILE, json.dumps(facts, indent=2) + "\n")
    samples = read_samples(run.trainer)
    with costing(f"The picture of augmented images in {folder / SAMPLES_FILE}"):
        write_samples(samples, run.data, folder / SAMPLES_FILE)
        print(f"Augmented images with their masks, to be looked at: {folder / SAMPLES_FILE}")


def train(run: Run) -> bool:
    """Trains, from the checkpoint if there is one. False if a signal stopped it before its end."""
    trainer = run.trainer
    is_main_process = trainer.is_world_process_zero()
    if run.checkpoint is not None and is_main_process:
        print(f"Goes on from step {steps_behind(Path(run.checkpoint))}, {run.checkpoint}.")
    elif trainer.args.resume_from_checkpoint is not None and is_main_process:
        print(f"There is no checkpoint in {trainer.args.output_dir}: the training begins.")
    with alive("the first step") as end:
        first = FirstStep(end)
        trainer.add_callback(first)
        try:
            with own_code(run.arguments.method.method, beside_others=True):
                trainer.train(resume_from_checkpoint=run.checkpoint)
        except OwnCodeError as error:
            logger.debug("In code of one's own:", exc_info=error.__cause__)
            raise OwnCodeError(f"{error} --log_level debug shows all calls.") from error
        trainer.remove_callback(first)
    if trainer.preemption.stopped and is_main_process:
        print(f"Stopped after step {trainer.state.global_step} by a signal.")
    return not trainer.preemption.stopped


def _control(folder: str, data: DataArguments) -> dict[str, Evaluation]:
    """The scores of a vanilla run on the same data, by split.

    ValueError if the folder holds no such run.
    """
    path = Path(folder) / "results.json"
    if not path.is_file():
        raise ValueError(
            f"--control {folder}: no results.json there. Give the output folder of a finished run."
        )
    facts = read_json(path)
    dataset, own = (
        told.get("dataset_name") or told["dataset"] for told in (facts["data"], vars(data))
    )
    if facts["method"]["method"] != "vanilla" or dataset != own:
        raise ValueError(
            f"--control {folder}: a run of --method {facts['method']['method']} on {dataset}, but "
            f"the control of this one is --method vanilla on {own}."
        )
    return evaluations_from_json(facts["scores"])
