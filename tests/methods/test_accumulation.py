"""Micro-batches of one optimizer step train as one large batch, whatever share of each is
labelled.
"""

import pytest
import torch
from helpers.accumulation import BY_LABELS, batch, frozen_pair, step

from ctcl_hf import METHODS

IGNORE = 255
BY_FORWARD = [
    ("ctcl", {}),
    ("ctcl", {"as_printed": True}),
    ("kdcl", {"kdcl_target": "naive"}),
    ("kdcl", {"kdcl_target": "linear"}),
]


def assert_one_large_batch(name, options, images, labels, sizes):
    whole, parts = frozen_pair(name, **options), frozen_pair(name, **options)
    expected, wanted = step(whole, images, labels, [len(images)])
    found, gradients = step(parts, images, labels, sizes)
    assert found.keys() == expected.keys() and gradients.keys() == wanted.keys()
    for term, value in expected.items():
        if not term.startswith("region_spread"):  # a mean over images, each micro-batch's own
            assert torch.allclose(found[term], value, rtol=1e-10, atol=1e-12), term
    for parameter, gradient in wanted.items():
        assert torch.allclose(gradients[parameter], gradient, rtol=1e-8, atol=1e-12), parameter
    if whole.objective.class_groups is not None:
        assert torch.equal(
            whole.objective.class_groups.counted, parts.objective.class_groups.counted
        )
    return expected


@pytest.mark.parametrize("sizes", [[1, 3], [1, 1, 2]], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_that_differ_in_labels_and_images_train_as_one_large_batch(name, sizes):
    """Each was divided by its own counts: a crop that is nearly all ignored weighed as much as a
    whole one.
    """
    expected = assert_one_large_batch(
        name, BY_LABELS.get(name, {}), *batch([0.9, 0.0, 1.0, 0.4]), sizes
    )
    for term in METHODS[name].TERMS:
        assert expected[f"{term}_cnn"] > 0, "nothing was compared"


@pytest.mark.parametrize("classes", ["grouped", "all"])
def test_micro_batches_of_three_students_train_as_one_large_batch(classes):
    options = BY_LABELS["ctcl"] | {"pixel_classes": classes}
    expected = assert_one_large_batch(
        "ctcl", {"number": 3, **options}, *batch([0.9, 0.0, 1.0, 0.4]), [1, 3]
    )
    assert all(expected[f"pixel_{name}"] > 0 for name in ("cnn", "vit", "hybrid"))


@pytest.mark.parametrize(("name", "options"), BY_FORWARD, ids=str)
def test_divided_by_taught_places_a_step_is_the_large_batch_where_shares_are_equal(name, options):
    """Micro-batches without a label weighed as much as any."""
    images, labels = (each.repeat_interleave(4, 0) for each in batch([0.3]))
    labels[1::2] = IGNORE
    assert_one_large_batch(name, options, images, labels, [1, 1, 2])


def test_a_micro_batch_that_is_the_whole_step_gives_the_same_bits_as_one_that_is_not_told_so():
    images, labels = batch([0.9, 0.2])
    alone, told = (frozen_pair("ctcl").float() for _ in range(2))
    without, with_step = alone(images, labels), told(images, labels, step_labels=[labels])
    assert torch.equal(without.loss, with_step.loss)
    for output in (without, with_step):
        output.loss.backward()
    assert all(
        torch.equal(a.grad, b.grad)
        for a, b in zip(alone.parameters(), told.parameters(), strict=True)
    )
