"""Score a released or local model on a data set, by the benchmark's own protocol or another.

Of the folder of a run all students are scored, and the pair: the mean of their probabilities.
What a run has trained is scored on its own data, unless others are named.

ctcl-hf evaluate runs/camvid-paper-ctcl
ctcl-hf evaluate runs/camvid-paper-ctcl/cnn --split test
ctcl-hf evaluate runs/camvid-paper-ctcl --split test --calibrate_on validation
ctcl-hf evaluate nvidia/segformer-b0-finetuned-ade-512-512 --dataset ade20k --data_dir ADE
"""

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments.dataset import DatasetArguments
from ..arguments.parser import ArgumentsParser
from ..arguments.problems import raise_problems
from ..arguments.protocol import ProtocolArguments
from ..arguments.ranges import check_of_sides, checks_of_numbers
from ..base.files import check_place
from .data import data_of_model, load_data, protocol_of
from .ending import told_with_data
from .students import named_students, refuse_without_students

if TYPE_CHECKING:
    from ..data import SegmentationData
    from ..scoring.protocols import Protocol
    from ..scoring.scorer import Scorer


@dataclass
class EvaluationArguments:
    split: str = field(default="validation", metadata={"help": "Which images."})
    image_size: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels to which images are resized. Default: what the model's "
            "own processor does.",
        },
    )
    batch_size: int = field(default=4, metadata={"help": "Images at a time."})
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16."})
    use_cpu: bool = field(default=False, metadata={"help": "Even where there is an accelerator."})
    workers: int = field(default=2, metadata={"help": "Processes that read images."})
    calibration: bool = field(
        default=False,
        metadata={
            "help": "Tell how sure the models are of what they get right: expected calibration "
            "error, and reliability.png."
        },
    )
    calibrate_on: str | None = field(
        default=None,
        metadata={
            "help": "A split of held-out images, other than the one that is scored, on which each "
            "student's temperature is fitted and stored in its folder; with --calibration."
        },
    )
    worst: int = field(
        default=4, metadata={"help": "How many of the worst images to draw; 0 for no figure."}
    )
    predictions: str | None = field(
        default=None,
        metadata={
            "help": "Folder for a PNG of each prediction, as the benchmark wants it handed in; of "
            "a run, with a folder for each student and the pair."
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Where results.json, results.md and worst*.png go. Default: "
            "evaluation/DATA-SPLIT in the folder of the run that is scored, or whose student is; "
            "of other models, evaluation/MODEL-DATA-SPLIT."
        },
    )

    def __post_init__(self):
        raise_problems(
            [
                check_of_sides("image_size", self.image_size),
                (
                    self.calibrate_on == self.split,
                    f"--calibrate_on {self.calibrate_on}: the same images are scored. Give another "
                    "--split to score, or other images to calibrate on.",
                ),
                (
                    self.calibrate_on == "train",
                    "--calibrate_on train: students are too sure of what they were trained on. "
                    "Give a split of other images.",
                ),
                *checks_of_numbers(self),
            ]
        )


def main() -> None:
    parser = ArgumentsParser(
        [EvaluationArguments, DatasetArguments, ProtocolArguments],
        usage="%(prog)s MODEL [options]",
        description=__doc__,
    )
    parser.add_argument(
        "model",
        help="Folder of a run or of a student, or the Hub id of any semantic-segmentation model.",
    )
    arguments, dataset, protocol, given = parser.parse(None)
    with told_with_data():
        refuse_without_students(given.model)
        if arguments.output_dir is not None:
            check_place("--output_dir", Path(arguments.output_dir))
        if arguments.predictions is not None:
            check_place("--predictions", Path(arguments.predictions))
        dataset = data_of_model(given.model, dataset, sys.argv[1:])
        evaluate(given.model, arguments, dataset, protocol)


def _default_folder(model: str, data: str, split: str) -> Path:
    """Where the scores of a model go: beside the run that it is, or is of; not into a checkpoint,
    which is deleted, or a student, which is published.
    """
    from ..publishing.card import RECORD_FILE

    path = run = Path(model)
    while run.name and (run.parent / RECORD_FILE).is_file():
        run = run.parent
    if path.is_dir() and ((run / RECORD_FILE).is_file() or any(path.glob("*/config.json"))):
        return run / "evaluation" / "-".join([*path.relative_to(run).parts, data, split])
    return Path("evaluation") / "-".join([*path.parts[-2:], data, split])


def evaluate(
    model: str,
    arguments: EvaluationArguments,
    dataset: DatasetArguments,
    protocol_arguments: ProtocolArguments,
) -> None:
    students = named_students([model])
    from accelerate import Accelerator

    from ..data import IGNORE_INDEX
    from ..runs.evaluation import ScoredModels
    from ..scoring.reliability import Reliability
    from ..scoring.scorer import Scorer

    accelerator = Accelerator(
        cpu=arguments.use_cpu, mixed_precision="bf16" if arguments.bf16 else None
    )
    data = load_data(dataset, arguments.split, next(iter(students.values())).class_names)
    if arguments.calibrate_on:
        check_calibration(model, arguments, data)
    scorer = Scorer(students, data, accelerator)
    height, width = arguments.image_size or scorer.image_size or data.image_size
    protocol = protocol_of(data, protocol_arguments, (height, width))
    if arguments.predictions and not protocol.framing.KEEPS_IMAGES:
        raise ValueError("--predictions wants whole images, not parts of them: --protocol whole.")
    metrics = protocol_arguments.metric_kinds()
    accelerator.print(f"{data}\nScored: {protocol}. Classes {scorer.class_note}.")
    predictions = Path(arguments.predictions) if arguments.predictions else None
    folder = Path(arguments.output_dir or _default_folder(model, data.name, arguments.split))
    check_place("--output_dir", folder)
    folder.mkdir(parents=True, exist_ok=True)  # before the scores, which take long
    if arguments.calibrate_on:
        calibrate(model, scorer, arguments, protocol)
    reliability = {}
    if arguments.calibration or arguments.calibrate_on:
        reliability = {name: Reliability(IGNORE_INDEX) for name in scorer.names}
    scored = scorer.score(
        arguments.split,
        protocol,
        arguments.batch_size,
        arguments.workers,
        predictions,
        metrics,
        reliability or None,
    )
    if not accelerator.is_main_process:
        return
    reached = ScoredModels(
        model,
        scorer,
        arguments.split,
        protocol,
        scored,
        reliability,
        metrics,
        protocol_arguments.metrics_code(),
    )
    print(f"\n{reached.told()}\n")
    for file in reached.write(folder, arguments.worst):
        print(file)
    if predictions is not None:
        print(predictions)


def check_calibration(model: str, arguments: EvaluationArguments, data: "SegmentationData") -> None:
    """ValueError if temperatures cannot be fitted on these images, or stored."""
    from ..data.fingerprint import fingerprint

    if not Path(model).is_dir():
        raise ValueError(
            f"--calibrate_on stores temperatures in the students' folders, and {model} is none. "
            "Give a folder"
        )
    if arguments.calibrate_on not in data.scored_splits:
        raise ValueError(
            f"--calibrate_on {arguments.calibrate_on}: {data.name} has labels in "
            f"{', '.join(data.scored_splits)} beside the training split, and one of two such "
            "splits is to be scored (--split)"
        )
    fitted, scored = (
        fingerprint(data.samples(split, None))
        for split in (arguments.calibrate_on, arguments.split)
    )
    if fitted == scored:
        raise ValueError(
            f"--calibrate_on {arguments.calibrate_on}: its images are those of {arguments.split}, "
            "which is scored. Give images of another split"
        )


def calibrate(
    model: str, scorer: "Scorer", arguments: EvaluationArguments, protocol: "Protocol"
) -> None:
    """Fits each student's temperature anew, and stores it in its configuration."""
    from ..base.files import read_json, write_whole
    from ..scoring.temperature import LARGEST, fit_temperatures
    from ..students.student import TEMPERATURE

    for student in scorer.students.values():
        student.temperature = 1.0
    fitted = fit_temperatures(scorer, arguments.calibrate_on, protocol, arguments.workers)
    for name, temperature in fitted.items():
        scorer.students[name].temperature = temperature
        if not scorer.accelerator.is_main_process:
            continue
        beside = Path(model) / name / "config.json"
        file = beside if beside.is_file() else Path(model) / "config.json"
        config = read_json(file) | {TEMPERATURE: temperature}
        write_whole(file, json.dumps(config, indent=2, sort_keys=True) + "\n")
        end = f" (the {'most' if temperature > 1 else 'least'} that is tried)"
        is_end = math.isclose(abs(math.log(temperature)), math.log(LARGEST), rel_tol=1e-3)
        print(
            f"Temperature of {name}, fitted on {arguments.calibrate_on}: "
            f"{temperature:.3f}{end if is_end else ''} ({file})"
        )


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.evaluate`
    sys.argv[0] = "ctcl-hf evaluate"
    main()
