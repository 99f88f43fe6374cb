"""The composite optimizer and its schedules."""

import pytest
import torch
from conftest import make_cnn, make_vit
from torch import nn

from ctcl_hf import CTCL, StudentPair, Vanilla
from ctcl_hf.arguments.pair import OptimizationArguments
from ctcl_hf.training.optim import (
    OptimizerSettings,
    build_optimizer,
    build_scheduler,
    polynomial_schedule,
    settings_for,
)

SETTINGS = {
    "cnn": OptimizerSettings(lr=0.1, weight_decay=5e-4, power=0.9, momentum=0.9),
    "vit": OptimizerSettings(
        lr=0.01, weight_decay=0.02, power=1.0, warmup_steps=2, head_lr_multiplier=10.0
    ),
}


@pytest.fixture
def pair():
    cnn, vit = make_cnn(), make_vit()
    return StudentPair({"cnn": cnn, "vit": vit}, CTCL(cnn, vit))


def test_every_trainable_parameter_is_in_exactly_one_group(pair):
    grouped = [
        id(p) for group in build_optimizer(pair, SETTINGS).param_groups for p in group["params"]
    ]
    assert sorted(grouped) == sorted(id(p) for p in pair.parameters())


def test_norms_of_a_vit_do_not_decay_and_its_head_learns_ten_times_faster(pair):
    optimizer = build_optimizer(pair, SETTINGS).optimizers["vit"]
    where = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    vit = pair.students["vit"].model
    assert where[id(vit.segformer.stages[0].layer_norm.weight)]["weight_decay"] == 0
    assert where[id(vit.decode_head.batch_norm.weight)]["weight_decay"] == 0
    assert where[id(vit.decode_head.classifier.weight)]["weight_decay"] == 0.02
    assert where[id(vit.decode_head.classifier.weight)]["lr"] == pytest.approx(0.1)
    assert where[id(pair.projections("vit")["low"].weight)]["lr"] == pytest.approx(0.1)
    assert where[id(vit.segformer.stages[0].patch_embeddings.proj.weight)]["lr"] == pytest.approx(
        0.01
    )


def test_a_projection_belongs_to_its_learners_optimizer(pair):
    optimizers = build_optimizer(pair, SETTINGS).optimizers
    for name in ("cnn", "vit"):
        own = {id(p) for group in optimizers[name].param_groups for p in group["params"]}
        assert all(id(p) in own for p in pair.projections(name).parameters())


def test_its_step_is_that_of_the_two_optimizers_on_their_own(pair):
    import copy

    twin = copy.deepcopy(pair)
    composite, alone = build_optimizer(pair, SETTINGS), build_optimizer(twin, SETTINGS)
    for p, q in zip(pair.parameters(), twin.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    for _ in range(2):
        composite.step()
        for optimizer in alone.optimizers.values():
            optimizer.step()
    for (name, p), q in zip(pair.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_a_loaded_state_continues_as_if_nothing_had_happened(pair):
    import copy

    optimizer = build_optimizer(pair, SETTINGS)
    scheduler = build_scheduler(optimizer, optimizer, SETTINGS, 10)
    gradients = [torch.randn_like(p) for p in pair.parameters()]

    def step(model, opt, sched):
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g.clone()
        opt.step()
        sched.step()

    step(pair, optimizer, scheduler)
    twin = copy.deepcopy(pair)
    other = build_optimizer(twin, SETTINGS)
    other_scheduler = build_scheduler(other, other, SETTINGS, 10)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other_scheduler.load_state_dict(scheduler.state_dict())
    step(pair, optimizer, scheduler)
    step(twin, other, other_scheduler)
    assert [group["lr"] for group in optimizer.param_groups] == [
        group["lr"] for group in other.param_groups
    ]
    for (name, p), q in zip(pair.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q), name
    assert len(other.state) == len(list(pair.parameters()))


def test_the_state_of_another_pair_is_refused(pair):
    optimizer = build_optimizer(pair, SETTINGS)
    with pytest.raises(ValueError, match=r"of students \['a', 'b'\], expected \['cnn', 'vit'\]"):
        optimizer.load_state_dict({"a": {}, "b": {}})


def test_groups_are_not_added_to_nobody(pair):
    with pytest.raises(TypeError, match="optimizer of one student"):
        build_optimizer(pair, SETTINGS).add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


def test_the_schedule_warms_up_linearly_and_decays_to_zero():
    schedule = polynomial_schedule(SETTINGS["vit"], 10)
    assert [schedule(step) for step in range(4)] == pytest.approx([1 / 3, 2 / 3 * 0.9, 0.8, 0.7])
    assert schedule(10) == 0
    assert schedule(11) == 0


def test_each_family_gets_its_own_optimizer():
    cnn, vit = make_cnn(), make_vit()
    args = OptimizationArguments(cnn_lr=0.1, vit_lr=0.2)
    settings = settings_for(StudentPair({"one": vit, "two": cnn}, Vanilla(vit, cnn)), args)
    assert settings["one"].lr == 0.2
    assert settings["one"].momentum is None
    assert settings["two"].lr == 0.1
    assert settings["two"].momentum == 0.9


def test_optimizers_and_schedules_are_each_students_own_if_given():
    cnn, vit = make_cnn(), make_vit()
    args = OptimizationArguments(
        cnn_momentum=0.8,
        optimizers=["adamw", "sgd"],
        learning_rates=[0.1, 0.2],
        warmups=[3, 4],
        powers=[0.5, 2.0],
    )
    settings = settings_for(StudentPair({"cnn": cnn, "vit": vit}, Vanilla(cnn, vit)), args)
    assert [settings["cnn"].momentum, settings["vit"].momentum] == [None, 0.8]
    assert [(own.lr, own.warmup_steps, own.power) for own in settings.values()] == [
        (0.1, 3, 0.5),
        (0.2, 4, 2.0),
    ]
    assert settings["cnn"].weight_decay == args.vit_weight_decay
