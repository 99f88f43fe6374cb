"""Every metric of METRICS against what any metric must do, and the built-in ones against slow loops
of their own.
"""

import math

import pytest
import torch
from accelerate import Accelerator

from ctcl_hf.metrics import METRICS, Metric, confusion_counts, titles_of
from ctcl_hf.scoring.evaluate import evaluate_predictors
from ctcl_hf.scoring.protocols import Protocol

K, IGNORED = 4, 255


@pytest.fixture(scope="module")
def pairs():
    """Predictions and labels of three images, right at most pixels, some of which are not
    labelled.
    """
    generator = torch.Generator().manual_seed(0)
    made = []
    for height, width in ((7, 5), (6, 9), (4, 4)):
        labels = torch.randint(0, 3, (height, width), generator=generator)  # the last never occurs
        noise = torch.rand(height, width, generator=generator)
        predicted = torch.where(noise < 0.7, labels, (labels + 1) % 3)
        labels[noise > 0.9] = IGNORED
        made.append((predicted, labels))
    return made


def score(kind, pairs):
    metric = kind(K, IGNORED)
    for predicted, labels in pairs:
        metric.add(predicted, labels, confusion_counts(predicted, labels, 256)[:K, :K])
    return metric.compute()


@pytest.mark.parametrize("name", METRICS)
class TestEveryMetric:
    def test_it_has_a_title_for_each_score_and_each_is_a_share(self, name, pairs):
        scores = score(METRICS[name], pairs)
        assert scores.keys() == METRICS[name].TITLES.keys()
        assert all(0 < value < 1 for value in scores.values())

    def test_what_is_predicted_right_scores_1_and_what_is_all_wrong_0(self, name, pairs):
        right = [(labels.clamp_max(K - 1), labels) for _, labels in pairs]
        assert all(value == 1 for value in score(METRICS[name], right).values())
        wrong = [((labels + 1) % 3, labels) for _, labels in pairs]
        assert all(value == 0 for value in score(METRICS[name], wrong).values())

    def test_pixels_without_a_label_count_for_nothing(self, name, pairs):
        other = [
            (torch.where(labels == IGNORED, 2, predicted), labels) for predicted, labels in pairs
        ]
        assert score(METRICS[name], other) == score(METRICS[name], pairs)

    def test_sums_of_parts_are_the_sums_of_all_images(self, name, pairs):
        """So that processes, each with its share of the images, score as one with all of them."""
        whole = METRICS[name](K, IGNORED)
        parts = [METRICS[name](K, IGNORED) for _ in range(4)]  # the last has no image
        for part, (predicted, labels) in zip(parts, pairs, strict=False):
            counts = confusion_counts(predicted, labels, 256)[:K, :K]
            part.add(predicted, labels, counts)
            whole.add(predicted, labels, counts)
        parts[0].sums = torch.stack([part.sums for part in parts]).sum(0)
        assert parts[0].compute() == whole.compute()

    def test_where_nothing_is_labelled_there_is_no_score(self, name):
        assert all(math.isnan(value) for value in METRICS[name](K, IGNORED).compute().values())


def test_each_score_of_a_registered_metric_has_a_name_of_its_own():
    kinds = [METRICS[name] for name in METRICS]
    assert len(titles_of(kinds)) == sum(len(kind.TITLES) for kind in kinds)


def test_two_metrics_of_one_name_are_refused():
    class Again(METRICS["dice"]):
        pass

    with pytest.raises(ValueError, match="Again has a score of the name mean_dice, as another"):
        titles_of([METRICS["dice"], Again])


# ---- against slow loops ----


def pixels(pairs):
    for predicted, labels in pairs:
        for own, label in zip(predicted.flatten().tolist(), labels.flatten().tolist(), strict=True):
            if label != IGNORED:
                yield own, label


def slow_dice(pairs):
    """F1, from the precision and the recall of each class."""
    found = []
    for k in range(K):
        hits = sum(own == label == k for own, label in pixels(pairs))
        claimed = sum(own == k for own, _ in pixels(pairs))
        there = sum(label == k for _, label in pixels(pairs))
        if claimed or there:
            precision, recall = hits / claimed, hits / there
            found.append(2 * precision * recall / (precision + recall))
    return {"mean_dice": sum(found) / len(found)}


def slow_frequency_weighted_iou(pairs):
    """The IoU of each labelled pixel's class, averaged over the pixels."""
    ious = []
    for _, label in pixels(pairs):
        both = sum(own == other == label for own, other in pixels(pairs))
        either = sum(label in pair for pair in pixels(pairs))
        ious.append(both / either)
    return {"frequency_weighted_iou": sum(ious) / len(ious)}


@pytest.mark.parametrize(
    ("name", "slow"),
    [("dice", slow_dice), ("frequency_weighted_iou", slow_frequency_weighted_iou)],
)
def test_a_score_is_that_of_its_definition_pixel_by_pixel(name, slow, pairs):
    assert score(METRICS[name], pairs) == pytest.approx(slow(pairs), abs=1e-12)


# ---- in an evaluation ----


def test_an_evaluation_scores_other_metrics_beside_mean_iou_and_logs_them():
    class Images(Metric):
        TITLES = {"images": "share of images", "none": "what cannot be told"}  # noqa: RUF012

        def add(self, predicted, labels, counts):
            assert predicted.shape == labels.shape and counts.sum() == (labels != IGNORED).sum()
            self.sums[0, 0] += 1

        def compute(self):
            return {"images": self.sums.sum().item() / 10, "none": float("nan")}

    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(0, 2, (8, 8), generator=generator) for _ in range(3)]
    labels[0][0] = IGNORED
    batches = [{"pixel_values": torch.rand(3, 3, 8, 8), "labels": labels}]
    predictors = {name: lambda pixels: pixels[:, :2] for name in ("a", "b")}
    told = (predictors, batches, ("x", "y"), IGNORED, Protocol(), Accelerator(cpu=True))
    plain, _ = evaluate_predictors(*told)
    evaluation, _ = evaluate_predictors(*told, metrics=[METRICS["dice"], Images])
    assert evaluation.titles == METRICS["dice"].TITLES | Images.TITLES
    for name, scores in evaluation.students.items():
        assert scores.ious == plain.students[name].ious
        assert scores.others.keys() == {"mean_dice", "images"}
        assert scores.others["images"] == 0.3
    logged = evaluation.metrics("eval")
    assert logged["eval_a_mean_dice"] == logged["eval_mean_dice"]  # both students are one
    assert not any("none" in name for name in logged)
