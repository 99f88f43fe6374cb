"""Make the ONNX files that a Hub model has today, and score each, for its card.

Into onnx/ of a student's folder: model.onnx, model_fp16.onnx and model_quantized.onnx, which
runtimes such as transformers.js find by these names. What loses more than --most_loss is left out.
The run's own data are taken, unless others are named. Then `ctcl-hf push` publishes them as well.

ctcl-hf release runs/camvid-paper-ctcl
ctcl-hf release runs/camvid-paper-ctcl/vit --most_loss 3
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments.dataset import DatasetArguments
from ..arguments.parser import ArgumentsParser
from ..arguments.problems import raise_problems
from ..arguments.protocol import ProtocolArguments
from ..arguments.ranges import checks_of_numbers
from .data import data_of_model, load_data, protocol_of
from .ending import told_with_data
from .students import named_students, refuse_without_students

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import SegmentationData
    from ..scoring.protocols import Protocol
    from ..students import Student


@dataclass
class ReleaseArguments:
    split: str = field(default="validation", metadata={"help": "Which images score the files."})
    most_loss: float = field(
        default=1.0,
        metadata={
            "help": "Points of mIoU that a file may lose against PyTorch; one that loses more is "
            "left out."
        },
    )
    calibration_images: int = field(
        default=64,
        metadata={
            "help": "How many training images tell the ranges for 8 bits (of --split, where there "
            "is no training split)."
        },
    )
    batch_size: int = field(default=4, metadata={"help": "Images at a time."})
    workers: int = field(default=2, metadata={"help": "Processes that read images."})

    def __post_init__(self):
        raise_problems(checks_of_numbers(self))


def main() -> None:
    parser = ArgumentsParser(
        [ReleaseArguments, DatasetArguments, ProtocolArguments],
        usage="%(prog)s FOLDER [options]",
        description=__doc__,
    )
    parser.add_argument("folder", type=Path, help="Folder of a run or of a student.")
    arguments, dataset, protocol, given = parser.parse(None)
    with told_with_data():
        from ..publishing.onnx_files import check_quantizer

        check_quantizer()
        refuse_without_students(str(given.folder))
        dataset = data_of_model(str(given.folder), dataset, sys.argv[1:])
        release(given.folder, arguments, dataset, protocol)


def release(
    folder: Path,
    arguments: ReleaseArguments,
    dataset: DatasetArguments,
    protocol_arguments: ProtocolArguments,
) -> None:
    from ..base.hub_access import near_folder
    from ..base.tables import markdown_table
    from ..publishing.card import rewrite_cards
    from ..publishing.destinations import load_repositories
    from ..publishing.onnx_scores import FOLDER, rows_of_card, write_scores
    from ..scoring.predict import input_size

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.{near_folder(str(folder))}")
    students = named_students([str(folder)])
    is_student = (folder / "config.json").is_file()
    data = load_data(dataset, arguments.split, next(iter(students.values())).class_names)
    print(data)
    for name, student in students.items():
        home = folder if is_student else folder / name
        size = input_size(student.image_processor) or data.image_size
        protocol = protocol_of(data, protocol_arguments, size)
        with tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=home) as staging:
            staged = Path(staging) / FOLDER
            staged.mkdir()
            facts = _files_with_scores(name, student, size, staged, data, protocol, arguments)
            for file, loss in _leave_out(staged, facts, arguments.most_loss).items():
                print(
                    f"{name}: {file} loses {loss:.2f} points of mIoU, more than --most_loss "
                    f"{arguments.most_loss:g}, and is left out."
                )
            write_scores(staged, facts)
            shutil.rmtree(home / FOLDER, ignore_errors=True)
            staged.rename(home / FOLDER)
        header = ("file", "weights and activations", "MiB", "mIoU (%)", "pixel accuracy (%)")
        print(f"\n{markdown_table([header, *rows_of_card(facts)])}\n\n{home / FOLDER}")
    run = folder.resolve().parent if is_student else folder
    rewrite_cards(run, load_repositories(run))


def _files_with_scores(
    name: str,
    student: "Student",
    size: tuple[int, int],
    folder: Path,
    data: "SegmentationData",
    protocol: "Protocol",
    arguments: ReleaseArguments,
) -> dict[str, Any]:
    """Writes a student's files, and gives what `write_scores` takes."""
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

    from ..base.heartbeat import watched
    from ..data import IGNORE_INDEX, collate_for_evaluation
    from ..publishing.onnx import pads_by_size
    from ..publishing.onnx_files import PRECISIONS, onnx_predictor, write_onnx_files
    from ..scoring.evaluate import evaluate_predictors
    from ..scoring.scorer import class_order
    from ..training.record import hash_of_weights

    paths = write_onnx_files(
        student,
        size,
        folder,
        _calibration(data, protocol, arguments),
        dynamic=not pads_by_size(student),
        report=lambda step: print(f"{name}: {step} ...", flush=True),
    )
    order, _ = class_order(student.class_names, data.class_names)
    predictors = {"PyTorch": student.logits}
    predictors |= {path.name: onnx_predictor(student, path) for path in paths}
    samples = data.samples(arguments.split, protocol.transform)
    loader = DataLoader(
        samples,
        arguments.batch_size,
        collate_fn=collate_for_evaluation,
        num_workers=arguments.workers,
    )
    evaluation, _ = evaluate_predictors(
        {
            predictor: lambda pixels, predict=predict: predict(pixels)[:, order]
            for predictor, predict in predictors.items()
        },
        watched(loader, f"{name}: scoring {arguments.split}", len(loader), unit="batch"),
        data.class_names,
        IGNORE_INDEX,
        protocol,
        Accelerator(cpu=True),
    )
    weights = hash_of_weights(student.model)
    parameters = sum(parameter.numel() for parameter in student.model.parameters())
    return {
        "weights": weights,
        "model_type": student.config.model_type,
        "data": data.name,
        "split": arguments.split,
        "images": evaluation.images,
        "protocol": str(protocol),
        "files": {
            predictor: {
                "precision": PRECISIONS.get(predictor, "float32"),
                "bytes": (folder / predictor).stat().st_size
                if predictor in PRECISIONS
                else 4 * parameters,
                "mean_iou": scores.mean_iou,
                "overall_accuracy": scores.overall_accuracy,
            }
            for predictor, scores in evaluation.students.items()
        },
    }


def _calibration(
    data: "SegmentationData", protocol: "Protocol", arguments: ReleaseArguments
) -> Iterator["Tensor"]:
    """Evenly spaced training images, as the protocol shows them to a model."""
    split = "train" if "train" in data.splits else arguments.split
    samples = data.part({split: arguments.calibration_images}).samples(split, protocol.transform)
    for number in range(len(samples)):
        yield samples[number]["pixel_values"]


def _leave_out(folder: Path, facts: dict[str, Any], most_loss: float) -> dict[str, float]:
    """Deletes the files that lose more than so many points of mIoU; what each loses."""
    files = facts["files"]
    reference = files["PyTorch"]["mean_iou"]
    losses = {file: 100 * (reference - own["mean_iou"]) for file, own in files.items()}
    left_out = {file: loss for file, loss in losses.items() if loss > most_loss}
    for file in left_out:
        (folder / file).unlink()
        del files[file]
    return left_out


if __name__ == "__main__":
    sys.argv[0] = "ctcl-hf release"
    main()
