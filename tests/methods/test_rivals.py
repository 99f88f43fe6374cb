"""Methods that CTCL's paper does not compare with, built for two students: which side of which term
is whose, and that any batch will do.
"""

import pytest
import reference_rivals
import torch
from conftest import freeze, make_cnn, make_vit
from helpers.losses import IGNORE, random_batch

from ctcl_hf import METHODS, StudentPair
from ctcl_hf.losses import average_pool

RIVALS = ["feature_kd", "dist", "bpkd", "heteroakd"]


def make_pair(name, num_labels=3, **options):
    torch.manual_seed(0)
    a, b = make_cnn(num_labels).double(), make_vit(num_labels).double()
    pair = StudentPair({"a": a, "b": b}, METHODS[name](a, b, **options)).double().train()
    return freeze(pair)


def terms_of(pair, images, labels):
    outputs = [student(images) for student in pair.students.values()]
    teachers = pair.objective.teacher_outputs(images)
    terms = pair.objective(outputs, labels, teachers)
    return outputs, teachers, [own.of_batch().losses for own in terms]


def make_teachers():
    torch.manual_seed(3)
    return make_vit().double(), make_cnn().double()


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("size", [(33, 50), (64, 40)], ids=str)
def test_two_classes_odd_sizes_and_a_batch_without_labels_are_finite(name, size):
    pair = make_pair(name, num_labels=2)
    images, labels = random_batch(size=size)
    labels = torch.where(labels == IGNORE, IGNORE, labels % 2)
    for own in (labels, torch.full_like(labels, IGNORE)):
        pair.zero_grad()
        output = pair(images, own)
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert all(torch.isfinite(parameter.grad).all() for parameter in pair.parameters())


@pytest.mark.parametrize("name", RIVALS)
def test_under_autocast_terms_are_float32_and_near_those_in_full_precision(name):
    pair = make_pair(name).float()
    images, labels = random_batch()
    whole = pair(images, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pair(images, labels)
    half.loss.backward()
    for term in METHODS[name].TERMS:
        for student in "ab":
            value = half.terms[f"{term}_{student}"]
            assert value.dtype == torch.float32
            assert torch.allclose(value, whole.terms[f"{term}_{student}"], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("teachers", [False, True], ids=["live", "frozen"])
def test_feature_kd_compares_each_students_projection_with_its_peer(teachers):
    pair = make_pair("feature_kd", teachers=make_teachers() if teachers else None)
    outputs, frozen, found = terms_of(pair, *random_batch(size=(64, 96)))
    for i, peer in enumerate(frozen or outputs[::-1]):
        projection, grid = pair.objective.projections[i]["last"], (2, 3)
        own = projection(outputs[i].last, grid)
        expected = reference_rivals.standardised_distance(
            own, average_pool(peer.last, grid), per_image=False
        )
        assert torch.allclose(found[i]["feature"], expected)


@pytest.mark.parametrize("over", ["batch", "image"])
def test_dist_correlates_each_students_logits_with_its_peers(over):
    pair = make_pair(
        "dist", statistics_over=over, inter_weight=0.5, intra_weight=3.0, deviation_floor=0.1
    )
    outputs, _, found = terms_of(pair, *random_batch(size=(32, 32)))
    for i, (own, other) in enumerate((outputs, outputs[::-1])):
        logits = own.logits, other.logits
        inter = reference_rivals.inter_class_distance(*logits, 0.1)
        intra = reference_rivals.intra_class_distance(*logits, over == "image", 0.1)
        assert torch.allclose(found[i]["inter"], inter)
        assert torch.allclose(found[i]["intra"], intra)
        assert pair.objective.weights[i].items() >= {("inter", 0.5), ("intra", 3.0)}


def test_bpkd_splits_what_each_student_learns_at_the_edges_of_the_labels():
    options = {"edge_width": 5, "temperature": 2.0}
    pair = make_pair("bpkd", edge_weight=0.5, body_weight=4.0, **options)
    images, labels = random_batch(size=(32, 32))
    labels = labels[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2)
    outputs, _, found = terms_of(pair, images, labels)
    for i, (own, other) in enumerate((outputs, outputs[::-1])):
        edge, body = reference_rivals.edge_and_body(
            own.logits, other.logits, labels, *options.values(), IGNORE
        )
        assert edge > 0 and torch.allclose(found[i]["edge"], edge)
        assert body > 0 and torch.allclose(found[i]["body"], body)
        assert pair.objective.weights[i].items() >= {("edge", 0.5), ("body", 4.0)}


@pytest.mark.parametrize("width", [0, 4, -3])
def test_a_width_of_edges_that_has_no_middle_is_refused(width):
    with pytest.raises(ValueError, match=f"edge_width {width}: expected an odd number of pixels"):
        make_pair("bpkd", edge_width=width)


@pytest.mark.parametrize("teachers", [False, True], ids=["live", "frozen"])
def test_heteroakd_mixes_each_students_projection_with_its_peers(teachers):
    pair = make_pair("heteroakd", teachers=make_teachers() if teachers else None)
    images, labels = random_batch(size=(64, 96))
    outputs, frozen, found = terms_of(pair, images, labels)
    projections = pair.objective.projections
    own = [projections[i]["own"](outputs[i].last, (2, 3)) for i in (0, 1)]
    others = own[::-1]
    if teachers:
        others = [projections[i]["teacher"](frozen[i].last, (2, 3)) for i in (0, 1)]
    for i in (0, 1):
        mixed = reference_rivals.mixed_knowledge(own[i], others[i], labels, IGNORE)
        learning = [own[i], others[i]] if teachers else [own[i]]
        errors = reference_rivals.projection_cross_entropy(learning, labels, IGNORE)
        assert torch.allclose(found[i]["hetero"], mixed)
        assert torch.allclose(found[i]["projection"], errors)
    weights = {"kl": 0.1, "hetero": 1.0, "projection": 1.0}
    assert pair.objective.weights[0].items() >= weights.items()


def test_what_heteroakds_projections_learn_moves_no_student():
    pair = make_pair("heteroakd", teachers=make_teachers())
    _, _, found = terms_of(pair, *random_batch())
    sum(own["projection"] for own in found).backward()
    assert all(parameter.grad is None for parameter in pair.students.parameters())
    assert all(parameter.grad.any() for parameter in pair.objective.projections.parameters())
