"""A method, a data set, a family of students, a protocol and a metric of one's own, each as small
as it can be.
"""

from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset, DatasetDict, Features, Image
from PIL import Image as Picture
from plain_net import PlainNet, PlainNetConfig

from ctcl_hf import Objective, SegmentationData, Student, StudentOutput, StudentTerms
from ctcl_hf.losses import kl_map, masked_mean, upsample
from ctcl_hf.methods.options import DistillationOptions, Weight, option
from ctcl_hf.metrics import Metric
from ctcl_hf.scoring.protocols import Framing
from ctcl_hf.students.loading import image_processor


@dataclass(kw_only=True)
class MutualOptions(DistillationOptions):
    mutual: Weight = option(1.0, "Weight of the peer's opinion.")


class Mutual(Objective):
    Options = MutualOptions
    TERMS = {"mutual": "KL from the peer (nats)"}  # noqa: RUF012
    WEIGHTS = {"mutual": "mutual"}  # noqa: RUF012

    def forward(self, students, labels, teachers=()):
        labelled = labels != self.ignore_index
        logits = [upsample(student.logits, labels.shape[-2:]) for student in students]
        terms = []
        for student, learner, peer in zip(students, logits, reversed(logits), strict=True):
            losses = self.segmentation_terms(student, labels)
            losses["mutual"] = masked_mean(kl_map(learner, peer, "forward"), labelled)
            terms.append(StudentTerms(losses, {}))
        return terms


def build_halves(data_dir):
    """Pictures that are dark on the left and bright on the right."""
    mask = np.repeat(np.arange(2, dtype=np.uint8), 48)[None].repeat(64, 0)

    def rows(count, seed):
        noise = np.random.default_rng(seed).integers(0, 60, (count, 64, 96, 3))
        images = [
            Picture.fromarray((80 + 100 * mask[..., None] + own).astype(np.uint8)) for own in noise
        ]
        pictures = {"image": images, "label": [Picture.fromarray(mask)] * count}
        return Dataset.from_dict(pictures, features=Features(image=Image(), label=Image()))

    splits = DatasetDict(train=rows(4, 0), validation=rows(3, 1))
    return SegmentationData(
        "halves", splits, ("left", "right"), ((0, 0, 90), (200, 200, 0)), (64, 96)
    )


class PlainStudent(Student):
    """`PlainNet` as a student."""

    net, config_of = PlainNet, PlainNetConfig
    family = "cnn"
    description = "PlainNet"

    @classmethod
    def new(cls, class_names, image_size, from_scratch):
        labels = dict(enumerate(class_names))
        config = cls.config_of(id2label=labels, label2id={name: i for i, name in labels.items()})
        return cls(cls.net(config), image_processor(image_size))

    @property
    def second_stage(self):
        return self.model.second

    @property
    def low_channels(self):
        return self.config.width

    last_channels = low_channels

    def forward(self, pixel_values):
        output = self.model(self.normalize(pixel_values))
        low, second = output.hidden_states
        return StudentOutput(
            output.logits, low, second, second, second_stage=self.borrowed_second_stage
        )


class Halves(Framing):
    """The left and the right half of an image, each predicted on its own."""

    def words(self):
        return f"left and right halves of {self.images}"

    def logits(self, predict, pixel_values):
        halves = pixel_values.chunk(2, dim=-1)
        return torch.cat([upsample(predict(half), half.shape[-2:]) for half in halves], dim=-1)


class Borders(Metric):
    """Share of right pixels among those whose right neighbour is of another class."""

    TITLES = {"border_accuracy": "accuracy at borders"}  # noqa: RUF012

    def __init__(self, num_classes, ignore_index):
        super().__init__(num_classes, ignore_index)
        self.sums = torch.zeros(2, dtype=torch.int64)  # right ones, and all

    def add(self, predicted, labels, counts):
        own, neighbour = labels[:, :-1], labels[:, 1:]
        border = (own != neighbour) & (own != self.ignore_index) & (neighbour != self.ignore_index)
        right = border & (predicted[:, :-1] == own)
        self.sums += torch.tensor([right.sum(), border.sum()])

    def compute(self):
        right, border = self.sums.tolist()
        return {"border_accuracy": right / border if border else float("nan")}
