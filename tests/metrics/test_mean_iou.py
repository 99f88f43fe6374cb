"""`MeanIoU` against pixel-by-pixel loops, and its streaming, merging and errors."""

import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ctcl_hf.metrics import MeanIoU
from ctcl_hf.metrics.mean_iou import mean_iou as module
from ctcl_hf.metrics.mean_iou.mean_iou import add_counts, confusion_counts

FOLDER = Path(module.__file__).parent


def by_pixel(
    predictions, references, num_labels, ignore_index, label_map=None, reduce_labels=False
):
    """The metric from its definition, one pixel at a time."""
    true_positive, false_positive, false_negative = ([0] * num_labels for _ in range(3))
    for prediction, reference in zip(predictions, references, strict=True):
        for predicted, actual in zip(
            np.ravel(prediction).tolist(), np.ravel(reference).tolist(), strict=True
        ):
            for old, new in (label_map or {}).items():
                actual = new if actual == old else actual
            if reduce_labels:
                actual = 255 if actual in (0, 255) else actual - 1
            if actual == ignore_index:
                continue
            if predicted == actual:
                true_positive[actual] += 1
            else:
                false_positive[predicted] += 1
                false_negative[actual] += 1

    def ratio(part, whole):
        return part / whole if whole else math.nan

    def mean(values):
        return ratio(sum(v for v in values if v == v), sum(v == v for v in values))

    counts = list(zip(true_positive, false_positive, false_negative, strict=True))
    iou = [ratio(tp, tp + fp + fn) for tp, fp, fn in counts]
    accuracy = [ratio(tp, tp + fn) for tp, _, fn in counts]
    return {
        "mean_iou": mean(iou),
        "mean_accuracy": mean(accuracy),
        "overall_accuracy": ratio(sum(true_positive), sum(true_positive) + sum(false_negative)),
        "per_category_iou": iou,
        "per_category_accuracy": accuracy,
    }


def assert_same(scores, expected):
    assert list(scores) == list(expected)
    for name in expected:
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-12, atol=0, err_msg=name)


def random_masks(seed=0, count=4, num_labels=5, ignored=255):
    """Pairs of uint8 masks of varied sizes, a fifth of the reference pixels ignored."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, (count, 2))
    predictions = [rng.integers(0, num_labels, size, dtype=np.uint8) for size in sizes]
    references = [rng.integers(0, num_labels, size, dtype=np.uint8) for size in sizes]
    for reference in references:
        reference[rng.random(reference.shape) < 0.2] = ignored
    return predictions, references


@st.composite
def cases(draw):
    num_labels = draw(st.integers(1, 5))
    reduce_labels = draw(st.booleans())
    shape = st.tuples(st.integers(1, 4), st.integers(1, 4))
    reference_ids = [*range(num_labels + reduce_labels), 255]
    predictions, references = [], []
    for height, width in draw(st.lists(shape, min_size=1, max_size=3)):
        pixels = {"min_size": height * width, "max_size": height * width}
        predictions.append(
            np.reshape(draw(st.lists(st.integers(0, num_labels - 1), **pixels)), (height, width))
        )
        references.append(
            np.reshape(draw(st.lists(st.sampled_from(reference_ids), **pixels)), (height, width))
        )
    ids = st.sampled_from(reference_ids)
    options = {"num_labels": num_labels, "ignore_index": 255, "reduce_labels": reduce_labels}
    return (
        predictions,
        references,
        options | {"label_map": draw(st.none() | st.dictionaries(ids, ids, max_size=3))},
    )


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@settings(max_examples=80, deadline=None)
@given(cases())
def test_equals_the_definition(case):
    predictions, references, options = case
    before = [reference.copy() for reference in references]
    scores = MeanIoU().compute(predictions=predictions, references=references, **options)
    assert_same(scores, by_pixel(predictions, references, **options))
    assert all(np.array_equal(a, b) for a, b in zip(before, references, strict=True))


def test_example_of_evaluates_card():
    predictions = [
        [[1, 2], [3, 4], [5, 255]],
        [[2, 7], [9, 2], [3, 6]],
        [[2, 2, 3], [8, 2, 4], [3, 255, 2]],
    ]
    references = [
        [[0, 3], [5, 4], [6, 255]],
        [[1, 7], [9, 2], [3, 6]],
        [[1, 2, 2], [8, 2, 1], [3, 255, 1]],
    ]
    scores = MeanIoU().compute(
        predictions=predictions, references=references, num_labels=10, ignore_index=255
    )
    assert scores["mean_iou"] == 0.47750000000000004
    assert scores["mean_accuracy"] == 0.5916666666666666
    assert scores["overall_accuracy"] == 0.5263157894736842
    assert scores["per_category_iou"].tolist() == [0, 0, 0.375, 0.4, 0.5, 0, 0.5, 1, 1, 1]


@pytest.mark.parametrize("ignore_index", [0, 3, 255, -100, None])
def test_ignore_index_anywhere(ignore_index):
    predictions, references = random_masks(ignored=0)
    options = {"num_labels": 5, "ignore_index": ignore_index}
    scores = MeanIoU().compute(predictions=predictions, references=references, **options)
    assert_same(scores, by_pixel(predictions, references, **options))


def test_ignored_class_still_suffers_from_predictions():
    scores = MeanIoU().compute(
        predictions=[[[0, 1, 0]]], references=[[[1, 1, 0]]], num_labels=2, ignore_index=0
    )
    assert scores["per_category_iou"].tolist() == [0, 0.5]
    np.testing.assert_equal(scores["per_category_accuracy"], [math.nan, 0.5])


def test_nan_rules():
    # Class 2 is only predicted, class 3 is nowhere.
    inputs = {
        "predictions": [[[0, 1, 2, 0]]],
        "references": [[[0, 1, 1, 255]]],
        "num_labels": 4,
        "ignore_index": 255,
    }
    scores = MeanIoU().compute(**inputs)
    np.testing.assert_equal(scores["per_category_iou"], [1, 0.5, 0, math.nan])
    np.testing.assert_equal(scores["per_category_accuracy"], [1, 0.5, math.nan, math.nan])
    assert (scores["mean_iou"], scores["mean_accuracy"]) == (0.5, 0.75)
    replaced = MeanIoU().compute(**inputs, nan_to_num=-1)
    assert replaced["per_category_accuracy"].tolist() == [1, 0.5, -1, -1]
    # NaN goes after the mean
    assert (replaced["mean_iou"], replaced["mean_accuracy"]) == (0.5, 0.75)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = MeanIoU().compute(
            predictions=[[[0]]], references=[[[255]]], num_labels=2, ignore_index=255
        )
    assert all(np.isnan(score).all() for score in empty.values())


def test_label_map_chains_then_reduces():
    inputs = {
        "predictions": [[[0, 1, 0, 1]]],
        "references": [[[0, 1, 2, 255]]],
        "num_labels": 2,
        "ignore_index": 255,
    }
    # 1 -> 2 -> 1 and 2 -> 1; then 0 -> 255, 1 -> 0.
    scores = MeanIoU().compute(**inputs, label_map={1: 2, 2: 1}, reduce_labels=True)
    assert scores["per_category_iou"].tolist() == [0.5, 0]
    with pytest.raises(TypeError, match="'1'"):
        MeanIoU().compute(**inputs, label_map={"1": 2})


def test_streaming_equals_one_shot_and_clears():
    predictions, references = random_masks(count=5)
    options = {"num_labels": 5, "ignore_index": 255}
    once = MeanIoU().compute(predictions=predictions, references=references, **options)
    metric = MeanIoU()
    metric.add(prediction=predictions[0], reference=references[0])
    metric.add(predictions=predictions[1], references=references[1])
    metric.add_batch(predictions=predictions[2:4], references=references[2:4])
    peek = metric._compute(**options)
    assert_same(peek, by_pixel(predictions[:4], references[:4], **options))
    assert_same(
        metric.compute(predictions=predictions[4:], references=references[4:], **options), once
    )
    assert metric.counts.shape == (0, 0)
    with pytest.raises(ValueError, match="nothing to compute"):
        metric.compute(**options)


def test_inputs_of_every_kind():
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(0, 5, (2, 3, 6, 7), dtype=np.uint8)
    predictions.flags.writeable = False
    expected = MeanIoU().compute(
        predictions=predictions, references=references, num_labels=5, ignore_index=0
    )
    kinds = [
        np.int64,
        np.float32,
        np.dtype(">u2"),
        np.ndarray.tolist,
        lambda masks: torch.tensor(masks),
        lambda masks: torch.tensor(masks.astype(np.uint16)),
        lambda masks: [Image.fromarray(mask) for mask in masks],
        lambda masks: [torch.tensor(mask).half() for mask in masks],
    ]
    for kind in kinds:
        convert = (
            kind
            if callable(kind) and not isinstance(kind, type)
            else lambda m, kind=kind: m.astype(kind)
        )
        for pair in (
            (convert(predictions), convert(references)),
            (predictions, convert(references)),
        ):
            scores = MeanIoU().compute(
                predictions=pair[0], references=pair[1], num_labels=5, ignore_index=0
            )
            assert_same(scores, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_counts_on_the_gpu():
    ids = torch.randint(0, 19, (2, 3, 64, 64), dtype=torch.uint8)
    expected = confusion_counts(ids[0], ids[1], 19)
    on_gpu = confusion_counts(ids[0].cuda(), ids[1], 19)
    assert on_gpu.is_cuda and torch.equal(on_gpu.cpu(), expected)
    metric = MeanIoU()
    metric.add_batch(predictions=ids[0].cuda(), references=ids[1].cuda())
    assert torch.equal(metric.counts, expected)


def test_table_grows_with_the_ids():
    metric = MeanIoU()
    for top in (1, 255, 3, 1023):
        metric.add(prediction=[[0, top]], reference=[[1, 0]])
    assert metric.counts.shape == (1024, 1024) and metric.counts.dtype == torch.int64
    assert metric.counts.sum() == 8 and metric.counts[1, 0] == 4 and metric.counts[0, 255] == 1
    assert metric._compute(num_labels=1024, ignore_index=None)["per_category_accuracy"][1] == 0


def test_confusion_counts():
    predictions, references = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1])
    expected = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert torch.equal(confusion_counts(predictions, references, 4), expected)
    assert torch.equal(confusion_counts(predictions, references), expected[:2, :3])
    assert torch.equal(confusion_counts(predictions[:0], references[:0], 4), expected * 0)
    assert torch.equal(
        confusion_counts(predictions % 2, references),
        expected[:2, :2] + torch.tensor([[0, 0], [1, 0]]),
    )
    with pytest.raises(ValueError, match=r"predictions hold ids \[2\] outside 0\.\.1"):
        confusion_counts(predictions, references, 2)


@pytest.mark.parametrize("num_ids", [181, 182, 1024])
def test_pairs_of_many_ids_are_counted_apart(num_ids):
    """Whatever type holds the index of a pair: 181 ids are the most for int16."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(num_ids - 3, num_ids, (2, 50), generator=generator)
    before = ids.clone()
    expected = torch.zeros(num_ids, num_ids, dtype=torch.int64)
    for predicted, reference in ids.T.tolist():
        expected[reference, predicted] += 1
    assert torch.equal(confusion_counts(*ids, num_ids), expected)
    assert torch.equal(ids, before), "neither argument has changed"


@pytest.mark.parametrize("shape", [(3, 40, 57), (7001,), (1, 300), (41, 23, 1)])
@pytest.mark.parametrize("num_ids", [None, 2, 5, 40])
@pytest.mark.parametrize(
    "kinds", [(torch.uint8, torch.int32), (torch.int16, torch.int8), (torch.int64, torch.uint16)]
)
def test_pixels_that_are_counted_in_several_tables_are_all_counted_once(shape, num_ids, kinds):
    """Whatever is left over where a row, or all of them, are no multiple of the tables."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, min(num_ids or 5, 5), (2, *shape), generator=generator)
    expected = torch.zeros(1 + int(ids.max()), 1 + int(ids.max()), dtype=torch.int64)
    expected.index_put_((ids[1], ids[0]), torch.tensor(1), accumulate=True)
    given = [own.to(kind) for own, kind in zip(ids, kinds, strict=True)]
    counts = confusion_counts(*given, num_ids)
    assert all(torch.equal(own.long(), before) for own, before in zip(given, ids, strict=True))
    assert counts.dtype == torch.int64 and counts.sum() == ids[0].numel()
    assert torch.equal(counts[: len(expected), : len(expected)], expected)


def test_add_counts_grows_a_square_table_that_is_too_small():
    total, counts = torch.ones(2, 2, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int64)
    assert add_counts(total, counts).tolist() == [[2, 2, 1], [1, 1, 0], [0, 0, 0]]
    assert add_counts(total, counts.T[:2]) is total and total.tolist() == [[2, 1], [2, 1]]


def test_merge_equals_together():
    predictions, references = random_masks(count=6)
    options = {"num_labels": 5, "ignore_index": 255}
    small, large = MeanIoU(), MeanIoU()
    small.add(prediction=[[0, 1]], reference=[[1, 1]])
    large.add_batch(predictions=predictions, references=references)
    assert len(small.counts) < len(large.counts)
    expected = by_pixel([[[0, 1]], *predictions], [[[1, 1]], *references], **options)
    small.merge(large.counts)
    assert_same(small.compute(**options), expected)
    small.counts.add_(1)  # a copy: nothing happens to the module
    with pytest.raises(ValueError, match="nothing to compute"):
        small.compute(**options)
    for wrong in (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match="square int64"):
            small.merge(wrong)


def test_ids_out_of_range_raise():
    options = {"num_labels": 3, "ignore_index": 255}
    with pytest.raises(
        ValueError, match=r"references hold ids \[4, 7\], neither in 0\.\.2 .* ignore_index=255"
    ):
        MeanIoU().compute(predictions=[[[0, 1, 2]]], references=[[[4, 7, 255]]], **options)
    with pytest.raises(ValueError, match=r"references hold ids \[4\] \(they became \[3\]\)"):
        MeanIoU().compute(predictions=[[[0]]], references=[[[4]]], reduce_labels=True, **options)
    with pytest.raises(ValueError, match=r"predictions hold ids \[5\] outside 0\.\.2"):
        MeanIoU().compute(predictions=[[[5, 9]]], references=[[[0, 255]]], **options)
    with pytest.raises(ValueError, match=r"references hold ids \[-100, 1024\] outside 0\.\.1023"):
        MeanIoU().add(prediction=[[0, 1, 2]], reference=[[-100, 1, 1024]])
    with pytest.raises(ValueError, match=r"\[1024, .*\.\.\. 50 in all\]"):
        MeanIoU().add(prediction=[list(range(1024, 1074))], reference=[[0] * 50])


def test_other_wrong_inputs_raise():
    metric = MeanIoU()
    with pytest.raises(ValueError, match=r"\(2, 3\) and references \(3, 2\)"):
        metric.add(prediction=np.zeros((2, 3), int), reference=np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="2 predictions do not match 1 references"):
        metric.add_batch(predictions=[[[0]], [[1]]], references=[[[0]]])
    with pytest.raises(ValueError, match=r"\(height, width\), but one has the shape \(2, 2, 3\)"):
        metric.add(prediction=np.zeros((2, 2, 3), int), reference=np.zeros((2, 2, 3), int))
    with pytest.raises(ValueError, match="fractions"):
        metric.add(prediction=torch.full((2, 2), 0.5), reference=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="both be given"):
        metric.add(prediction=[[0]])
    with pytest.raises(ValueError, match="num_process=2"):
        MeanIoU(num_process=2)


def test_ids_of_any_integer_type_are_taken_and_what_is_none_is_told():
    """A fraction in a label map was cut off; a generator ended in `has no len()`."""
    metric, options = MeanIoU(), {"num_labels": 2}
    for ignored in (255, np.int64(255), torch.tensor(255)):
        metric.add(prediction=[[0, 1]], reference=[[0, 255]])
        assert metric.compute(ignore_index=ignored, **options)["mean_iou"] == 1
    metric.add(prediction=[[0, 1]], reference=[[0, 1]])
    for label_map in ({1: 0.5}, {0.5: 1}, {1: "0"}, {"1": 0}):
        with pytest.raises(
            TypeError, match=r"a (key|value) of label_map must be an integer id, got"
        ):
            metric.compute(ignore_index=255, label_map=label_map, **options)
    with pytest.raises(TypeError, match=r"ignore_index must be an integer id, got 255\.0"):
        metric.compute(ignore_index=255.0, **options)
    with pytest.raises(
        TypeError,
        match=r"predictions must be an array or a list of masks, got a generator: list\(\.\.\.\) "
        r"it",
    ):
        metric.add_batch(predictions=(mask for mask in [[[0]]]), references=[[[0]]])


def test_a_failed_call_changes_nothing():
    metric = MeanIoU()
    metric.add(prediction=[[0, 1]], reference=[[1, 1]])
    before = metric.counts
    with pytest.raises(ValueError, match="hold ids"):
        metric.add_batch(predictions=[[[0]], [[-1]]], references=[[[0]], [[0]]])
    with pytest.raises(ValueError, match="hold ids"):
        metric.compute(predictions=[[[0]]], references=[[[7]]], num_labels=2, ignore_index=255)
    with pytest.raises(TypeError, match="num_labels"):
        metric.compute(predictions=[[[0]]], references=[[[0]]])
    assert torch.equal(metric.counts, before)


def test_no_files_and_evaluate_load(tmp_path):
    script = f"""
import sys
from pathlib import Path
import evaluate, numpy as np
from ctcl_hf.metrics import MeanIoU

def run(metric):
    masks = np.arange(6).reshape(1, 2, 3)
    metric.add_batch(predictions=masks, references=masks)
    metric.add(prediction=masks[0], reference=masks[0])
    assert metric.compute(num_labels=6, ignore_index=255)["mean_iou"] == 1

home = Path(sys.argv[1])
run(MeanIoU())
assert not [*home.rglob("*")], [*home.rglob("*")]
run(evaluate.load({str(FOLDER)!r}))
# evaluate.load copies the code; no data, no locks, no folders for them.
assert {{path.name for path in home.iterdir()}} == {{"modules"}}, [*home.rglob("*")]
assert not [*home.rglob("*.arrow*")]
"""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    here = os.pathsep.join([str(FOLDER.parents[2]), os.environ.get("PYTHONPATH", "")])
    offline = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "PYTHONPATH": here,
    }
    cleared = {name: v for name, v in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        env=cleared | offline,
        cwd=work,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not [*work.iterdir()]
