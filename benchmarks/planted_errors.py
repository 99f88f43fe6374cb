"""Planted wrong labels: are they the ones that a review shows first?

Wrong labels of five kinds are planted into a share of the images of a split, which the students of
a run have not been trained on, and all its images are ranked in several ways: by `ctcl-hf review`'s
label quality of the pair (its default for labelled images) and of each student alone, by loss (mean
cross entropy over labelled pixels), and by the students' divergence. Precision is the share of
planted ones among the first n, where n were planted; chance reaches the share that was planted.

python benchmarks/planted_errors.py runs/seed-*/vanilla
python benchmarks/planted_errors.py runs/camvid/seed-*/vanilla --data_dir CamVid --split test
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from common import header, row
from planting import IGNORE, plantings
from torch import Tensor

from ctcl_hf.arguments.dataset import DatasetArguments
from ctcl_hf.cli.data import data_of_model, load_data
from ctcl_hf.losses import upsample
from ctcl_hf.scoring.protocols import Protocol
from ctcl_hf.scoring.review import label_quality, review_image
from ctcl_hf.scoring.scorer import PAIR, Scorer, saved_students

TOGETHER = "all five"


class Seen(NamedTuple):
    """An image: logits (1, K, h, w) of both students, and its mask (H, W) uint8."""

    logits: list[Tensor]
    mask: np.ndarray


@torch.no_grad()
def look(scorer: Scorer, split: str) -> list[Seen]:
    """All images of a split, as `ctcl-hf review` shows them to the students."""
    protocol = Protocol(image_size=scorer.image_size or scorer.data.image_size)
    samples = scorer.data.samples(split, protocol.transform)
    return [
        Seen(
            [
                protocol.logits(predict, sample["pixel_values"][None])
                for predict in scorer.predictors.values()
            ],
            sample["labels"].numpy(),
        )
        for sample in (samples[number] for number in range(len(samples)))
    ]


@torch.no_grad()
def suspicions(seen: Seen, mask: np.ndarray, students: Sequence[str]) -> dict[str, float]:
    """How early each ranking shows an image with this mask: the larger, the earlier."""
    labels = torch.from_numpy(mask)
    scores, _ = review_image(seen.logits, labels)
    found = {f"label quality, {PAIR}": 1 - scores.label_quality}
    labelled = labels != IGNORE
    ids = labels.long().where(labelled, 0)
    of_labels = {
        name: upsample(own, mask.shape)[0].log_softmax(0).gather(0, ids[None])[0][labelled]
        for name, own in zip(students, seen.logits, strict=True)
    }
    for name, own in of_labels.items():
        found[f"label quality, {name}"] = 1 - label_quality(own.exp().numpy())
    mean = torch.stack([*of_labels.values()]).logsumexp(0) - np.log(len(students))
    for name, own in (of_labels | {PAIR: mean}).items():
        found[f"loss, {name}"] = -own.mean().item()
    return found | {"divergence": scores.divergence}


class Review:
    """The rankings of a split by the students of a run.

    Args:
        run: folder of its students.
        data_dir: where its data lie, if not where they lay when it was trained.
        images: how many of the split, spread evenly; None for all.
    """

    def __init__(self, run: str, data_dir: str | None, split: str, images: int | None):
        students = saved_students(run)
        dataset = data_of_model(run, DatasetArguments(), [])
        if data_dir:
            dataset = dataclasses.replace(dataset, data_dir=data_dir)
        data = load_data(dataset, split, next(iter(students.values())).class_names)
        data = data.part({split: images}) if images else data
        self.students, self.classes = list(students), len(data.class_names)
        # an image without a label has none that could be wrong
        self.images = [
            seen
            for seen in look(Scorer(students, data, Accelerator(cpu=True)), split)
            if (seen.mask != IGNORE).any()
        ]
        self.kinds = plantings([seen.mask for seen in self.images])
        self.right = [suspicions(seen, seen.mask, self.students) for seen in self.images]
        self.changed: dict[str, list[float]] = {kind: [] for kind in self.kinds}

    def plant(
        self, kind: str, count: int, rng: np.random.Generator, taken: Sequence[int] = ()
    ) -> dict[int, dict[str, float]]:
        """Suspicions of so many images after an error of this kind, by number."""
        planted: dict[int, dict[str, float]] = {}
        for number in rng.permutation(len(self.images)):
            seen = self.images[number]
            if len(planted) == count or number in taken:
                continue
            mask = self.kinds[kind](seen.mask, self.classes, rng)
            if mask is None or not (mask != IGNORE).any():
                continue
            labelled = (seen.mask != IGNORE) & (mask != IGNORE)
            self.changed[kind].append((mask != seen.mask)[labelled].mean())
            planted[int(number)] = suspicions(seen, mask, self.students)
        return planted

    def precisions(self, planted: dict[int, dict[str, float]]) -> dict[str, float]:
        """Share of planted images among the first, by ranking."""
        scores = [planted.get(number, own) for number, own in enumerate(self.right)]
        shares = {}
        for ranking in self.right[0]:
            order = sorted(range(len(scores)), key=lambda number: -scores[number][ranking])
            first = order[: len(planted)]
            shares[ranking] = sum(number in planted for number in first) / len(planted)
        return shares

    def measure(self, share: float, seed: int) -> dict[str, dict[str, float]]:
        """Precision of each ranking by kind: of each alone, in so many images, and of all together,
        in as many.
        """
        rng = np.random.default_rng(seed)
        count = max(round(share * len(self.images)), 1)
        found = {kind: self.precisions(self.plant(kind, count, rng)) for kind in self.kinds}
        together: dict[int, dict[str, float]] = {}
        for kind in self.kinds:
            together |= self.plant(kind, max(count // len(self.kinds), 1), rng, list(together))
        return found | {TOGETHER: self.precisions(together)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Folders of trained students.")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--data_dir", help="Where the runs' data lie. Default: where they lay.")
    parser.add_argument("--images", type=int, help="So many of the split. Default: all.")
    parser.add_argument("--share", type=float, default=0.1, help="Of the images, with an error.")
    parser.add_argument("--plantings", type=int, default=5, help="Seeds, 0, 1, ... of each run.")
    arguments = parser.parse_args()
    start = time.perf_counter()
    by_run: list[dict[str, dict[str, float]]] = []
    changed: dict[str, list[float]] = {}
    for run in arguments.runs:
        review = Review(run, arguments.data_dir, arguments.split, arguments.images)
        seeds = [review.measure(arguments.share, seed) for seed in range(arguments.plantings)]
        by_run.append(
            {
                kind: {name: statistics.mean(seed[kind][name] for seed in seeds) for name in own}
                for kind, own in seeds[0].items()
            }
        )
        for kind, shares in review.changed.items():
            changed.setdefault(kind, []).extend(shares)
    kinds = list(by_run[0])
    print(
        f"{len(review.images)} images of {arguments.split}, {len(by_run)} runs, "
        f"{arguments.plantings} plantings each, {time.perf_counter() - start:.0f} s. Precision in "
        "%, mean over runs ± standard deviation over runs.\n"
    )
    header("ranked by", *kinds)
    for ranking in by_run[0][TOGETHER]:
        cells = []
        for kind in kinds:
            values = [100 * own[kind][ranking] for own in by_run]
            spread = f" ± {statistics.stdev(values):.0f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.0f}{spread}")
        row(ranking, *cells)
    medians = [f"{100 * statistics.median(shares):.1f}" for shares in changed.values()]
    row("*labelled pixels changed (median)*", *medians, "")


if __name__ == "__main__":
    main()
