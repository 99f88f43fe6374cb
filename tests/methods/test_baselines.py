"""The methods that CTCL is compared with: who learns what from whom, and that all share one
control.
"""

import subprocess
import sys

import pytest
import reference
import torch
from conftest import make_cnn, make_hybrid, make_other, make_vit
from helpers.losses import IGNORE, random_batch

from ctcl_hf import (
    BPKD,
    CTCL,
    CWD,
    DIST,
    DML,
    IFVD,
    KDCL,
    METHODS,
    FeatureKD,
    HeteroAKD,
    OfflineKD,
    StudentPair,
    Vanilla,
)
from ctcl_hf.losses import (
    cross_entropy_map,
    error_products,
    general_share,
    intra_class_variation,
    linear_share,
    minimum_target,
    upsample,
)
from ctcl_hf.students.teacher import Teacher

EXCHANGES = [name for name in METHODS if name != "vanilla"]
TERMS = {  # of those that have one
    "dml": "kl",
    "offline_kd": "kl",
    "kdcl": "kl",
    "ifvd": "ifv",
    "cwd": "channel",
    "feature_kd": "feature",
}
ON_FEATURES = ("ifvd", "feature_kd", "heteroakd")
MAKERS = {"cnn": make_cnn, "vit": make_vit, "hybrid": make_hybrid, "other": make_other}
PAIRS = [  # beside a CNN and a ViT, which every method is tested on by test_contract.py
    ("cnn", "cnn"),
    ("vit", "vit"),
    ("cnn", "hybrid"),
    ("vit", "hybrid"),
    ("cnn", "other"),
]
# what a method must do without to read logits alone
ON_LOGITS = {"ctcl": {"hfd": False, "region_bsd": False}}


def make_teachers():
    torch.manual_seed(3)
    return make_vit().double(), make_cnn().double()


def make_pair(name="dml", kinds=("cnn", "vit"), **options):
    torch.manual_seed(0)
    a, b = (MAKERS[kind]().double() for kind in kinds)
    if METHODS[name].Options.TEACHERS == "needed":
        options.setdefault("teachers", make_teachers())
    if "other" in kinds:
        options |= ON_LOGITS.get(name, {})
    return StudentPair({"a": a, "b": b}, METHODS[name](a, b, **options)).double().train()


def terms_of(pair, images, labels):
    torch.manual_seed(7)
    outputs = [student(images) for student in pair.students.values()]
    terms = pair.objective(outputs, labels, pair.objective.teacher_outputs(images))
    return outputs, [own.of_batch() for own in terms]


@pytest.mark.parametrize("kinds", PAIRS, ids="+".join)
@pytest.mark.parametrize("name", EXCHANGES)
def test_each_students_term_moves_that_student_alone(name, kinds):
    if name in ON_FEATURES and "other" in kinds:
        with pytest.raises(ValueError, match="stages of a upernet are not known"):
            make_pair(name, kinds)
        return
    pair = make_pair(name, kinds)
    images, labels = random_batch()
    for learner in (0, 1):
        pair.zero_grad()
        _, terms = terms_of(pair, images, labels)
        sum(terms[learner].losses.values()).backward()
        own, peer = pair.names[learner], pair.names[1 - learner]
        assert all(parameter.grad is not None for parameter in pair.students[own].parameters())
        assert all(p.grad is None or not p.grad.any() for p in pair.students[peer].parameters())
        assert all(p.grad is None for p in pair.objective.teachers.parameters())


@pytest.mark.parametrize("name", EXCHANGES)
def test_swapping_the_students_swaps_their_terms(name):
    images, labels = random_batch()
    options = {"pixel_classes": "all"} if name == "ctcl" else {}
    pair = make_pair(name, **options).eval()
    if METHODS[name].Options.TEACHERS == "needed":
        options["teachers"] = tuple(pair.objective.teachers)[::-1]
    swapped = METHODS[name](*reversed(pair.students.values()), **options).double().eval()
    for i in (0, 1):
        swapped.projections[i].load_state_dict(pair.objective.projections[1 - i].state_dict())
    outputs, terms = terms_of(pair, images, labels)
    other = [
        own.of_batch() for own in swapped(outputs[::-1], labels, swapped.teacher_outputs(images))
    ]
    for i in (0, 1):
        for term, value in terms[i].losses.items():
            assert torch.allclose(value, other[1 - i].losses[term], atol=1e-12), term


def test_terms_are_the_published_formulas():
    images, labels = random_batch(size=(32, 32))

    def term(name, **options):
        pair = make_pair(name, **options)
        outputs, terms = terms_of(pair, images, labels)
        return pair, outputs, [own.losses[TERMS[name]] for own in terms]

    def full(output):
        return upsample(output.logits, labels.shape[-2:])

    _, (a, b), found = term("dml")
    assert torch.allclose(found[0], reference.kl_everywhere(full(a), full(b), labels, IGNORE, 1.0))
    pair, (a, b), found = term("offline_kd", temperature=2.0)
    teachers = pair.objective.teacher_outputs(images)
    assert torch.allclose(
        found[0], reference.kl_everywhere(full(a), full(teachers[0]), labels, IGNORE, 2.0)
    )
    assert torch.allclose(
        found[1], reference.kl_everywhere(full(b), full(teachers[1]), labels, IGNORE, 2.0)
    )
    _, (a, b), found = term("kdcl")
    target = minimum_target(
        (full(a), full(b)), torch.where(labels == IGNORE, 0, labels).unsqueeze(1)
    )
    assert torch.allclose(found[1], reference.kl_everywhere(full(b), target, labels, IGNORE, 2.0))
    _, (a, b), found = term("cwd")
    assert torch.allclose(found[1], reference.channel_kl(b.logits, a.logits, 4.0))


def test_default_weights_are_the_published_ones():
    weights = {name: make_pair(name).objective.weights[0][term] for name, term in TERMS.items()}
    published = {"dml": 1.0, "offline_kd": 1.0, "kdcl": 1.0, "ifvd": 20.0, "cwd": 3.0}
    assert weights == published | {"feature_kd": 1.0}  # whose paper's was not to be had


@pytest.mark.parametrize(
    "name", [name for name in EXCHANGES if METHODS[name].Options.TEACHERS != "none"]
)
def test_teachers_are_frozen_in_evaluation_mode_and_not_saved(name):
    pair = make_pair(name, teachers=make_teachers())
    before = {key: value.clone() for key, value in pair.objective.teachers.state_dict().items()}
    pair.train()
    pair(*random_batch()).loss.backward()
    assert not any(module.training for module in pair.objective.teachers.modules())
    assert all(
        torch.equal(value, before[key])
        for key, value in pair.objective.teachers.state_dict().items()
    )
    assert not any(parameter.requires_grad for parameter in pair.objective.teachers.parameters())
    assert not any(key.startswith("teachers") for key in pair.objective.training_state())


def test_all_are_exported_by_name():
    assert list(METHODS.values()) == [
        Vanilla,
        OfflineKD,
        DML,
        KDCL,
        IFVD,
        CWD,
        FeatureKD,
        DIST,
        BPKD,
        HeteroAKD,
        CTCL,
    ]


def test_listing_the_methods_imports_none_of_them():
    code = (
        "import sys, ctcl_hf.methods; print(sorted(ctcl_hf.methods.METHODS)); assert 'torch' "
        "not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "offline_kd" in done.stdout


def test_features_are_asked_for_when_the_method_is_built():
    cnn, other = make_cnn(), make_other()
    for options in ({"hfd": False}, {"region_bsd": False}):
        with pytest.raises(ValueError, match="ctcl with --no_hfd --no_region_bsd"):
            CTCL(cnn, other, **options)
    assert set(CTCL(cnn, other, hfd=False, region_bsd=False).weights[1]) == {"ce", "pixel"}


def test_general_kdcl_distils_from_the_mixture_that_it_has_observed():
    pair = make_pair("kdcl", kdcl_target="general").eval()
    images, labels = random_batch(size=(32, 32))
    a, b = (student(images) for student in pair.students.values())
    seen = [2 * torch.randn(2, 3, 32, 32, dtype=torch.float64) for _ in range(4)]
    pair.objective.observe([(*seen[:2], labels), (*seen[2:], labels)])
    share = pair.objective.share
    products = [error_products(*seen[i : i + 2], labels, IGNORE) for i in (0, 2)]
    assert 0 < share == general_share(products[0] + products[1]) < 1
    views = [upsample(output.logits, labels.shape[-2:]) for output in (a, b)]
    target = share * views[0] + (1 - share) * views[1]
    for terms, own in zip(pair.objective((a, b), labels), views, strict=True):
        assert torch.allclose(
            terms.losses["kl"].value, reference.kl_everywhere(own, target, labels, IGNORE, 2.0)
        )
    assert set(pair.objective.training_state()) == {"share"}


@pytest.mark.parametrize("name", ["dml", "offline_kd", "kdcl"])
@pytest.mark.parametrize(
    ("classes", "of_cnn"), [("grouped", ((0, 1), (2,))), ("known", ((0,), (2,)))]
)
def test_methods_that_match_logits_compare_what_the_peer_knows_if_asked_to(name, classes, of_cnn):
    images, labels = random_batch(size=(32, 32))
    pair = make_pair(name, pixel_classes=classes).eval()
    groups = pair.objective.class_groups
    assert len(groups.confusion) == {"dml": 2, "offline_kd": 4, "kdcl": 3}[name]
    groups.confusion.copy_(torch.tensor([[90.0, 10, 0], [60, 0, 0], [0, 5, 95]]))
    groups.blind.copy_(torch.tensor([[False, True, False], [False, False, False]]))
    (a, b), terms = terms_of(pair, images, labels)
    full = [upsample(output.logits, labels.shape[-2:]) for output in (a, b)]
    peers = full[::-1]
    if name == "offline_kd":
        peers = [
            upsample(t.logits, labels.shape[-2:]) for t in pair.objective.teacher_outputs(images)
        ]
    if name == "kdcl":
        peers = 2 * [minimum_target(full, torch.where(labels == IGNORE, 0, labels).unsqueeze(1))]
    labelled = labels != IGNORE
    for i, own in enumerate((of_cnn, ((0,), (1,), (2,)))):
        temperature = 2.0 if name == "kdcl" else 1.0
        values = reference.grouped_kl_map(full[i], peers[i], own, "forward", temperature)
        taught = labelled & reference.in_a_group(labels, own)
        assert torch.allclose(
            terms[i].losses["kl"], reference.divided_sum(values, taught, labelled)
        )
    pair.train()
    pair(images, labels)
    assert groups.counted.sum() == len(groups.confusion) * (labels != IGNORE).sum()


LACKING = ((0,), (), (3,))  # of three classes, what a teacher of four tells apart


def lacking_teachers():
    torch.manual_seed(3)
    return Teacher(make_vit(4), LACKING).double(), Teacher(make_cnn(4), LACKING).double()


@pytest.mark.parametrize("name", ["offline_kd", "cwd", "ifvd"])
def test_of_a_teacher_that_lacks_a_class_what_it_knows_is_taught(name):
    images, labels = random_batch(size=(32, 32))
    pair = make_pair(name, teachers=lacking_teachers())
    (a, b), terms = terms_of(pair, images, labels)
    # what stands in the logits of the class that it lacks is read by nobody
    seen = [
        output._replace(logits=output.logits[:, [0, 2]])
        for output in pair.objective.teacher_outputs(images)
    ]
    of_known = torch.tensor([0, IGNORE, 1])[labels.clamp_max(2)]
    of_known[labels == IGNORE] = IGNORE
    labelled = (labels != IGNORE).sum()
    for learner, teacher, own in zip((a, b), seen, terms, strict=True):
        known = learner.logits[:, [0, 2]]
        if name == "offline_kd":
            views = [upsample(z, labels.shape[-2:]) for z in (known, teacher.logits)]
            expected = reference.kl_everywhere(*views, of_known, IGNORE, 1.0)
            # divided by all that is labelled, as cross entropy
            expected = expected * (of_known != IGNORE).sum() / labelled
        elif name == "cwd":
            size = known.shape[-2:]
            expected = reference.channel_kl(known, upsample(teacher.logits, size), 4.0)
        else:
            expected = intra_class_variation(learner.last, teacher.last, of_known, 2, IGNORE).value
        assert torch.allclose(own.losses[TERMS[name]], expected, atol=1e-9)


@pytest.mark.parametrize("name", ["offline_kd", "cwd"])
def test_nothing_moves_the_logits_of_a_class_that_a_teacher_lacks(name):
    images, labels = random_batch(size=(32, 32))
    pair = make_pair(name, teachers=lacking_teachers())
    outputs = [student(images) for student in pair.students.values()]
    outputs = [each._replace(logits=each.logits.detach().requires_grad_()) for each in outputs]
    terms = pair.objective(outputs, labels, pair.objective.teacher_outputs(images))
    for output, own in zip(outputs, terms, strict=True):
        term = own.of_batch().losses[TERMS[name]]
        (gradient,) = torch.autograd.grad(term, output.logits, retain_graph=True)
        assert not gradient[:, 1].any() and gradient[:, 0].any() and gradient[:, 2].any()


@pytest.mark.parametrize("name", ["offline_kd", "cwd", "ctcl"])
def test_one_teacher_for_both_teaches_as_two_copies_of_it_and_sees_an_image_once(name):
    images, labels = random_batch(size=(32, 32))
    options = {"pixel_classes": "all"} if name == "ctcl" else {}
    one, other = (make_teachers()[1] for _ in range(2))
    shared = make_pair(name, teachers=(one, one), **options)
    apart = make_pair(name, teachers=(one, other), **options)
    apart.load_state_dict(shared.state_dict(), strict=False)
    assert len(shared.objective.teachers) == 1
    for ours, theirs in zip(
        terms_of(shared, images, labels)[1], terms_of(apart, images, labels)[1], strict=True
    ):
        assert ours.losses.keys() == theirs.losses.keys()
        for term, value in ours.losses.items():
            assert torch.equal(value, theirs.losses[term]), term


def test_a_teacher_whose_features_are_not_known_is_refused_where_they_are_read():
    teacher = make_other().double()
    with pytest.raises(ValueError, match="features of a upernet as a teacher are not known"):
        make_pair("ifvd", teachers=(teacher, teacher))
    make_pair("cwd", teachers=(teacher, teacher))(*random_batch()).loss.backward()


def test_teachers_of_other_classes_are_refused():
    """Grouped, their divergences would be negative; ungrouped, shapes would clash at the first
    step.
    """
    teachers = tuple(
        make(num_labels).double() for make, num_labels in ((make_vit, 6), (make_cnn, 6))
    )
    with pytest.raises(ValueError, match="A teacher must have the students' classes: got 6 for 3"):
        make_pair("offline_kd", teachers=teachers)


@pytest.mark.parametrize("target", ["naive", "linear"])
def test_kdcl_teaches_the_mixture_of_its_target(target):
    images, labels = random_batch(size=(32, 32))
    pair = make_pair("kdcl", kdcl_target=target).eval()
    (a, b), terms = terms_of(pair, images, labels)
    full = [upsample(output.logits, labels.shape[-2:]) for output in (a, b)]
    ce = [cross_entropy_map(z, labels, IGNORE).sum() for z in full]
    share = (
        float(ce[0] < ce[1]) if target == "naive" else float(linear_share(*full, labels, IGNORE))
    )
    mixture = share * full[0] + (1 - share) * full[1]
    for own, z in zip(terms, full, strict=True):
        expected = reference.kl_everywhere(z, mixture, labels, IGNORE, 2.0)
        assert torch.allclose(own.losses["kl"], expected, atol=1e-6)
