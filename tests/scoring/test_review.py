"""Where to look first: scores against loops written from their formulas, and what counts."""

import math

import numpy as np
import pytest
import torch
from cleanlab.segmentation.rank import get_label_quality_scores

from ctcl_hf.losses import upsample
from ctcl_hf.scoring import predict
from ctcl_hf.scoring.review import ImageScores, label_quality, review_image

CLASSES, HEIGHT, WIDTH = 4, 9, 13


def make_case(seed=0, ignored=0.3):
    """Logits of two students, (1, K, H, W), and labels of which a share is ignored."""
    rng = np.random.default_rng(seed)
    logits = [
        torch.from_numpy(rng.normal(0, 3, (1, CLASSES, HEIGHT, WIDTH))).float() for _ in range(2)
    ]
    labels = rng.integers(0, CLASSES, (HEIGHT, WIDTH))
    labels[rng.random(labels.shape) < ignored] = 255
    return logits, torch.from_numpy(labels.astype(np.uint8))


def probabilities(logits, y, x):
    exponentials = [math.exp(z) for z in logits[0, :, y, x].double().tolist()]
    return [value / sum(exponentials) for value in exponentials]


def looped(logits, labels):
    """Disagreement, divergence, quality and confusion pixel by pixel, in float64."""
    has_labels = bool((labels != 255).any())
    differ, bits, confidences, pairs, counted = 0, 0.0, [], {}, 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            label = int(labels[y, x])
            if label == 255 and has_labels:
                continue
            counted += 1
            p, q = (probabilities(own, y, x) for own in logits)
            m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
            differ += p.index(max(p)) != q.index(max(q))
            for own in (p, q):
                bits += sum(a * math.log2(a / c) for a, c in zip(own, m, strict=True)) / 2
            pair = (p.index(max(p)), q.index(max(q)))
            if has_labels:
                pair = (label, m.index(max(m)))
                confidences.append(m[label])
            if pair[0] != pair[1]:
                pairs[pair] = pairs.get(pair, 0) + 1
    weights = [math.exp((1 - s) / 0.1) for s in confidences]
    quality = sum(s * w for s, w in zip(confidences, weights, strict=True)) / (sum(weights) or 1)
    worst = max(pairs, key=lambda pair: (pairs[pair], -CLASSES * pair[0] - pair[1]))
    confusion = (*worst, pairs[worst] / (HEIGHT * WIDTH))
    return differ / counted, bits / counted, quality if has_labels else None, confusion


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ignored", [0, 0.3, 1])
def test_scores_are_those_of_a_loop_over_pixels(seed, ignored, monkeypatch):
    monkeypatch.setattr(predict, "STRIP_ELEMENTS", 3 * CLASSES * WIDTH)  # rows at a time
    logits, labels = make_case(seed, ignored)
    scores, _ = review_image(logits, labels)
    expected = looped(logits, labels)
    assert scores[:2] == pytest.approx(expected[:2], abs=1e-6)
    assert scores.label_quality == pytest.approx(expected[2], abs=1e-5)
    assert scores.confusion == pytest.approx(expected[3])
    assert all(0 <= share <= 1 for share in scores[:3] if share is not None)


def test_pixels_without_a_label_change_nothing():
    logits, labels = make_case()
    ignored = labels == 255
    before, maps = review_image(logits, labels)
    for own in logits:
        own[0][:, ignored] = torch.randn(CLASSES, int(ignored.sum())) * 20
    assert review_image(logits, labels)[0] == before
    assert np.array_equal(maps.doubt == 0, ignored.numpy())


def test_label_quality_is_cleanlabs_where_every_pixel_has_a_label():
    logits, labels = make_case(ignored=0)
    mean = sum(own.double().softmax(1) for own in logits) / 2
    expected, _ = get_label_quality_scores(labels.long().numpy()[None], mean.numpy(), verbose=False)
    scores, _ = review_image(logits, labels)
    assert scores.label_quality == pytest.approx(expected[0], abs=1e-5)


def test_label_quality_is_0_where_no_label_is_thought_likely_and_1_where_all_are_sure():
    assert label_quality(np.zeros(5)) == 0
    assert label_quality(np.ones(5)) == pytest.approx(1)


def test_students_that_are_sure_of_different_classes_diverge_by_a_bit_and_equal_ones_by_nothing():
    sure = torch.zeros(1, 2, 4, 4)
    sure[:, 0] = 200
    labels = torch.full((4, 4), 255, dtype=torch.uint8)
    opposed, maps = review_image([sure, sure.flip(1)], labels)
    assert opposed[:2] == (1, pytest.approx(1)) and opposed.confusion == (0, 1, 1)
    assert maps.doubt == pytest.approx(1)
    equal, maps = review_image([sure, sure], labels)
    assert equal == (0, 0, None, None) and not maps.doubt.any()


def test_maps_hold_what_each_student_says_at_the_labels_size():
    logits, labels = make_case()
    logits[1] = logits[1][..., ::2, ::2]  # of another stride
    _, maps = review_image(logits, labels)
    for own, ids in zip(logits, maps.predictions, strict=True):
        assert np.array_equal(ids, upsample(own, (HEIGHT, WIDTH))[0].argmax(0))


@pytest.mark.parametrize("size", [(37, 50), (5, 7), (10, 14)])
def test_logits_in_strips_are_those_that_are_upsampled_at_once(size, monkeypatch):
    monkeypatch.setattr(predict, "STRIP_ELEMENTS", 200)
    logits = torch.randn(2, 3, 10, 14)
    strips = list(predict.upsampled_strips(logits, size))
    assert len(strips) > 1 or size[0] < 10
    torch.testing.assert_close(
        torch.cat([strip for _, strip in strips], 2), upsample(logits, size), rtol=1e-5, atol=1e-5
    )
    assert [rows.stop for rows, _ in strips[:-1]] == [rows.start for rows, _ in strips[1:]]


def test_labelled_images_rank_by_their_labels_and_others_after_them_by_divergence():
    scores = [
        ImageScores(0.1, 0.2, 0.9, None),
        ImageScores(0.9, 0.1, None, None),
        ImageScores(0.1, 0.3, None, None),
        ImageScores(0.0, 0.1, 0.4, None),
    ]
    assert sorted(range(4), key=lambda i: scores[i].rank()) == [3, 0, 2, 1]
