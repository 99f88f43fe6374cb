"""Scoring one saved model, of ours or of anyone's, on a split of a data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from ..data import IGNORE_INDEX, SegmentationData, as_picture, collate_for_evaluation
from ..figures import mistakes_figure
from ..metrics.scores import Scores
from ..students import as_student
from .evaluate import NothingToScore, evaluate_predictors
from .image_counts import ImageCounts
from .predict import class_map, input_size, load_for_inference
from .protocols import Protocol

NAME = "model"  # of the one predictor


class Scorer:
    """A saved model, ready to be scored on a data set's classes.

    Args:
        model: a student's folder, or a Hub id of a semantic-segmentation model.
        data: whose classes it is scored by; the model's are brought into their order.
        accelerator: device, processes and precision.

    Raises:
        OSError: no such model. ValueError: it has other classes.
    """

    def __init__(self, model: str, data: SegmentationData, accelerator: Accelerator):
        loaded, self.image_processor = load_for_inference(model)
        self.student = as_student(loaded, self.image_processor).to(accelerator.device).eval()
        self.data = data
        self.accelerator = accelerator
        self.order, self.class_note = class_order(self.student.class_names, data.class_names)

    def predict(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) RGB in 0..255 -> logits (B, K, h, w), classes as the data numbers them."""
        logits = self.student.logits(pixel_values)
        return logits if self.order == list(range(len(self.order))) else logits[:, self.order]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that the model's own processor resizes images to, if it says so."""
        return input_size(self.image_processor)

    def score(
        self, split: str, protocol: Protocol, batch_size: int = 4, workers: int = 0, predictions: Path | None = None
    ) -> tuple[Scores | None, ImageCounts]:
        """Scores, None where no image has a label; and counts of all images.

        Args:
            predictions: folder for a PNG of every image's prediction, in the benchmark's own ids. ValueError if two
                images have one name.
        """
        samples = self.data.samples(split, protocol.transform)
        accelerator = self.accelerator
        own = range(accelerator.process_index, len(samples), accelerator.num_processes)
        loader = DataLoader(Subset(samples, own), batch_size, collate_fn=collate_for_evaluation, num_workers=workers)
        numbers, written = iter(own), set()

        def after_image(name: str, ids: Tensor, labels: Tensor) -> None:
            number = next(numbers)
            if predictions is not None:
                path = predictions / f"{samples.name(number)}.png"
                if path in written:
                    raise ValueError(f"Two images are named {path.stem}: one prediction would overwrite the other.")
                written.add(path)
                write_prediction(ids.cpu().numpy().astype(np.uint8), self.data, path)

        batches = tqdm(loader, f"Scoring {split}", disable=not accelerator.is_local_main_process)
        try:
            evaluation, counts = evaluate_predictors(
                {NAME: self.predict},
                (send_to_device(batch, accelerator.device) for batch in batches),
                self.data.class_names,
                IGNORE_INDEX,
                protocol,
                accelerator,
                after_image=after_image,
            )
        except NothingToScore as nothing:  # a benchmark's images without labels, whose predictions are wanted
            return None, nothing.counts[NAME].gather()
        return evaluation.students[NAME], counts[NAME].gather()

    @torch.no_grad()
    def worst_figure(self, split: str, protocol: Protocol, worst: Sequence[tuple[int, float]]) -> Figure:
        """The images that are scored worst: truth, prediction and mistakes, at the labels' size."""
        samples = self.data.samples(split, protocol.transform)
        images, truths, predicted, titles = [], [], [], []
        for number, mean_iou in worst:
            sample = samples[number]
            labels = sample["labels"]
            with self.accelerator.autocast():
                logits = protocol.logits(self.predict, sample["pixel_values"][None].to(self.accelerator.device))
            predicted.append(class_map(logits.float(), labels.shape)[0].cpu().numpy().astype(np.uint8))
            truths.append(labels.numpy())
            shown = Image.fromarray(sample["pixel_values"].permute(1, 2, 0).numpy())
            images.append(np.asarray(shown.resize((labels.shape[1], labels.shape[0]))))
            titles.append(f"{samples.name(number)}: mIoU {100 * mean_iou:.1f} %")
        return mistakes_figure(images, truths, predicted, titles, self.data.class_names, self.data.palette)


def class_order(model_names: Sequence[str], class_names: Sequence[str]) -> tuple[list[int], str]:
    """Where the model has each class of the data, and in words how they were matched.

    By name, whatever the case where names differ by more; by number if none or only some of as many names agree.
    ValueError if there are more or fewer, or if one that both know has another number.
    """
    if len(model_names) != len(class_names):
        raise ValueError(
            f"The model knows {len(model_names)} classes ({_some(model_names)}), the data has {len(class_names)} "
            f"({_some(class_names)}). It must have been trained on these classes."
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
            f"The model knows {_some(moved)} by another number than the data, but lacks other names (it has "
            f"{_some(model_names)}, the data {_some(class_names)}). Name those of the data as the model does."
        )
    differ = [
        f"{i}: {theirs} for {ours}"
        for i, (theirs, ours) in enumerate(zip(model_names, class_names, strict=True))
        if theirs.casefold() != ours.casefold()
    ]
    return list(range(len(class_names))), f"matched by number, since the model has other names ({_some(differ)})"


def write_prediction(ids: np.ndarray, data: SegmentationData, path: Path) -> None:
    """Class ids (H, W) uint8 as a PNG: in the benchmark's own ids, or in ours with the data's palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data.prediction_ids is None:
        as_picture(ids, data.palette).save(path)
    else:
        Image.fromarray(np.array(data.prediction_ids, dtype=np.uint8)[ids]).save(path)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:4]) + (f", ... {len(items)} in all" if len(items) > 4 else "")
