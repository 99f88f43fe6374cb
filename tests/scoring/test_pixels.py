"""What is said of every pixel in strips, against all logits at once in float64."""

import pytest
import torch
import torch.nn.functional as F

from ctcl_hf.scoring import predict
from ctcl_hf.scoring.pixels import CLASSES_SIDE_BY_SIDE, pixel_predictions

IGNORED = 255


def at_once(logits, labels):
    """Ids, confidences and loss of each model and of the mean, by definition."""
    upsampled = [
        F.interpolate(own.double(), size=labels.shape, mode="bilinear", align_corners=False)[0]
        for own in logits
    ]
    probabilities = [own.softmax(0) for own in upsampled]
    labelled = labels != IGNORED
    told = []
    for own in [*probabilities, sum(probabilities) / len(probabilities)]:
        confidences, ids = own.max(0)
        of_labels = own.gather(0, labels.long().where(labelled, 0)[None])[0]
        loss = -of_labels.log()[labelled].sum() / max(int(labelled.sum()), 1)
        told.append((ids, confidences, loss.item()))
    return told


@pytest.mark.parametrize("classes", [2, 11, CLASSES_SIDE_BY_SIDE, 150])
@pytest.mark.parametrize("size", [(37, 50), (10, 14), (5, 7)])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_ids_confidences_and_losses_are_those_of_all_logits_at_once(
    classes, size, ignored, monkeypatch
):
    monkeypatch.setattr(predict, "STRIP_ELEMENTS", 2000)
    torch.manual_seed(classes)
    logits = [torch.randn(1, classes, 10, 14) * 3, torch.randn(1, classes, 5, 7) * 3]
    labels = torch.randint(0, classes, size, dtype=torch.uint8)
    labels[torch.rand(size) < ignored] = IGNORED
    predicted = pixel_predictions(logits, labels, IGNORED, with_mean=True)
    expected = at_once(logits, labels)
    assert len(predicted) == len(expected) == 3
    for own, (ids, confidences, loss) in zip(predicted, expected, strict=True):
        assert torch.equal(own.ids, ids)
        torch.testing.assert_close(own.confidences, confidences.float(), rtol=1e-4, atol=1e-6)
        assert own.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)


def test_a_class_that_both_are_sure_it_is_not_leaves_the_loss_finite():
    sure = torch.tensor([0.0, 300.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    *_, mean = pixel_predictions([sure, sure], torch.zeros(3, 3), IGNORED, with_mean=True)
    assert 80 < mean.loss < 300  # of the smallest number that float32 has


def test_logits_of_half_precision_are_told_in_full():
    logits = torch.randn(1, 11, 6, 8).bfloat16()
    labels = torch.randint(0, 11, (24, 32))
    (predicted,) = pixel_predictions([logits], labels, IGNORED)
    (of_full,) = pixel_predictions([logits.float()], labels, IGNORED)
    assert predicted.loss == of_full.loss and torch.equal(predicted.ids, of_full.ids)
