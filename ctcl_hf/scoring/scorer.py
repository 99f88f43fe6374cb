"""Scoring saved models, of ours or of anyone's, on a split of a data set."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..base.files import RECORD_FILE, read_json
from ..base.heartbeat import watched
from ..base.tables import counted
from ..data import IGNORE_INDEX, SegmentationData, as_picture, collate_for_evaluation
from ..figures import mistakes_figure
from ..losses import upsample
from ..metrics import Metric
from ..metrics.scores import Scores
from ..students import Student, as_student
from .evaluate import NothingToScore, evaluate_predictors
from .image_counts import ImageCounts
from .mean import mean_probabilities
from .predict import class_map, input_size, load_for_inference
from .protocols import Protocol
from .reliability import Reliability

# the mean of the students' probabilities, in the keys of scores: of two, and of more
PAIR, MEAN = "pair", "mean"


class Scored(NamedTuple):
    """What one predictor has reached on a split: scores, None where no image has a label; and
    counts of all images.
    """

    scores: Scores | None
    images: ImageCounts


def saved_students(name: str) -> dict[str, Student]:
    """A saved model by its own name, or all students of a run by theirs, in evaluation mode.

    Args:
        name: a student's folder, a Hub id of a semantic-segmentation model, or the folder of a run
            (or checkpoint).

    Raises:
        OSError: no such model. ValueError: the folder holds one student alone, or models that no
            run is known to have made together.
    """
    students = sorted(path.parent for path in Path(name).glob("*/config.json"))
    if students and len(students) != 2 and not _are_of_one_run(students):
        raise ValueError(
            f"{name} holds {counted(len(students), 'model')} "
            f"({', '.join(path.name for path in students)}), which are not the students of one "
            "run. Give the folder of one."
        )
    # The name of "." is empty.
    sources = {path.name: str(path) for path in students} or {Path(name).resolve().name: name}
    return {own: as_student(*load_for_inference(source)).eval() for own, source in sources.items()}


def _are_of_one_run(students: Sequence[Path]) -> bool:
    """Whether the record of a run, beside these folders, names them and no others; a checkpoint's
    is in the folder above.
    """
    folder = students[0].parent
    for record in (folder / RECORD_FILE, folder.parent / RECORD_FILE):
        if record.is_file():
            return set(read_json(record)["students"]) == {path.name for path in students}
    return False


class Scorer:
    """Saved students, ready to be scored on a data set's classes; of several, their mean
    probabilities as well, as PAIR or MEAN.

    Args:
        students: by name, see `saved_students`.
        data: whose classes they are scored by; those of the students are brought into their order.
        accelerator: device, processes and precision.

    Raises:
        ValueError: a student has other classes.
    """

    def __init__(
        self, students: Mapping[str, Student], data: SegmentationData, accelerator: Accelerator
    ):
        self.students = {
            name: student.to(accelerator.device).eval() for name, student in students.items()
        }
        self.data = data
        self.accelerator = accelerator
        orders = {
            name: class_order(student.class_names, data.class_names)
            for name, student in students.items()
        }
        self.predictors = {
            name: partial(_logits_in_order, student, orders[name][0])
            for name, student in self.students.items()
        }
        notes = {name: note for name, (_, note) in orders.items()}
        differ = len(set(notes.values())) > 1
        told = [f"of {name} {note}" if differ else note for name, note in notes.items()]
        self.class_note = "; ".join(dict.fromkeys(told))

    @property
    def mean_name(self) -> str | None:
        """What the mean of the students is called; None of one."""
        return {1: None, 2: PAIR}.get(len(self.predictors), MEAN)

    @property
    def names(self) -> list[str]:
        """Of all that are scored: the students, and of several their mean."""
        return [*self.predictors, *([self.mean_name] if self.mean_name else [])]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that the students' own processors resize images to, if they say so, and
        the same.
        """
        sizes = {input_size(student.image_processor) for student in self.students.values()}
        return sizes.pop() if len(sizes) == 1 else None

    def score(
        self,
        split: str,
        protocol: Protocol,
        batch_size: int = 4,
        workers: int = 0,
        predictions: Path | None = None,
        metrics: Sequence[type[Metric]] = (),
        reliability: Mapping[str, Reliability] | None = None,
    ) -> dict[str, Scored]:
        """What each student, and the mean of several, has reached.

        Args:
            predictions: folder for a PNG of every image's prediction, in the benchmark's own ids;
                of several predictors with a folder for each. ValueError if two images have one
                name.
            metrics: what is scored beside mean IoU and the accuracies.
            reliability: of every one in `names`, what is to sum up how sure it is.
        """
        samples = self.data.samples(split, protocol.transform)
        accelerator = self.accelerator
        own = range(accelerator.process_index, len(samples), accelerator.num_processes)
        loader = DataLoader(
            Subset(samples, own), batch_size, collate_fn=collate_for_evaluation, num_workers=workers
        )
        written: set[Path] = set()
        # of images, by predictor
        numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: iter(own))

        def after_image(name: str, ids: Tensor, labels: Tensor) -> None:
            number = next(numbers[name])
            if predictions is not None:
                folder = predictions if self.mean_name is None else predictions / name
                path = folder / f"{samples.name(number)}.png"
                if path in written:
                    raise ValueError(
                        f"Two images are named {path.stem}: one prediction would overwrite the "
                        "other."
                    )
                written.add(path)
                write_prediction(ids.cpu().numpy().astype(np.uint8), self.data, path)

        batches = watched(loader, f"Scoring {split}", len(loader), unit="batch")
        try:
            evaluation, counts = evaluate_predictors(
                self.predictors,
                (send_to_device(batch, accelerator.device) for batch in batches),
                self.data.class_names,
                IGNORE_INDEX,
                protocol,
                accelerator,
                after_image=after_image,
                mean_name=self.mean_name,
                metrics=metrics,
                reliability=reliability,
            )
        except NothingToScore as nothing:
            # a benchmark's images without labels, whose predictions are wanted
            return {name: Scored(None, images.gather()) for name, images in nothing.counts.items()}
        return {
            name: Scored(evaluation.students[name], images.gather())
            for name, images in counts.items()
        }

    @torch.no_grad()
    def worst_figure(
        self, name: str, split: str, protocol: Protocol, worst: Sequence[tuple[int, float]]
    ) -> Figure:
        """The images on which a predictor scores worst: truth, prediction and mistakes, at the
        labels' size.
        """
        samples = self.data.samples(split, protocol.transform)
        own = self.predictors.values() if name == self.mean_name else [self.predictors[name]]
        images, truths, predicted, titles = [], [], [], []
        for number, mean_iou in worst:
            sample = samples[number]
            labels = sample["labels"]
            pixels = sample["pixel_values"][None].to(self.accelerator.device)
            upsampled = []
            for predict in own:
                with self.accelerator.autocast():
                    logits = protocol.logits(predict, pixels)
                upsampled.append(upsample(logits, labels.shape))
            mean = mean_probabilities(upsampled)
            predicted.append(class_map(mean, labels.shape)[0].cpu().numpy().astype(np.uint8))
            truths.append(labels.numpy())
            shown = Image.fromarray(sample["pixel_values"].permute(1, 2, 0).numpy())
            images.append(np.asarray(shown.resize((labels.shape[1], labels.shape[0]))))
            titles.append(f"{samples.name(number)}: mIoU {100 * mean_iou:.1f} %")
        return mistakes_figure(
            images, truths, predicted, titles, self.data.class_names, self.data.palette
        )


def _logits_in_order(student: Student, order: Sequence[int], pixel_values: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) RGB in 0..255 -> logits (B, K, h, w), classes as the data numbers
    them.
    """
    logits = student.logits(pixel_values)
    return logits if list(order) == list(range(len(order))) else logits[:, list(order)]


def class_order(model_names: Sequence[str], class_names: Sequence[str]) -> tuple[list[int], str]:
    """Where the model has each class of the data, and in words how they were matched.

    By name, whatever the case where names differ by more; by number if none or only some of as many
    names agree. ValueError if there are more or fewer, or if one that both know has another number.
    """
    if len(model_names) != len(class_names):
        of_model, of_data = (
            [name for name in names if name not in others]
            for names, others in ((model_names, class_names), (class_names, model_names))
        )
        told = [
            f"{_some(alone)} {where}"
            for alone, where in ((of_model, "in the model alone"), (of_data, "in the data alone"))
            if alone
        ]
        raise ValueError(
            f"The model knows {len(model_names)} classes, the data has {len(class_names)}"
            f"{': ' if told else ''}{'; '.join(told)}. A model is scored on its own classes. Where "
            "these are data of your own, name the model's (--class_names) and say which ids are "
            "those, --label_map OLD:NEW ..., 255 for none."
        )
    known = {name: i for i, name in enumerate(model_names)}
    if known.keys() == set(class_names):
        return [known[name] for name in class_names], "matched by name"
    # Names that differ by case alone are told apart by it, here and there.
    folds = [{name.casefold() for name in names} for names in (model_names, class_names)]
    if all(len(fold) == len(class_names) for fold in folds):
        known = {name.casefold(): i for name, i in known.items()}
        if folds[0] == folds[1]:
            return [known[name.casefold()] for name in class_names], "matched by name"
        moved = [name for i, name in enumerate(class_names) if known.get(name.casefold(), i) != i]
    else:
        moved = [name for i, name in enumerate(class_names) if known.get(name, i) != i]
    if moved:
        raise ValueError(
            f"The model knows {_some(moved)} by another number than the data, but lacks other "
            f"names (it has {_some(model_names)}, the data {_some(class_names)}). Name those of "
            "the data as the model does."
        )
    differ = [
        f"{i}: {theirs} for {ours}"
        for i, (theirs, ours) in enumerate(zip(model_names, class_names, strict=True))
        if theirs.casefold() != ours.casefold()
    ]
    return list(
        range(len(class_names))
    ), f"matched by number, since the model has other names ({_some(differ)})"


def write_prediction(ids: np.ndarray, data: SegmentationData, path: Path) -> None:
    """Class ids (H, W) uint8 as a PNG: in the benchmark's own ids, or in ours with the data's
    palette.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if data.prediction_ids is None:
        as_picture(ids, data.palette).save(path)
    else:
        Image.fromarray(np.array(data.prediction_ids, dtype=np.uint8)[ids]).save(path)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:4]) + (f", ... {len(items)} in all" if len(items) > 4 else "")
