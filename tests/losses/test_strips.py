"""The losses taken strip by strip equal the plain ones, value and gradient."""

import math
from functools import partial

import pytest
import reference
import torch

from ctcl_hf.losses import (
    Mean,
    PixelTeaching,
    cross_entropy_map,
    kl_map,
    masked_mean,
    minimum_target,
    teaching_directions,
    upsample,
)
from ctcl_hf.losses.fused import phases, strips

IGNORE = 255
UPSTREAM = (2.0, -0.5, 3.0, 0.7)
BOTH_WAYS = ((0, 1), (1, 0))
FROM_TEACHERS, FROM_ONE = ((0, 2), (1, 3)), ((0, 2), (1, 2))
SELECTIVE = PixelTeaching(BOTH_WAYS, selective=True, divisor="taught")
# Of five classes, of each student: some merged, all merged, none merged.
SOME, ALL, NONE = ((0, 3), (1,), (2, 4)), ((0, 1, 2, 3, 4),), ((0,), (1,), (2,), (3,), (4,))
KNOWN = ((0,), (2,), (3,))  # the others are left out


def plain(logits, labels, teaching, teachers=(), pixel_weights=1.0):
    """The same from the plain functions on full-resolution logits; groups by summed probabilities
    and autograd.
    """
    valid = labels != IGNORE
    upsampled = [upsample(z, labels.shape[-2:]) for z in (*logits, *teachers)]
    if teaching.target is not None:
        peers = [z.detach() for z in upsampled]
        upsampled.append(teaching.target(peers, torch.where(valid, labels, 0).unsqueeze(1)))
    maps = [cross_entropy_map(z, labels, IGNORE) for z in upsampled[: len(logits)]]
    teaches = (
        teaching_directions([values.detach() for values in maps], valid)
        if teaching.selective
        else ()
    )
    by_teacher = {}
    if teaching.selective:
        lowest = torch.stack(maps).amin(0)
        for i, j in teaching.lessons:
            if j >= len(logits):
                of_teacher = cross_entropy_map(upsampled[j], labels, IGNORE)
                by_teacher[i] = valid & (of_teacher < lowest)
    nowhere = torch.zeros_like(valid)
    ce, pixel = tuple(masked_mean(values, valid) for values in maps), [[] for _ in logits]
    gives = [nowhere for _ in logits]
    for number, (i, j) in enumerate(teaching.lessons):
        learner, peer = upsampled[i], upsampled[j].detach()
        taught = valid
        if teaching.selective and j < len(logits):
            taught = teaches[j] & ~by_teacher.get(i, nowhere)
            gives[j] = gives[j] | taught
        elif teaching.selective:
            taught = by_teacher[i]
        groups = teaching.groups and teaching.groups[number]
        if groups is not None:
            taught = taught & torch.isin(
                labels, torch.tensor([label for group in groups for label in group])
            )
            groups = groups or [(0,)]  # in one there is nothing to learn, too
            learner, peer = (
                torch.stack(
                    [torch.softmax(z, 1)[:, list(group)].sum(1) for group in groups], 1
                ).log()
                for z in (learner, peer)
            )
        divergence = kl_map(learner, peer, teaching.direction, teaching.temperature)
        divided_by = taught if teaching.divisor == "taught" else valid
        pixel[i].append(masked_mean(pixel_weights * divergence, taught, divided_by))
    pixel = tuple(  # one term of all lessons
        Mean(
            sum(mean.total for mean in own),
            sum(mean.number for mean in own) if teaching.divisor == "taught" else own[0].number,
        )
        for own in pixel
    )
    teaches = tuple(gives) if teaching.selective else ()
    return strips.PixelLosses(
        ce, pixel, tuple(maps), teaches, None, tuple(by_teacher[i] for i in sorted(by_teacher))
    )


def values_of(losses):
    """Both cross entropies, and what both are taught at pixels."""
    return [mean.value for mean in losses.ce + losses.pixel]


def results(function, logits, *arguments):
    logits = [values.clone().requires_grad_() for values in logits]
    losses = function(logits, *arguments)
    weighted = sum(
        weight * value for weight, value in zip(UPSTREAM, values_of(losses), strict=True)
    )
    return losses, torch.autograd.grad(weighted, logits)


def random_case(shape_a, shape_b, size, classes=5, ignored=0.2, dtype=torch.float64, images=2):
    logits = [(3 * torch.randn(images, classes, *shape)).to(dtype) for shape in (shape_a, shape_b)]
    labels = torch.randint(0, classes, (images, *size))
    labels[torch.rand(labels.shape) < ignored] = IGNORE
    return logits, labels


def assert_equal_to_plain(logits, labels, teaching=SELECTIVE, teachers=(), tolerance=1e-10):
    phased = partial(strips.pixel_losses, teachers=teachers)
    ours, our_gradients = results(
        lambda own, y, how: phased(own, y, IGNORE, how), logits, labels, teaching
    )
    theirs, their_gradients = results(partial(plain, teachers=teachers), logits, labels, teaching)
    for mine, expected in zip(
        (*values_of(ours), *ours.ce_maps), (*values_of(theirs), *theirs.ce_maps), strict=True
    ):
        assert torch.allclose(mine, expected, atol=tolerance)
    for mine, expected in zip(
        (*ours.teaches, *ours.by_teacher), (*theirs.teaches, *theirs.by_teacher), strict=True
    ):
        assert torch.equal(mine, expected)
    for mine, expected in zip(our_gradients, their_gradients, strict=True):
        assert (mine - expected).abs().max() <= tolerance * max(1, expected.abs().max())
    return ours


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("strip_elements", [1, 900, 2**30])
def test_strips_of_any_size_equal_the_plain_losses(
    monkeypatch, direction, temperature, strip_elements
):
    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", strip_elements)
    logits, labels = random_case((8, 6), (8, 6), (32, 24))
    assert_equal_to_plain(
        logits, labels, SELECTIVE._replace(direction=direction, temperature=temperature)
    )


def test_logits_of_many_phases_equal_the_plain_losses_where_launches_are_dear(monkeypatch):
    monkeypatch.setattr(strips, "LARGEST_FACTOR_CPU", strips.LARGEST_FACTOR_ACCELERATOR)
    logits, labels = random_case((8, 6), (2, 3), (32, 24))
    visited = []
    monkeypatch.setattr(phases.Rows, "__init__", watched(phases.Rows.__init__, visited))
    assert_equal_to_plain(logits, labels)
    assert len(visited) == 4 * 2  # four vertical phases of two students: not sixteen
    visited.clear()
    strips.cross_entropy_loss(logits[1], labels, IGNORE)
    assert len(visited) == 1


def test_an_accelerator_upsamples_whole_what_fits_into_a_strip():
    gpu, fits = torch.device("cuda"), strips.STRIP_ELEMENTS_ACCELERATOR
    assert strips.largest_factor(gpu, fits) == 1
    assert strips.largest_factor(gpu, fits + 1) == strips.LARGEST_FACTOR_ACCELERATOR
    assert strips.largest_factor(torch.device("cpu"), 1) == math.inf


def watched(function, calls):
    def call(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "size"),
    [
        ((8, 6), (4, 3), (32, 24)),  # different strides
        ((5, 7), (5, 7), (20, 26)),  # columns do not line up
        ((5, 7), (5, 7), (19, 28)),  # rows do not line up
        ((5, 7), (4, 6), (19, 23)),
        ((1, 1), (1, 1), (4, 4)),
        ((8, 6), (8, 6), (8, 6)),  # nothing to upsample
        ((8, 6), (8, 6), (5, 4)),  # labels smaller than the logits
    ],
)
def test_odd_shapes_equal_the_plain_losses(monkeypatch, shape_a, shape_b, size):
    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", 100)
    for groups in (None, (SOME, ALL)):
        assert_equal_to_plain(
            *random_case(shape_a, shape_b, size), SELECTIVE._replace(groups=groups)
        )


@pytest.mark.parametrize("ignored", [0.0, 1.0])
def test_no_ignored_pixel_and_nothing_but_ignored_pixels(ignored):
    for groups in (None, (SOME, ALL)):
        assert_equal_to_plain(
            *random_case((8, 6), (8, 6), (32, 24), ignored=ignored),
            SELECTIVE._replace(groups=groups),
        )


def test_one_student_always_the_better_one():
    logits, labels = random_case((8, 6), (8, 6), (32, 24), ignored=0.0)
    labels.fill_(2)
    logits[0][:, 2] += 100
    assert_equal_to_plain(logits, labels)


def test_float32_and_bfloat16_logits_equal_the_plain_losses_to_rounding():
    for dtype in (torch.float32, torch.bfloat16):
        logits, labels = random_case((8, 6), (8, 6), (32, 24), dtype=dtype)
        # In bfloat16 the gradients leave in bfloat16: 8 bits of mantissa, about 0.4 %.
        for teaching in (
            SELECTIVE,
            SELECTIVE._replace(divisor="labelled", groups=(SOME, SOME)),
            SELECTIVE._replace(divisor="labelled", groups=(KNOWN, KNOWN)),
        ):
            assert_equal_to_plain(
                logits, labels, teaching, tolerance=1e-5 if dtype == torch.float32 else 8e-3
            )


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("divisor", ["taught", "labelled"])
@pytest.mark.parametrize(
    "groups",
    [
        None,
        (SOME, ALL),
        (NONE, SOME),
        (((0, 1, 2, 3), (4,)), None),
        (KNOWN, None),
        (((1, 4), (2,)), KNOWN),
        (((3,),), ()),
    ],
)
def test_divisors_and_groups_equal_the_plain_losses(direction, divisor, groups):
    logits, labels = random_case((8, 6), (4, 3), (32, 24))
    assert_equal_to_plain(
        logits, labels, SELECTIVE._replace(direction=direction, divisor=divisor, groups=groups)
    )
    assert_equal_to_plain(
        logits,
        labels,
        PixelTeaching(
            BOTH_WAYS, direction=direction, groups=groups, temperature=2.0, divisor="labelled"
        ),
    )


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("divisor", ["taught", "labelled"])
@pytest.mark.parametrize("of_vit", [((0,), (1, 2, 3, 4)), KNOWN])
def test_grouped_pixel_bsd_equals_the_loops(direction, divisor, of_vit):
    logits, labels = random_case((3, 2), (3, 2), (6, 8), images=1)
    logits = [values.requires_grad_() for values in logits]
    teaching = SELECTIVE._replace(
        direction=direction, divisor=divisor, groups=(SOME, of_vit), temperature=2
    )
    ours = [mean.value for mean in strips.pixel_losses(logits, labels, IGNORE, teaching).pixel]
    full = [reference.upsample_bilinear(values, (6, 8)) for values in logits]
    labelled = labels != IGNORE
    teaches = reference.teaching_maps(
        *(reference.cross_entropy_map(values, labels, IGNORE) for values in full), labelled
    )
    for i, j in ((0, 1), (1, 0)):
        values = reference.grouped_kl_map(full[i], full[j], teaching.groups[i], direction, 2)
        taught = teaches[j] & reference.in_a_group(labels, teaching.groups[i])
        theirs = reference.divided_sum(values, taught, taught if divisor == "taught" else labelled)
        assert torch.allclose(ours[i], theirs, atol=1e-12)
        found, wanted = (
            torch.autograd.grad(2 * value, logits, allow_unused=True, retain_graph=True)
            for value in (ours[i], theirs)
        )
        assert torch.allclose(found[i], wanted[i], atol=1e-12)
        assert not found[j].any()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_within_a_group_the_gradient_keeps_the_shares_of_the_classes(direction, temperature):
    """So the labels alone decide there: what a group gains or loses, its classes gain or lose by
    their shares.
    """
    # nothing to upsample: a pixel's own gradient
    logits, labels = random_case((8, 6), (8, 6), (8, 6), ignored=0.0)
    teaching = PixelTeaching(
        BOTH_WAYS, direction=direction, temperature=temperature, groups=(SOME, SOME)
    )
    logits = [values.requires_grad_() for values in logits]
    taught = strips.pixel_losses(logits, labels, IGNORE, teaching).pixel[0].value
    (gradient,) = torch.autograd.grad(taught, logits[0])
    p = torch.softmax(logits[0].detach(), 1)
    for group in SOME:
        pull = gradient[:, list(group)] / p[:, list(group)]
        assert torch.allclose(pull, pull[:, :1].expand_as(pull), rtol=1e-6, atol=1e-12)
    assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_a_class_that_is_left_out_is_moved_by_nothing_and_at_its_pixels_nothing_is_taught(
    direction, temperature
):
    logits, labels = random_case((8, 6), (8, 6), (8, 6), ignored=0.0)
    teaching = PixelTeaching(
        BOTH_WAYS, direction=direction, temperature=temperature, groups=(KNOWN, KNOWN)
    )
    logits = [values.requires_grad_() for values in logits]
    (gradient,) = torch.autograd.grad(
        strips.pixel_losses(logits, labels, IGNORE, teaching).pixel[0].value, logits[0]
    )
    known = (labels == 0) | (labels == 2) | (labels == 3)
    assert not gradient[:, [1, 4]].any()
    assert torch.equal(gradient.abs().sum(1) > 0, known)
    # Whatever one known class gains another one loses: their sum against the others stays with the
    # labels.
    assert torch.allclose(gradient.sum(1), torch.zeros(8, 6, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("divisor", ["labelled", "taught"])
@pytest.mark.parametrize("third", [FROM_TEACHERS, FROM_ONE], ids=["one each", "one for both"])
@pytest.mark.parametrize(
    "groups",
    [None, (SOME, NONE, KNOWN, SOME), (None, None, KNOWN, None), (ALL, KNOWN, None, None)],
)
def test_a_third_party_teaches_where_it_is_better_than_both_and_equals_the_plain_losses(
    divisor, third, groups
):
    logits, labels = random_case((8, 6), (4, 3), (32, 24))
    teachers, _ = random_case((8, 6), (2, 3), (32, 24))
    teaching = SELECTIVE._replace(
        divisor=divisor,
        groups=groups,
        lessons=BOTH_WAYS + third,
        temperature=2.0,
    )
    found = assert_equal_to_plain(logits, labels, teaching, teachers[: third[1][1] - 1])
    of_a, of_b = found.by_teacher
    assert (
        of_a.any() and not (of_a & found.teaches[1]).any() and not (of_b & found.teaches[0]).any()
    )


def test_frozen_teachers_and_a_target_equal_the_plain_losses_and_get_no_gradient():
    logits, labels = random_case((8, 6), (4, 3), (32, 24))
    teachers, _ = random_case((8, 6), (2, 3), (32, 24))
    for groups in (None, (SOME, ((0, 1), (2, 3), (4,))), (KNOWN, ((1,), (2,)))):
        assert_equal_to_plain(
            logits, labels, PixelTeaching(FROM_TEACHERS, temperature=2.0, groups=groups), teachers
        )
        assert_equal_to_plain(
            logits, labels, PixelTeaching(FROM_ONE, target=minimum_target, groups=groups)
        )


@pytest.mark.parametrize("classes", [1, 2, 150])
def test_any_number_of_classes_equals_the_plain_losses(classes):
    logits, labels = random_case((4, 3), (4, 3), (16, 12), classes=classes)
    half = classes // 2
    groups = (*((i,) for i in range(half)), tuple(range(half, classes)))
    known = tuple((i,) for i in range(half, classes))
    assert_equal_to_plain(
        logits, labels, SELECTIVE._replace(divisor="labelled", groups=(groups, known))
    )


def test_no_class_merged_is_eq_4_bit_for_bit_and_all_merged_teaches_nothing():
    logits, labels = random_case((8, 6), (8, 6), (32, 24), dtype=torch.float32)
    phased = lambda own, y, how: strips.pixel_losses(own, y, IGNORE, how)  # noqa: E731
    printed, printed_gradients = results(phased, logits, labels, SELECTIVE)
    alone, alone_gradients = results(
        phased, logits, labels, SELECTIVE._replace(groups=(None, None))
    )
    assert all(
        torch.equal(*pair) for pair in zip(values_of(printed), values_of(alone), strict=True)
    )
    assert all(torch.equal(*pair) for pair in zip(printed_gradients, alone_gradients, strict=True))

    merged, gradients = results(phased, logits, labels, SELECTIVE._replace(groups=(ALL, ALL)))
    assert values_of(merged)[2:] == [0, 0]
    for i, own in enumerate(logits):
        own = own.clone().requires_grad_()
        ce = strips.cross_entropy_loss(own, labels, IGNORE).value
        assert torch.equal(ce, merged.ce[i].value)
        assert torch.equal(torch.autograd.grad(UPSTREAM[i] * ce, own)[0], gradients[i])


def test_counts_are_those_of_the_predictions_at_labelled_pixels():
    logits, labels = random_case((8, 6), (4, 3), (32, 24))
    teachers, _ = random_case((8, 6), (2, 3), (32, 24))
    teaching = PixelTeaching(FROM_TEACHERS, groups=(SOME, SOME))
    found = strips.pixel_losses(logits, labels, IGNORE, teaching, teachers).confusion
    for counts, values in zip(found, (*logits, *teachers), strict=True):
        said = upsample(values, (32, 24)).argmax(1)
        for label in range(5):
            expected = torch.bincount(said[labels == label], minlength=5)
            assert torch.equal(counts[label], expected)
    everything_ignored = torch.full_like(labels, IGNORE)
    assert not strips.pixel_losses(
        logits, everything_ignored, IGNORE, teaching, teachers
    ).confusion.any()


@pytest.mark.parametrize("classes", [1, 2, 11, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_class_is_the_first_that_no_other_exceeds(classes, dtype):
    values = torch.randn(2, classes, 7, 5, dtype=dtype)
    values[0] = values[0].round()  # many are the same
    values[1, :, 0] = 1e30
    values[1, :, 1] = -1e30
    expected = torch.from_numpy(values.numpy().argmax(1))
    assert torch.equal(strips._largest(values), expected)
    values[:] = torch.nan  # as when a run has diverged, which is told elsewhere
    assert not strips._largest(values).any()


def test_each_term_gives_its_learner_gradient_and_its_peer_none():
    logits, labels = random_case((8, 6), (8, 6), (32, 24))
    logits = [values.requires_grad_() for values in logits]
    losses = strips.pixel_losses(logits, labels, IGNORE, SELECTIVE)
    for i in (0, 1):
        for term in (losses.ce[i].value, losses.pixel[i].value):
            own, peer = torch.autograd.grad(term, (logits[i], logits[1 - i]), retain_graph=True)
            assert own.any()
            assert not peer.any()


def test_no_full_resolution_logits_are_alive(monkeypatch):
    """The largest tensor that any operation returns holds a strip, not an image."""
    from torch.utils._python_dispatch import TorchDispatchMode

    monkeypatch.setattr(phases, "STRIP_ELEMENTS_CPU", 2**14)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return result

    logits, labels = random_case((32, 32), (32, 32), (128, 128), classes=40)
    logits = [values.requires_grad_() for values in logits]
    with Watch():
        losses = strips.pixel_losses(logits, labels, IGNORE, SELECTIVE)
        sum(values_of(losses)).backward()
    # the stride-4 logits, padded, of both; at full resolution 14 times that
    assert largest <= 2 * 40 * 34 * 34


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize(
    "teaching",
    [
        SELECTIVE,
        SELECTIVE._replace(divisor="labelled", direction="reverse", temperature=2.0),
        PixelTeaching(BOTH_WAYS, groups=(SOME, ALL)),
        PixelTeaching(BOTH_WAYS, selective=True, groups=(KNOWN, SOME)),
    ],
)
def test_class_weights_weigh_cross_entropy_and_what_is_taught_only_if_told(teaching, weighed):
    teaching = teaching._replace(weighed=weighed)
    logits, labels = random_case((8, 6), (4, 3), (32, 24))
    weights = torch.tensor([0.25, 3.0, 1.0, 0.5, 9.0])
    ours, gradients = results(partial(weighted, weights), logits, labels, IGNORE, teaching)
    without, _ = results(strips.pixel_losses, logits, labels, IGNORE, teaching)
    of_pixels = weights.double()[torch.where(labels == IGNORE, 0, labels)]
    leaves = [values.clone().requires_grad_() for values in logits]
    found = plain(leaves, labels, teaching, pixel_weights=of_pixels if weighed else 1.0)
    valid = labels != IGNORE
    ce = [masked_mean(values * of_pixels, valid) for values in found.ce_maps]
    expected_terms = [mean.value for mean in (*ce, *found.pixel)]
    for own, expected in zip(ours.ce + ours.pixel, expected_terms, strict=True):
        assert own.value.item() == pytest.approx(expected.item(), rel=1e-12)
    total = sum(weight * value for weight, value in zip(UPSTREAM, expected_terms, strict=True))
    for own, expected in zip(gradients, torch.autograd.grad(total, leaves), strict=True):
        assert torch.allclose(own, expected, rtol=1e-9, atol=1e-14)
    for own, expected in zip(
        (*ours.ce_maps, *ours.teaches), (*without.ce_maps, *without.teaches), strict=True
    ):
        assert torch.equal(own, expected)


def weighted(weights, logits, labels, ignore_index, teaching):
    return strips.pixel_losses(logits, labels, ignore_index, teaching, class_weights=weights)
