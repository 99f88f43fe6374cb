"""More students than two: vanilla and CTCL against loops, and two students against what was said of
two.
"""

import pytest
import reference_students
import torch
from conftest import make_cnn, make_hybrid, make_vit
from helpers.losses import IGNORE, draw, draw_labels, random_batch

from ctcl_hf import CTCL, METHODS, Objective, StudentOutput, StudentPair, StudentTerms, losses
from ctcl_hf.losses import PixelTeaching, from_each_other, pixel_losses
from ctcl_hf.methods.ctcl import CTCLOptions
from ctcl_hf.methods.projection import Projection

ALL_CLASSES = {"pixel_classes": "all"}


def students_of(classes, count=3):
    torch.manual_seed(0)
    return [make(classes) for make in (make_cnn, make_vit, make_hybrid)[:count]]


def small_outputs(students, classes):
    """Outputs of a few positions, each student with strides of its own; every tensor is a leaf."""
    outputs = []
    grids = [((4, 6), (4, 6), (2, 3)), ((2, 3), (2, 3), (1, 2)), ((8, 12), (4, 3), (2, 2))]
    for i, (student, (of_logits, of_low, of_last)) in enumerate(zip(students, grids, strict=False)):
        weight = draw(5, student.low_channels, seed=20 + i, scale=0.3)

        def second_stage(features, weight=weight):
            return torch.tanh(torch.einsum("oc,bcyx->boyx", weight, features))[..., ::2, :]

        shapes = {
            "logits": (classes, *of_logits),
            "low": (student.low_channels, *of_low),
            "second": (5, of_low[0] // 2, of_low[1]),
            "last": (student.last_channels, *of_last),
        }
        leaves = {
            name: draw(2, *shape, seed=10 * i + k).requires_grad_()
            for k, (name, shape) in enumerate(shapes.items())
        }
        outputs.append(StudentOutput(**leaves, second_stage=second_stage))
    return outputs


def stated(objective, outputs, project_peer):
    """The same, as the loops read it."""

    def weights(module):
        return module.weight, module.bias

    students = []
    for i, (output, modules) in enumerate(zip(outputs, objective.projections, strict=True)):
        peers = [j for j in range(len(outputs)) if j != i]
        students.append(
            reference_students.Student(
                output.logits,
                output.low,
                output.second,
                output.last,
                output.second_stage,
                {j: weights(modules[f"low_{j}"]) for j in peers},
                {j: weights(modules["last" if project_peer else f"last_{j}"]) for j in peers},
            )
        )
    return students


@pytest.mark.parametrize(
    ("options", "classes", "ignored"),
    [
        (ALL_CLASSES, 2, 0.2),
        (ALL_CLASSES | {"kl_direction": "reverse", "region_projection": "learner"}, 11, 0.3),
        ({"as_printed": True, "temperature": 2.0}, 11, 0.2),
        (ALL_CLASSES | {"region_divisor": "labelled"}, 2, 1.0),
        ({"pixel_classes": "grouped"}, 11, 0.2),
        ({"pixel_classes": "known", "pixel_divisor": "taught"}, 11, 0.2),
    ],
)
def test_ctcl_of_three_students_equals_the_loops_in_values_and_every_gradient(
    options, classes, ignored
):
    students = students_of(classes)
    objective = CTCL(*students, **options).double()
    if objective.class_groups is not None:
        generator = torch.Generator().manual_seed(4)
        counts = torch.rand(3, classes, classes, generator=generator) * 30
        counts += 200 * torch.eye(classes) * (torch.rand(3, classes, 1, generator=generator) > 0.3)
        objective.class_groups.counted.copy_(counts.round())
        objective.class_groups.advance()
    objective.eval()
    outputs = small_outputs(students, classes)
    labels = draw_labels(2, 8, 12, classes=classes, ignored=ignored)
    ours = [own.of_batch() for own in objective(outputs, labels)]

    told = objective.options
    groups = None
    if objective.class_groups is not None:
        groups = dict(zip(from_each_other(3), objective.compared, strict=True))
        assert len(set(objective.compared)) > 1
    theirs = reference_students.ctcl_terms(
        stated(objective, outputs, told.region_projection == "both"),
        labels,
        ignore_index=IGNORE,
        direction=told.kl_direction,
        temperature=told.temperature,
        pixel_divisor=told.pixel_divisor,
        region_divisor=told.region_divisor,
        project_peer=told.region_projection == "both",
        groups=groups,
    )
    leaves = [getattr(own, name) for own in outputs for name in ("logits", "low", "last", "second")]
    leaves += list(objective.projections.parameters())
    for i, (own, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert list(own.losses) == ["ce", "pixel", "region", "hfd"]
        for term, value in own.losses.items():
            assert value.item() == pytest.approx(expected[term].item(), abs=1e-11), (i, term)
            found, wanted = (
                torch.autograd.grad(2 * loss, leaves, allow_unused=True, retain_graph=True)
                for loss in (value, expected[term])
            )
            for gradient, want in zip(found, wanted, strict=True):
                gradient, want = (torch.zeros(()) if g is None else g for g in (gradient, want))
                assert (gradient - want).abs().max() < 1e-11, (i, term)


@pytest.mark.parametrize("ignored", [0.2, 1.0])
def test_the_pixel_losses_of_four_students_in_bf16_are_near_those_of_float64(ignored):
    logits = [draw(2, 7, 4, 6, seed=i).bfloat16() for i in range(4)]
    labels = draw_labels(2, 16, 24, classes=7, ignored=ignored)
    teaching = PixelTeaching(from_each_other(4), selective=True)
    narrow, wide = (
        pixel_losses([own.to(dtype) for own in logits], labels, IGNORE, teaching)
        for dtype in (torch.bfloat16, torch.float64)
    )
    for ours, theirs in zip(narrow.ce + narrow.pixel, wide.ce + wide.pixel, strict=True):
        assert ours.value.item() == pytest.approx(theirs.value.item(), rel=1e-4)
    taught = torch.stack(wide.teaches).sum(0)
    assert torch.equal(taught, (labels != IGNORE).long())  # one teacher at each labelled pixel


class TwoStudents(Objective):
    """CTCL of two students as it was stated of two, a CNN a and a ViT b."""

    Options = CTCLOptions

    def __init__(self, a, b, **options):
        super().__init__(a, b, **options)
        for modules, learner, peer in zip(self.projections, (a, b), (b, a), strict=True):
            modules["low"] = Projection(learner.low_channels, peer.low_channels)
            modules["last"] = Projection(
                learner.last_channels, min(learner.last_channels, peer.last_channels)
            )

    def term_weights(self):
        return {"hfd": 0.1, "region": 1.0, "pixel": 1.0}

    def forward(self, students, labels, teachers=()):
        a, b = students
        labelled = labels != self.ignore_index
        views = [losses.upsample(own.logits, labels.shape[-2:]) for own in students]
        maps = [losses.cross_entropy_map(z, labels, self.ignore_index) for z in views]
        number = labelled.sum()
        a_teaches = (maps[0] < maps[1]) & labelled
        taught = (labelled & ~a_teaches, a_teaches)
        grid = min(a.last.shape[-2:], b.last.shape[-2:])
        has_label = losses.labelled_regions(labelled, grid)
        ce_a, ce_b = (losses.region_sums(own.detach(), grid) for own in maps)
        region_a = (ce_a < ce_b) & has_label
        regions = (has_label & ~region_a, region_a)
        projected = [
            own["last"](output.last, grid)
            for own, output in zip(self.projections, students, strict=True)
        ]
        terms = []
        for i, (learner, peer) in enumerate(((a, b), (b, a))):
            divergence = losses.kl_map(views[i], views[1 - i].detach(), "forward")
            own = {
                "ce": losses.Mean(maps[i].sum(), number),
                **self.auxiliary_terms(learner, labels),
                "pixel": losses.masked_mean(divergence, taught[i], labelled),
                "region": losses.region_bsd(projected[i], projected[1 - i], regions[i]),
            }
            transformed = peer.second_stage(
                self.projections[i]["low"](learner.low, peer.low.shape[-2:])
            )
            own["hfd"] = losses.hfd(transformed, peer.second)
            terms.append(StudentTerms(own, {}))
        return terms


def trained(method, steps=3, **options):
    torch.manual_seed(0)
    cnn, vit = make_cnn(), make_vit()
    pair = StudentPair({"cnn": cnn, "vit": vit}, method(cnn, vit, **options)).double().train()
    optimizer = torch.optim.SGD(pair.parameters(), lr=0.05)
    found = []
    for step in range(steps):
        torch.manual_seed(step)
        output = pair(*random_batch())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        found.append({name: output.terms[name] for name in sorted(output.terms)})
    return pair, found


def test_two_students_train_as_what_is_stated_of_two():
    """Weights after steps: their sums are taken in another order, and else nothing differs."""
    (ours, our_terms), (theirs, their_terms) = (
        trained(method, **ALL_CLASSES) for method in (CTCL, TwoStudents)
    )
    for own, expected in zip(our_terms, their_terms, strict=True):
        for term, value in expected.items():
            assert own[term].item() == pytest.approx(value.item(), rel=1e-10), term
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        if value.is_floating_point() and name in expected:
            assert torch.allclose(value, expected[name], rtol=1e-8, atol=1e-10), name
    projections = {name for name in ours.state_dict() if "projections" in name}
    assert projections == {name for name in expected if "projections" in name}


def test_hfd_and_region_bsd_of_two_students_are_bit_for_bit_those_stated_of_two():
    students = students_of(3, count=2)
    torch.manual_seed(1)
    ours = CTCL(*students, **ALL_CLASSES).double()
    torch.manual_seed(1)
    theirs = TwoStudents(*students).double()
    labels = draw_labels(2, 8, 12)
    found = []
    for objective in (ours, theirs):
        outputs = small_outputs(students, 3)
        leaves = [own.low for own in outputs] + [own.last for own in outputs]
        leaves += list(objective.projections.parameters())
        for own in objective(outputs, labels):
            for term in ("hfd", "region"):
                mean = own.losses[term]
                found.append((mean.total, mean.number, leaves))
    half = len(found) // 2
    for (total, number, leaves), (expected, of, their_leaves) in zip(
        found[:half], found[half:], strict=True
    ):
        assert torch.equal(total, expected) and torch.equal(number, of)
        for gradient, want in zip(
            torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=True),
            torch.autograd.grad(expected, their_leaves, allow_unused=True, retain_graph=True),
            strict=True,
        ):
            assert (gradient is None) == (want is None)
            assert want is None or torch.equal(gradient, want)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_two_students_exchange_at_pixels_bit_for_bit_what_is_stated_of_two(direction):
    """In one pass, by the ratio of their probabilities; nothing to upsample, and one strip."""
    logits = [draw(2, 5, 6, 8, seed=i).float().requires_grad_() for i in (1, 2)]
    labels = draw_labels(2, 6, 8, classes=5)
    teaching = PixelTeaching(((0, 1), (1, 0)), selective=True, direction=direction)
    found = pixel_losses(logits, labels, IGNORE, teaching)

    log_p = [torch.log_softmax(own.detach(), 1) for own in logits]
    p = [own.exp() for own in log_p]
    valid = labels != IGNORE
    target = torch.where(valid, labels, 0).unsqueeze(1)
    ce_a, ce_b = (torch.where(valid, -own.gather(1, target).squeeze(1), 0) for own in log_p)
    a_teaches = (ce_a < ce_b) & valid
    of_a, of_b = (mask.unsqueeze(1).float() for mask in (valid & ~a_teaches, a_teaches))
    ratio = log_p[0] - log_p[1]
    if direction == "forward":
        teacher = (p[1] * of_a).addcmul_(p[0], of_b)
        divergence = -(ratio * teacher).sum(1, keepdim=True)
        gradient = p[0] - p[1]
    else:
        learner = (p[0] * of_a).addcmul_(p[1], of_b)
        divergence = (learner * ratio).sum(1, keepdim=True)
        gradient = (ratio - divergence) * learner
    for i, (taught, sign) in enumerate(((of_a, 1), (of_b, -1))):
        assert torch.equal(found.pixel[i].total, (divergence * taught).sum() * sign)
        (own,) = torch.autograd.grad(found.pixel[i].total, logits[i], retain_graph=True)
        assert torch.equal(own, gradient * (taught * sign))
    assert torch.equal(found.teaches[0], a_teaches)
    assert torch.equal(found.teaches[1], valid & ~a_teaches)


def test_three_students_have_terms_and_gradients_of_their_own():
    students = students_of(3)
    names = ("cnn", "vit", "hybrid")
    pair = StudentPair(dict(zip(names, students, strict=True)), CTCL(*students)).train()
    output = pair(*random_batch())
    output.loss.backward()
    assert {term.rpartition("_")[2] for term in output.terms} == set(names) == set(output.logits)
    assert all(
        parameter.grad is not None
        for module in (pair.students, pair.objective.projections)
        for parameter in module.parameters()
    )


@pytest.mark.parametrize(
    "name", [name for name in METHODS if METHODS[name].Options.STUDENTS == "two"]
)
def test_a_method_that_is_defined_for_two_students_refuses_a_third(name):
    with pytest.raises(ValueError, match="is defined for two students, got 3"):
        METHODS[name](*students_of(3))


def test_three_students_without_what_they_teach_are_vanilla():
    """Gradients to rounding: zeros from projections that stay in the graph are added in an order of
    their own.
    """
    found = []
    for method in ("ctcl", "vanilla"):
        students = students_of(3)
        pair = StudentPair(
            {f"student_{i}": own for i, own in enumerate(students)}, METHODS[method](*students)
        )
        pair.double().train()
        for weights in pair.objective.weights:
            weights.update(dict.fromkeys(weights.keys() - pair.objective.OWN_TERMS.keys(), 0.0))
        torch.manual_seed(7)
        output = pair(*random_batch())
        output.loss.backward()
        found.append((output.loss, [own.grad for own in pair.students.parameters()]))
    (ours, gradients), (theirs, expected) = found
    assert torch.equal(ours, theirs)
    for gradient, want in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, want, rtol=1e-9, atol=1e-15)
