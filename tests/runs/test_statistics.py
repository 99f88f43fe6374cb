"""The statistics of a comparison, against tables, scipy, and loops that share no code with them."""

import random

import numpy as np
import pytest
from scipy import stats

from ctcl_hf.runs.comparison.statistics import (
    LEAST_BLOCKS,
    at_equal_seconds,
    best_and_worst,
    block_bootstrap,
    block_tallies,
    lost_classes,
    mean_iou,
    resampled_gains,
    t_interval,
)


def test_a_t_interval_is_that_of_the_printed_table():
    # mean 3, standard error sqrt(2.5 / 5), t(0.975, 4) = 2.776
    found = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3 and found.count == 5
    assert (found.low, found.high) == pytest.approx(
        (3 - 2.776 * 0.5**0.5, 3 + 2.776 * 0.5**0.5), abs=1e-3
    )
    assert str(t_interval([1.0, 2.0])) == "+1.50 [-4.85, +7.85]"  # t(0.975, 1) = 12.706


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_a_t_interval_is_that_of_scipys_paired_test(count):
    rng = np.random.default_rng(count)
    method, control = rng.normal(40, 2, count), rng.normal(39, 2, count)
    expected = stats.ttest_rel(method, control).confidence_interval(0.95)
    found = t_interval((method - control).tolist())
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_of_one_seed_there_is_no_interval():
    assert t_interval([1.25])[1:] == (None, None, 1)
    assert str(t_interval([1.25])) == "+1.25"


def confusions(seeds=2, students=2, images=7, classes=4, seed=0):
    """Counts (seeds, students, images, K, K) of one set of labels; the last class is in few
    images.
    """
    rng = np.random.default_rng(seed)
    labelled = rng.integers(0, 50, (images, classes))
    labelled[1:, -1] = 0
    counts = np.zeros((seeds, students, images, classes, classes), dtype=np.uint32)
    for s, t, i, k in np.ndindex(seeds, students, images, classes):
        counts[s, t, i, k] = rng.multinomial(
            labelled[i, k], rng.dirichlet(np.ones(classes) + 4 * np.eye(classes)[k])
        )
    return counts


def slow_mean_iou(tables):
    """In percent, of K x K tables as nested lists, summed one by one."""
    classes = range(len(tables[0]))
    total = [[sum(int(table[i][j]) for table in tables) for j in classes] for i in classes]
    ious = []
    for k in classes:
        union = sum(total[k]) + sum(total[i][k] for i in classes) - total[k][k]
        if union:
            ious.append(total[k][k] / union)
    return 100 * sum(ious) / len(ious)


def tallied(counts, length):
    return np.stack(
        [np.stack([block_tallies(own, length) for own in students]) for students in counts]
    )


def test_mean_iou_of_tallies_is_that_of_the_metric():
    import torch

    from ctcl_hf.metrics import scores_from_counts

    counts = confusions()[0, 0]
    expected = scores_from_counts(torch.from_numpy(counts.sum(0).astype(np.int64)), 4, None)[
        "mean_iou"
    ]
    assert mean_iou(block_tallies(counts, 3).sum(0)) == pytest.approx(100 * expected)
    assert mean_iou(np.zeros((3, 4))) == 0


def test_blocks_are_of_consecutive_images_and_the_last_may_be_shorter():
    counts = confusions()[0, 0]
    blocks = block_tallies(counts, 3)
    assert blocks.shape == (3, 3, 4)
    for block, images in zip(blocks, (counts[:3], counts[3:6], counts[6:]), strict=True):
        assert block[0].tolist() == [int(images[:, k, k].sum()) for k in range(4)]
        assert block[1].tolist() == [int(images[:, k].sum()) for k in range(4)]
        assert block[2].tolist() == [int(images[:, :, k].sum()) for k in range(4)]


@pytest.mark.parametrize("length", [1, 3])
def test_a_resample_scores_as_a_loop_over_its_images(length):
    methods, controls = confusions(seed=1), confusions(seed=2)
    blocks = [list(range(start, min(start + length, 7))) for start in range(0, 7, length)]
    draws = random.Random(0)
    drawn = [[draws.randrange(len(blocks)) for _ in blocks] for _ in range(5)]
    weights = np.array(
        [[row.count(block) for block in range(len(blocks))] for row in drawn], dtype=float
    )
    found = resampled_gains(tallied(methods, length), tallied(controls, length), weights)
    for row, gains in zip(drawn, found, strict=True):
        images = [image for block in row for image in blocks[block]]
        for student in range(2):
            slow = [
                slow_mean_iou([run[seed, student, image] for image in images])
                for seed in range(2)
                for run in (methods, controls)
            ]
            assert gains[student] == pytest.approx((slow[0] - slow[1] + slow[2] - slow[3]) / 2)


def test_the_interval_over_blocks_is_that_of_a_slow_independent_bootstrap():
    methods, controls = confusions(images=24, seed=3), confusions(images=24, seed=4)
    found = block_bootstrap(tallied(methods, 2), tallied(controls, 2))
    assert [interval.count for interval in found] == [12] * 3
    draws, sums = random.Random(7), []
    for _ in range(1500):
        images = [
            2 * block + i for block in (draws.randrange(12) for _ in range(12)) for i in (0, 1)
        ]
        sums.append(
            sum(
                slow_mean_iou(methods[seed, student, images].tolist())
                - slow_mean_iou(controls[seed, student, images].tolist())
                for seed in range(2)
                for student in range(2)
            )
            / 2
        )
    sums.sort()
    spread = sums[-1] - sums[0]
    assert found[2].low == pytest.approx(sums[37], abs=0.06 * spread)
    assert found[2].high == pytest.approx(sums[-38], abs=0.06 * spread)
    assert found[2].mean == pytest.approx(found[0].mean + found[1].mean)
    # the same at every report
    assert found == block_bootstrap(tallied(methods, 2), tallied(controls, 2))


def test_a_method_that_equals_its_control_gains_nothing_in_any_resample():
    counts = tallied(confusions(images=24), 4)
    assert all(interval[:3] == (0, 0, 0) for interval in block_bootstrap(counts, counts))


def test_of_few_blocks_there_is_no_interval():
    """One was drawn over two blocks."""
    for blocks in range(1, LEAST_BLOCKS + 1):
        counts = tallied(confusions(images=blocks), 1)
        for interval in block_bootstrap(counts, counts):
            assert interval.count == blocks
            assert (interval.low is None) == (blocks < LEAST_BLOCKS)


@pytest.mark.parametrize(
    ("blocks", "expected"), [(2, 0.50), (3, 0.75), (5, 0.84), (6, 0.86), (10, 0.91)]
)
def test_an_interval_over_few_blocks_misses_the_truth_more_often_than_it_says(blocks, expected):
    """The numbers beside LEAST_BLOCKS and in docs/comparison.md."""
    rng = np.random.default_rng(0)
    shares = rng.multinomial(blocks, np.full(blocks, 1 / blocks), 1000) / blocks
    drawn = rng.normal(size=(4000, blocks)) @ shares.T
    low, high = np.percentile(drawn, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(expected, abs=0.02)


def test_a_class_is_lost_that_the_control_knows_and_the_method_has_less_than_half_of():
    nan = float("nan")
    control = np.array([0.40, 0.40, 0.05, 0.06, nan, 0.20])
    method = np.array([0.20, 0.19, 0.00, 0.00, 0.10, nan])
    known, lost = lost_classes(method, control)
    assert known.tolist() == [True, True, False, True, False, True]
    assert lost.tolist() == [False, True, False, True, False, True]


def history(scores, seconds, steps=100):
    """Evaluations at equal distances, the last at the end."""
    logs = [
        {
            "step": steps * (i + 1) // len(scores),
            "eval_a_mean_iou": score,
            "eval_b_mean_iou": score / 2,
        }
        for i, score in enumerate(scores)
    ]
    return [{"step": 1, "loss": 2.0}, *logs, {"step": steps, "train_runtime": seconds}]


def test_at_equal_seconds_the_slower_run_is_read_at_the_end_of_the_faster():
    method, control = (
        history([0.1, 0.2, 0.3, 0.4], seconds=200),
        history([0.1, 0.2, 0.3, 0.35], seconds=130),
    )
    # after 130 of 200 seconds: 65 steps, evaluated at 50
    found = at_equal_seconds(method, control, ("a", "b"))
    assert found.method == pytest.approx((20, 10)) and found.control == pytest.approx((35, 17.5))
    assert found.share == 0.5
    swapped = at_equal_seconds(control, method, ("a", "b"))
    assert (
        swapped.control == found.method and swapped.method == found.control and swapped.share == 1
    )


def test_at_equal_seconds_nothing_is_said_of_what_was_not_timed_or_not_evaluated_by_then():
    control = history([0.3], seconds=100)
    assert at_equal_seconds(history([0.3], seconds=101), control, ("a", "b")) is None
    assert at_equal_seconds(history([0.3], seconds=100)[:-1], control, ("a", "b")) is None
    assert at_equal_seconds(history([0.4], seconds=100), control, ("a", "b")).method[0] == 40


@pytest.mark.parametrize("count", range(13))
def test_no_image_is_among_the_best_and_the_worst(count):
    """Of eight images two were in both lists of five."""
    scores = np.array([*np.random.default_rng(count).permutation(count).astype(float), np.nan])
    best, worst = best_and_worst(scores, 5)
    assert len(best) == min(5, (count + 1) // 2) and len(worst) == min(5, count // 2)
    assert not {*best} & {*worst}
    assert scores[best].tolist() == list(range(count))[::-1][: len(best)]
    assert scores[worst].tolist() == list(range(len(worst)))
