"""Whatever the shapes, classes, ignored pixels and regions: no crash, no NaN, and what must hold of each loss holds."""

import json

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcl_hf import MeanIoU
from ctcl_hf.card import _listed, _percent
from ctcl_hf.checkpoints import MANIFEST_FILE, problem_of
from ctcl_hf.losses import (
    channel_distillation,
    cross_entropy_loss,
    error_products,
    general_share,
    intra_class_variation,
    kl_map,
    linear_target,
    masked_mean,
    minimum_target,
    naive_target,
    pixel_losses,
    region_bsd,
    region_sums,
    spread,
    teaching_directions,
    upsample,
)

IGNORE = 255
LARGE = settings(max_examples=60, deadline=None)
sides = st.integers(1, 9)


@st.composite
def batches(draw):
    """Logits of two students, each at a size of its own, and labels with any share of them ignored."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images, classes = draw(st.integers(1, 2)), draw(st.integers(2, 7))
    height, width = draw(sides) * draw(st.sampled_from([1, 2, 4])), draw(sides) * draw(st.sampled_from([1, 2, 4]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    scale = draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]))
    logits = [
        (scale * torch.randn(images, classes, draw(sides), draw(sides), generator=generator)).to(dtype) for _ in "ab"
    ]
    labels = torch.randint(0, classes, (images, height, width), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = IGNORE
    return logits, labels, classes


def assert_good(loss, *inputs):
    assert loss.shape == () and torch.isfinite(loss) and loss >= -1e-5
    for gradient in torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True):
        assert gradient is None or torch.isfinite(gradient).all()


@LARGE
@given(batches(), st.sampled_from(["forward", "reverse"]), st.sampled_from([0.5, 1.0, 4.0]))
def test_pixel_losses_of_any_batch_are_finite_and_not_negative(batch, direction, temperature):
    logits, labels, _ = batch
    logits = [values.requires_grad_() for values in logits]
    found = pixel_losses(*logits, labels, IGNORE, direction, temperature)
    for loss in (*found.ce, *found.pixel):
        assert_good(loss, *logits)
    assert_good(cross_entropy_loss(logits[0], labels, IGNORE), logits[0])
    a, b = found.teaches
    assert not (a & b).any() and torch.equal(a | b, labels != IGNORE)


@LARGE
@given(batches(), sides, sides)
def test_every_pixel_is_in_exactly_one_region_of_any_grid(batch, rows, columns):
    _, labels, _ = batch
    labelled = labels != IGNORE
    sums = region_sums(labelled.float(), (rows, columns))
    assert sums.shape == (len(labels), rows, columns)
    assert torch.equal(sums.sum((1, 2)), labelled.float().sum((1, 2)))


@LARGE
@given(batches(), st.integers(1, 5), sides, sides)
def test_feature_losses_of_any_grid_are_finite(batch, channels, rows, columns):
    _, labels, classes = batch
    features = [torch.randn(len(labels), channels, rows, columns).requires_grad_() for _ in "ab"]
    ce = [region_sums(torch.rand(labels.shape), (rows, columns)) for _ in "ab"]
    has_label = region_sums((labels != IGNORE).float(), (rows, columns)) > 0
    teaches, _ = teaching_directions(*ce, has_label)
    assert_good(region_bsd(*features, teaches), *features)
    assert_good(intra_class_variation(*features, labels, classes, IGNORE), *features)
    assert 0 <= spread(features[0].detach()) <= 1 + 1e-5


@LARGE
@given(batches(), st.sampled_from([0.5, 4.0]))
def test_baselines_of_any_batch_are_finite(batch, temperature):
    logits, labels, _ = batch
    learner, peer = (values.float().requires_grad_() for values in logits)
    assert_good(channel_distillation(learner, peer, temperature), learner)
    views = [upsample(values, labels.shape[-2:]) for values in (learner, peer)]
    labelled = labels != IGNORE
    share = general_share(error_products(*views, labels, IGNORE))
    assert 0 <= share <= 1
    for target in (naive_target, linear_target, minimum_target):
        wanted = target(*views, labels, IGNORE)
        assert torch.isfinite(wanted).all() and not wanted.requires_grad
        assert_good(masked_mean(kl_map(views[0], wanted, "forward", temperature), labelled), learner)


@LARGE
@given(batches())
def test_the_metric_of_any_batch_lies_between_0_and_1(batch):
    logits, labels, classes = batch
    metric = MeanIoU()
    predictions = upsample(logits[0].float(), labels.shape[-2:]).argmax(1)
    metric.add_batch(predictions=predictions, references=labels)
    scores = metric.compute(num_labels=classes, ignore_index=IGNORE)
    if (labels != IGNORE).any():
        assert all(0 <= scores[key] <= 1 for key in ("mean_iou", "mean_accuracy", "overall_accuracy"))


@LARGE
@given(st.dictionaries(st.text(max_size=9), st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=9))))
def test_options_of_any_kind_are_listed_on_a_card(options):
    text = _listed(options)
    assert text is None or isinstance(text, (str, dict))


@LARGE
@given(st.floats())
def test_any_share_is_shown_as_a_percentage_or_as_missing(share):
    assert _percent(share) == "does not occur" if share != share else float(_percent(share)) == round(100 * share, 2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@LARGE
@given(st.one_of(json_values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
def test_any_manifest_is_read_without_a_crash(content):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_bytes(content)
        problem = problem_of(Path(folder))
        assert problem is None or isinstance(problem, str)
