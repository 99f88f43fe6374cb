"""CTCL as a whole: every term against the reference, and who gets gradient from whom."""

import pytest
import reference
import torch
from conftest import make_cnn, make_vit
from helpers.losses import IGNORE, random_batch

from ctcl_hf import CTCL, DML, StudentPair, Vanilla
from ctcl_hf.students.teacher import Teacher

# Eq. 4, which teaches from the first step on
PRINTED = {"pixel_divisor": "taught", "pixel_classes": "all"}


def make_pair(objective=CTCL, drop_path_rate=0.1, **options):
    torch.manual_seed(0)
    if objective is CTCL:
        options = PRINTED | options
    cnn, vit = make_cnn().double(), make_vit(drop_path_rate=drop_path_rate).double()
    pair = StudentPair({"cnn": cnn, "vit": vit}, objective(cnn, vit, **options)).double()
    return pair.train()


def terms_of(objective, a, b, labels, *teachers):
    """Of both students, over the batch alone."""
    return [own.of_batch() for own in objective((a, b), labels, teachers)]


def outputs_of(pair, images):
    """Both students' outputs, with the tensors that losses read made leaves, so that gradients can
    be compared.
    """
    outputs = []
    for student in pair.students.values():
        output = student(images)
        leaves = {
            name: getattr(output, name).detach().requires_grad_()
            for name in ("logits", "low", "second", "last")
        }
        outputs.append(output._replace(**leaves))
    return outputs


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("projection", ["both", "learner"])
def test_all_terms_and_their_gradients_equal_the_reference(direction, projection):
    # The reference runs the borrowed stages a second time, which must not drop other paths.
    pair = make_pair(kl_direction=direction, region_projection=projection, drop_path_rate=0.0)
    images, labels = random_batch(size=(32, 64))
    a, b = outputs_of(pair, images)
    objective = pair.objective

    sides = []
    for learner, own, peer in ((a, objective.projections[0], b), (b, objective.projections[1], a)):
        transformed = peer.second_stage(own["low"](learner.low, peer.low.shape[-2:]))
        sides.append(
            reference.Student(
                logits=learner.logits,
                last=learner.last,
                last_weight=own["last"].weight,
                last_bias=own["last"].bias,
                hfd_transformed=transformed,
                hfd_target=peer.second,
            )
        )
    expected = reference.ctcl_terms(
        *sides,
        labels,
        min(a.last.shape[-2:], b.last.shape[-2:]),
        ignore_index=IGNORE,
        direction=direction,
        temperature=1.0,
        project_peer=projection == "both",
    )
    leaves = [getattr(o, name) for o in (a, b) for name in ("logits", "low", "second", "last")]
    leaves += list(objective.projections.parameters())
    for ours, theirs, weights in zip(
        terms_of(objective, a, b, labels), expected, objective.weights, strict=True
    ):
        for term in ("ce", "hfd", "region", "pixel"):
            assert torch.allclose(ours.losses[term], theirs[term], atol=1e-9), term
        total = sum(weights[term] * ours.losses[term] for term in ("ce", "hfd", "region", "pixel"))
        gradients = torch.autograd.grad(2 * total, leaves, allow_unused=True, retain_graph=True)
        wanted = torch.autograd.grad(
            2 * reference.total(theirs, alpha=1.0, beta=0.1, gamma=1.0),
            leaves,
            allow_unused=True,
            retain_graph=True,
        )
        for gradient, want in zip(gradients, wanted, strict=True):
            gradient = torch.zeros(()) if gradient is None else gradient
            want = torch.zeros(()) if want is None else want
            assert (gradient - want).abs().max() < 1e-9


@pytest.mark.parametrize("learner", [0, 1])
def test_hfd_reaches_the_first_stage_of_its_learner_and_its_projection_only(learner):
    pair = make_pair()
    images, labels = random_batch()
    outputs = [student(images) for student in pair.students.values()]
    terms_of(pair.objective, *outputs, labels)[learner].losses["hfd"].backward()
    moved = {
        name
        for name, parameter in pair.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    first_stage = {
        0: [
            f"students.cnn.model.encoder.{part}"
            for part in ("conv_stem", "bn1", "blocks.0", "blocks.1")
        ],
        1: ["students.vit.model.segformer.stages.0"],
    }[learner]
    assert moved
    assert all(
        name.startswith((*first_stage, f"objective.projections.{learner}.low")) for name in moved
    ), sorted(moved)


def test_one_backward_of_the_sum_equals_two_separate_ones():
    def gradients(students):
        pair = make_pair()
        outputs = [student(images) for student in pair.students.values()]
        terms = terms_of(pair.objective, *outputs, labels)
        for i in students:
            sum(pair.objective.weights[i][k] * v for k, v in terms[i].losses.items()).backward(
                retain_graph=True
            )
        return {name: p.grad for name, p in pair.named_parameters() if p.grad is not None}

    images, labels = random_batch()
    together = make_pair()
    together(images, labels).loss.backward()
    alone = gradients([0]) | {
        k: v for k, v in gradients([1]).items() if "vit" in k or "projections.1" in k
    }
    for name, parameter in together.named_parameters():
        assert torch.allclose(parameter.grad, alone[name], atol=1e-12), name


def test_borrowed_stages_leave_the_peers_batchnorm_as_vanilla_does():
    images, labels = random_batch()
    statistics = []
    for objective in (CTCL, Vanilla):
        pair = make_pair(objective)
        torch.manual_seed(7)
        pair(images, labels)
        statistics.append(
            {
                k: v
                for k, v in pair.students.state_dict().items()
                if "running" in k or "tracked" in k
            }
        )
    assert all(torch.equal(value, statistics[1][key]) for key, value in statistics[0].items())
    assert any("num_batches" in key and value == 1 for key, value in statistics[0].items())


@pytest.mark.parametrize("make", [make_pair, lambda: grouped_pair()])
@pytest.mark.parametrize("case", ["all ignored", "one class", "a is always better"])
def test_degenerate_batches_are_finite_and_every_parameter_stays_in_the_graph(case, make):
    pair = make()
    images, labels = random_batch()
    if case == "all ignored":
        labels.fill_(IGNORE)
    else:
        labels.fill_(1)
    if case == "a is always better":
        with torch.no_grad():
            pair.students["cnn"].model.decode_head.classifier.bias.copy_(
                torch.tensor([0.0, 50.0, 0.0])
            )
    output = pair(images, labels)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(value) for value in output.terms.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pair.parameters())
    if case == "a is always better":
        assert output.terms["teaches_pixels_cnn"] == 1
        assert output.terms["pixel_cnn"] == output.terms["region_cnn"] == 0
        assert output.terms["pixel_vit"] > 0 or make is not make_pair  # nothing at the first step
    if case == "all ignored":
        assert (
            output.terms["ce_cnn"] == output.terms["pixel_vit"] == output.terms["region_vit"] == 0
        )


def test_terms_are_float32_and_finite_under_bfloat16_autocast():
    torch.manual_seed(0)
    cnn, vit = make_cnn(), make_vit()
    pair = StudentPair({"cnn": cnn, "vit": vit}, CTCL(cnn, vit)).train()
    images, labels = random_batch()
    with torch.autocast("cpu", torch.bfloat16):
        output = pair(images, labels)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in output.terms.values())
    assert all(torch.isfinite(parameter.grad).all() for parameter in pair.parameters())


def test_the_loss_is_the_weighted_sum_of_the_logged_terms():
    pair = make_pair(alpha=0.5, beta=0.2, gamma=3.0)
    images, labels = random_batch()
    output = pair(images, labels)
    weights = {"ce": 1.0, "aux": 0.4, "hfd": 0.2, "region": 3.0, "pixel": 1.5}
    total = sum(
        weight * output.terms.get(f"{term}_{name}", 0)
        for term, weight in weights.items()
        for name in pair.names
    )
    assert torch.allclose(output.loss, total, rtol=1e-12)


def test_a_warmup_ramps_what_is_learned_from_the_peer_alone():
    images, labels = random_batch()
    pair, plain = make_pair(distillation_warmup=0.5), make_pair()
    weights = {"ce": 1.0, "aux": 0.4, "hfd": 0.1, "region": 1.0, "pixel": 1.0}
    for progress, ramp in ((0.0, 0.0), (0.2, 0.4), (0.5, 1.0), (0.9, 1.0)):
        pair.objective.set_progress(progress)
        torch.manual_seed(7)
        output = pair(images, labels)
        total = sum(
            weight
            * (1.0 if term in ("ce", "aux") else ramp)
            * output.terms.get(f"{term}_{name}", 0)
            for term, weight in weights.items()
            for name in pair.names
        )
        assert torch.allclose(output.loss, total, rtol=1e-6)  # the ramp is a float32
    plain.objective.set_progress(0.0)  # without a warm-up, progress changes nothing
    torch.manual_seed(7)
    assert plain(images, labels).loss == output.loss


def test_students_of_different_classes_are_refused():
    with pytest.raises(ValueError, match=r"same classes: got 3 .* and 5"):
        CTCL(make_cnn(3), make_vit(5))


def test_an_auxiliary_head_of_weight_zero_is_computed_and_counts_nothing():
    cnn, vit = make_cnn(auxiliary_loss_weight=0.0), make_vit()
    output = StudentPair({"cnn": cnn, "vit": vit}, Vanilla(cnn, vit)).train()(*random_batch())
    assert output.terms["aux_cnn"] > 0
    assert torch.allclose(output.loss, output.terms["ce_cnn"] + output.terms["ce_vit"])


def test_a_student_without_a_second_stage_is_refused_when_the_objective_is_built(monkeypatch):
    cnn, vit = make_cnn(), make_vit()
    monkeypatch.setattr(
        type(cnn.model),
        "second_stage",
        property(lambda self: (_ for _ in ()).throw(ValueError("no"))),
    )
    Vanilla(cnn, vit)
    with pytest.raises(ValueError, match="no"):
        CTCL(cnn, vit)


@pytest.mark.parametrize("hfd", [True, False])
@pytest.mark.parametrize("region", [True, False])
@pytest.mark.parametrize("pixel", [True, False])
def test_each_part_can_be_left_out_and_leaves_the_others_as_they_are(hfd, region, pixel):
    whole = make_pair(drop_path_rate=0.0)
    part = make_pair(drop_path_rate=0.0, hfd=hfd, region_bsd=region, pixel_bsd=pixel)
    part.objective.load_state_dict(whole.objective.training_state(), strict=False)
    images, labels = random_batch()
    torch.manual_seed(7)
    expected = whole(images, labels).terms
    torch.manual_seed(7)
    found = part(images, labels).terms
    assert {key.rsplit("_", 1)[0] for key in found} & {"hfd", "region", "pixel"} == {
        name for name, kept in (("hfd", hfd), ("region", region), ("pixel", pixel)) if kept
    }
    for key, value in found.items():
        assert torch.allclose(value, expected[key], atol=1e-12), key
    for weights, modules in zip(part.objective.weights, part.objective.projections, strict=True):
        assert ("hfd" in weights, "region" in weights, "pixel" in weights) == (hfd, region, pixel)
        assert set(modules) == {name for name, kept in (("low", hfd), ("last", region)) if kept}


def test_the_default_compares_groups_of_classes_and_divides_by_all_labelled_pixels():
    """What the evidence supports (docs/results.md); the paper's own is one switch away."""
    cnn, vit = make_cnn(), make_vit()
    objective = CTCL(cnn, vit)
    assert objective.class_groups is not None and objective.teaching.divisor == "labelled"
    assert objective.teaching.direction == "forward"
    assert CTCL(cnn, vit, pixel_bsd=False).class_groups is None  # nothing is compared


def grouped_pair(objective=CTCL, **options):
    return make_pair(
        objective, **{"pixel_classes": "grouped", "pixel_divisor": "labelled"} | options
    )


@pytest.mark.parametrize("classes", ["grouped", "known"])
def test_nothing_is_taught_at_the_first_step_and_then_what_the_steps_before_say(classes):
    images, labels = random_batch()
    pair = grouped_pair(pixel_classes=classes, hfd=False, region_bsd=False)
    vanilla = make_pair(Vanilla)
    losses = []
    for each in (pair, vanilla):
        torch.manual_seed(7)
        losses.append(each(images, labels).loss)
        losses[-1].backward()
    assert torch.equal(*losses)
    for (name, ours), theirs in zip(
        pair.students.named_parameters(), vanilla.students.parameters(), strict=True
    ):
        assert torch.equal(ours.grad, theirs.grad), name

    groups = pair.objective.class_groups
    labelled = (labels != IGNORE).sum()
    assert (
        groups.counted.sum(dim=(1, 2)).tolist() == [labelled, labelled]
        and not groups.confusion.any()
    )
    pair.objective.micro_batch = 1  # of the same step: counted, and still nothing is taught
    assert pair(images, labels).terms["pixel_cnn"] == 0
    assert groups.counted.sum(dim=(1, 2)).tolist() == [2 * labelled, 2 * labelled]
    pair.objective.micro_batch = 0
    groups.counted.copy_(100 * torch.eye(3))
    assert pair(images, labels).terms["pixel_cnn"] > 0
    assert groups.confusion[0].sum() == 300 and groups.counted[0].sum() == labelled


@pytest.mark.parametrize(
    ("classes", "of_cnn"), [("grouped", ((0, 1), (2,))), ("known", ((0,), (2,)))]
)
def test_pixel_bsd_is_the_loss_on_the_classes_that_the_counts_say_the_peer_knows(classes, of_cnn):
    pair = grouped_pair(pixel_classes=classes, hfd=False, region_bsd=False).eval()
    images, labels = random_batch(size=(32, 32))
    groups = pair.objective.class_groups
    groups.confusion.copy_(torch.tensor([[90.0, 10, 0], [60, 0, 0], [0, 5, 95]]))
    groups.blind.copy_(torch.tensor([[False, True, False], [False, False, False]]))
    a, b = outputs_of(pair, images)
    terms = terms_of(pair.objective, a, b, labels)
    full = [reference.upsample_bilinear(output.logits, labels.shape[1:]) for output in (a, b)]
    labelled = labels != IGNORE
    teaches = reference.teaching_maps(
        *(reference.cross_entropy_map(values, labels, IGNORE) for values in full), labelled
    )
    for i, j, own in ((0, 1, of_cnn), (1, 0, ((0,), (1,), (2,)))):
        values = reference.grouped_kl_map(full[i], full[j], own, "forward", 1.0)
        taught = teaches[j] & reference.in_a_group(labels, own)
        assert torch.allclose(
            terms[i].losses["pixel"], reference.divided_sum(values, taught, labelled)
        )
        assert terms[i].statistics["groups"] == len(own)
    assert not groups.counted.any()  # in training mode alone


def test_the_bounds_of_blindness_are_those_of_the_options():
    told = {"blind_ratio": 0.3, "blind_floor": 0.1, "blind_memory": 0.9}
    for objective in (CTCL, DML):
        groups = objective(make_cnn(), make_vit(), pixel_classes="known", **told).class_groups
        assert (groups.compared, groups.ratio, groups.floor, groups.memory) == (
            "known",
            0.3,
            0.1,
            0.9,
        )


def test_the_divisor_of_region_bsd_is_the_taught_or_the_labelled_regions():
    images, labels = random_batch()
    found = {}
    for divisor in ("taught", "labelled"):
        pair = make_pair(region_divisor=divisor).eval()
        terms = terms_of(pair.objective, *outputs_of(pair, images), labels)
        found[divisor] = [own.losses["region"].item() for own in terms]
        shares = [float(own.statistics["teaches_regions"]) for own in reversed(terms)]
    assert found["labelled"] == pytest.approx(
        [m * share for m, share in zip(found["taught"], shares, strict=True)]
    )


def test_what_a_checkpoint_keeps_of_the_groups_restores_them():
    images, labels = random_batch()
    pair, other = grouped_pair(), grouped_pair()
    pair(images, labels)
    state = pair.objective.training_state()
    assert {f"class_groups.{name}" for name in ("confusion", "blind", "counted")} <= set(state)
    other.objective.load_state_dict(state, strict=False)
    for each in (pair, other):
        each.objective.class_groups.advance()
    assert other.objective.class_groups.of_lesson(0) == pair.objective.class_groups.of_lesson(0)


# ---- a third party ----


def third_party(members=None):
    torch.manual_seed(5)
    teacher = Teacher(make_vit(3 if members is None else 4), members).double()
    with torch.no_grad():  # surer of itself than drawn weights are
        teacher.model.model.decode_head.classifier.weight.mul_(30)
    return teacher


def looped_third_party(views, learner, labels, classes):
    """Pixel BSD of one student, pixel by pixel: the mean of KL(best || learner) over labelled
    pixels, where another is better; and how many pixels the third party teaches.

    Of `classes`, what the third party knows is compared, and what the peer says of all.
    """
    peer, third = 1 - learner, 2
    total, labelled, by_third = 0.0, 0, 0
    images, _, height, width = views[0].shape
    for b in range(images):
        for y in range(height):
            for x in range(width):
                label = int(labels[b, y, x])
                if label == IGNORE:
                    continue
                labelled += 1
                logits = [view[b, :, y, x] for view in views]
                p = [torch.exp(z) / torch.exp(z).sum() for z in logits]
                ce = [-torch.log(own[label]) for own in p]
                if ce[third] < ce[learner] and ce[third] < ce[peer]:
                    by_third += 1
                    taught = [p[third][classes], p[learner][classes]]
                elif ce[peer] < ce[learner]:
                    taught = [p[peer], p[learner]]
                else:
                    continue
                target, own = (values / values.sum() for values in taught)
                target = target.detach()
                total = total + (target * (torch.log(target) - torch.log(own))).sum()
    return total / labelled, by_third / labelled


@pytest.mark.parametrize("members", [None, ((0,), (3,), ())], ids=["all", "lacks a class"])
def test_each_pixel_is_taught_by_whoever_is_the_most_reliable_there(members):
    teacher = third_party(members)
    pair = make_pair(
        teachers=(teacher, teacher), hfd=False, region_bsd=False, pixel_divisor="labelled"
    )
    images, labels = random_batch(size=(32, 32))
    a, b = outputs_of(pair, images)
    seen = pair.objective.teacher_outputs(images)
    assert not seen[0].logits.requires_grad
    views = [reference.upsample_bilinear(o.logits, labels.shape[1:]) for o in (a, b, seen[0])]
    ours = terms_of(pair.objective, a, b, labels, *seen)
    for i, own in enumerate(ours):
        expected, share = looped_third_party(
            views, i, labels, [0, 1, 2] if members is None else [0, 1]
        )
        assert torch.allclose(own.losses["pixel"], expected, atol=1e-9)
        assert float(own.statistics["taught_by_teacher"]) == pytest.approx(share)
        assert 0 < share < 1
        gradients, wanted = (
            torch.autograd.grad(
                2 * term, (a.logits, b.logits), allow_unused=True, retain_graph=True
            )
            for term in (own.losses["pixel"], expected)
        )
        assert (gradients[i] - wanted[i]).abs().max() < 1e-9
        assert gradients[1 - i] is None or not gradients[1 - i].any()


@pytest.mark.parametrize("classes", ["all", "known", "grouped"])
def test_a_third_party_gets_no_gradient_and_leaves_region_bsd_and_hfd_as_they_are(classes):
    teacher = third_party()
    images, labels = random_batch()
    found = []
    for options in ({"teachers": (teacher, teacher)}, {}):
        pair = make_pair(pixel_classes=classes, drop_path_rate=0.0, **options)
        for _ in range(2):  # what the first counts, the second compares
            torch.manual_seed(7)
            output = pair(images, labels)
        output.loss.backward()
        found.append(output.terms)
        assert all(p.grad is None for p in pair.objective.teachers.parameters())
        assert all(p.grad is not None for p in pair.students.parameters())
        # of a checkpoint: what was counted of it, and nothing that is its own
        assert not any(key.startswith("teachers") for key in pair.objective.training_state())
    for term in ("ce_cnn", "hfd_cnn", "region_cnn", "region_vit", "hfd_vit"):
        assert torch.equal(found[0][term], found[1][term]), term
    assert found[0]["taught_by_teacher_cnn"] > 0
    if classes == "all":  # else it depends on what was counted
        assert found[0]["pixel_cnn"] != found[1]["pixel_cnn"]


def test_a_third_party_that_knows_nothing_changes_nothing():
    images, labels = random_batch()
    teacher = third_party(((), (), (0,)))
    labels[labels == 2] = IGNORE
    losses = []
    for options in ({"teachers": (teacher, teacher)}, {}):
        torch.manual_seed(7)
        losses.append(make_pair(**options)(images, labels).loss)
    assert torch.equal(*losses)


def test_a_third_party_without_pixel_bsd_is_refused():
    teacher = third_party()
    with pytest.raises(ValueError, match="CTCL's teachers teach at pixels"):
        make_pair(teachers=(teacher, teacher), pixel_bsd=False)
