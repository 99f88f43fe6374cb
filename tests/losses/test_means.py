"""Means over an optimizer step: what its micro-batches add up to, and what one alone is."""

import pytest
import torch

from ctcl_hf.losses import LabelledRegions, Mean, labelled_regions, masked_mean, mean_of, over_step
from ctcl_hf.losses.variation import LabelledCentres, nearest_labels


def draw(images, ignored):
    """Values with gradient at every pixel, and which of them are labelled."""
    values = torch.randn(images, 8, 12, dtype=torch.float64).requires_grad_()
    return values, torch.rand(images, 8, 12) >= ignored


PARTS = [(1, 0.1), (3, 0.8), (2, 1.0), (2, 0.5)]  # images, and the share that is ignored


def test_parts_that_are_weighed_by_their_own_places_average_to_the_mean_over_all():
    parts = [draw(*part) for part in PARTS]
    masks = [labelled for _, labelled in parts]
    grid = (2, 3)

    def terms(values, labelled):
        coarse, has_label, centres = (
            values[:, ::4, ::4],
            labelled_regions(labelled, grid),
            nearest_labels(labelled, grid),
        )
        return {
            "pixels": masked_mean(values, labelled),
            "images": mean_of(values),
            "regions": masked_mean(
                coarse, has_label & (coarse > 0), has_label, LabelledRegions(grid)
            ),
            "centres": masked_mean(coarse, centres, weighed_by=LabelledCentres(grid)),
        }

    together = terms(*(torch.cat(each) for each in zip(*parts, strict=True)))
    of_parts = [over_step(terms(*part), part[1], masks)[0] for part in parts]
    inputs = [values for values, _ in parts]
    for name, mean in together.items():
        average = sum(each[name] for each in of_parts) / len(parts)
        assert torch.allclose(average, mean.value, rtol=1e-12, atol=0), name
        ours, theirs = (
            torch.autograd.grad(each, inputs, retain_graph=True) for each in (average, mean.value)
        )
        for gradient, expected in zip(ours, theirs, strict=True):
            assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-15), name


def test_a_part_whose_places_only_its_forward_knows_weighs_as_its_labels_do():
    parts = [draw(*part) for part in PARTS]
    masks = [labelled for _, labelled in parts]
    own = [masked_mean(values, labelled & (values > 0)) for values, labelled in parts]
    of_parts = [
        over_step({"taught": mean}, mask, masks)[0]["taught"]
        for mean, mask in zip(own, masks, strict=True)
    ]
    pixels = [int(mask.sum()) for mask in masks]
    expected = sum(n / sum(pixels) * mean.value for n, mean in zip(pixels, own, strict=True))
    assert torch.allclose(sum(of_parts) / len(parts), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_that_is_the_whole_step_has_its_own_mean_bit_for_bit(dtype):
    values, labelled = draw(3, 0.37)
    values = values.to(dtype)
    scalar, counted = torch.randn(()), torch.arange(4)
    terms = {"pixels": masked_mean(values, labelled), "images": mean_of(values), "scalar": scalar}
    terms["share"] = Mean((labelled & (values > 0)).sum(), labelled.sum())
    for step in ((), [labelled]):
        found, totals = over_step(terms, labelled, step, [counted])
        assert torch.equal(found["pixels"], torch.where(labelled, values, 0).sum() / labelled.sum())
        assert torch.equal(found["images"], values.mean())
        assert torch.equal(found["share"], terms["share"].total.to(dtype) / labelled.sum())
        assert found["pixels"].dtype == dtype
        assert found["scalar"] is scalar and torch.equal(*totals, counted)


def test_a_step_without_a_label_is_zero_and_keeps_its_graph():
    values, _ = draw(2, 1.0)
    nothing = torch.zeros(2, 8, 12, dtype=torch.bool)
    part = over_step({"pixels": masked_mean(values, nothing)}, nothing, [nothing, nothing])[0][
        "pixels"
    ]
    part.backward()
    assert part == 0 and not values.grad.any()
