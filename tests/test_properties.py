"""Whatever the shapes, classes, ignored pixels and regions: no crash, no NaN, and what must hold of
each loss holds.
"""

import json
import re
import tempfile
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from ctcl_hf import DeepLabV3PlusConfig, MeanIoU
from ctcl_hf.base.tables import listed
from ctcl_hf.losses import (
    PixelTeaching,
    channel_distillation,
    class_correlation,
    cross_entropy_loss,
    edge_distillation,
    error_products,
    feature_distillation,
    from_each_other,
    general_share,
    intra_class_variation,
    kl_map,
    linear_share,
    masked_mean,
    minimum_target,
    mixed_knowledge,
    naive_share,
    pixel_losses,
    position_correlation,
    projection_cross_entropy,
    region_bsd,
    region_sums,
    spread,
    teaching_directions,
    upsample,
)
from ctcl_hf.publishing.card import render
from ctcl_hf.publishing.hub import Repository
from ctcl_hf.publishing.rows import _percent
from ctcl_hf.training.checkpoints import MANIFEST_FILE, problem_of

IGNORE = 255
LARGE = settings(max_examples=60, deadline=None)
sides = st.integers(1, 9)


@st.composite
def batches(draw):
    """Logits of two students, each at a size of its own, and labels with any share of them
    ignored.
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images, classes = draw(st.integers(1, 2)), draw(st.integers(2, 7))
    height, width = (
        draw(sides) * draw(st.sampled_from([1, 2, 4])),
        draw(sides) * draw(st.sampled_from([1, 2, 4])),
    )
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    scale = draw(st.sampled_from([0.0, 1.0, 30.0, 1e4]))
    logits = [
        (scale * torch.randn(images, classes, draw(sides), draw(sides), generator=generator)).to(
            dtype
        )
        for _ in "ab"
    ]
    labels = torch.randint(0, classes, (images, height, width), generator=generator)
    labels[
        torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    ] = IGNORE
    return logits, labels, classes


def assert_good(mean, *inputs):
    loss = mean.value
    assert loss.shape == () and torch.isfinite(loss) and loss >= -1e-5
    for gradient in torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True):
        assert gradient is None or torch.isfinite(gradient).all()


@LARGE
@given(
    batches(), st.sampled_from(["forward", "reverse"]), st.sampled_from([0.5, 1.0, 4.0]), st.data()
)
def test_pixel_losses_of_any_batch_and_groups_are_finite_and_not_negative(
    batch, direction, temperature, data
):
    logits, labels, classes = batch
    logits = [values.requires_grad_() for values in logits]
    group = data.draw(st.lists(st.integers(0, classes - 1), min_size=classes, max_size=classes))
    groups = tuple(
        tuple(k for k in range(classes) if group[k] == g)
        for g in sorted(set(group), key=group.index)
    )
    teaching = PixelTeaching(
        from_each_other(2), selective=True, direction=direction, temperature=temperature
    )
    teaching = teaching._replace(groups=data.draw(st.sampled_from([None, (groups, groups)])))
    found = pixel_losses(logits, labels, IGNORE, teaching)
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
    teaches, _ = teaching_directions(ce, has_label)
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
    for find_share in (naive_share, linear_share):
        share = find_share(learner, peer, labels, IGNORE)
        assert 0 <= share <= 1 and not share.requires_grad
    wanted = minimum_target(
        [view.detach() for view in views], torch.where(labelled, labels, 0).unsqueeze(1)
    )
    assert torch.isfinite(wanted).all()
    assert_good(masked_mean(kl_map(views[0], wanted, "forward", temperature), labelled), learner)


@LARGE
@given(batches(), st.sampled_from(["batch", "image"]), st.sampled_from([1, 3, 7]))
def test_losses_of_rivals_of_any_batch_are_finite_and_not_negative(batch, over, width):
    logits, labels, _ = batch
    learner, peer = (values.requires_grad_() for values in logits)
    of_one_size = upsample(peer, learner.shape[-2:])
    for loss in (
        feature_distillation(learner, of_one_size, over),
        class_correlation(learner, peer, 0.02),
        position_correlation(learner, peer, over, 0.02),
        *edge_distillation(learner, peer, labels, width, 2.0, IGNORE),
        mixed_knowledge(learner, of_one_size, labels, IGNORE),
        projection_cross_entropy([learner], labels, IGNORE),
    ):
        assert_good(loss, learner)


@LARGE
@given(batches())
def test_the_metric_of_any_batch_lies_between_0_and_1(batch):
    logits, labels, classes = batch
    metric = MeanIoU()
    predictions = upsample(logits[0].float(), labels.shape[-2:]).argmax(1)
    metric.add_batch(predictions=predictions, references=labels)
    scores = metric.compute(num_labels=classes, ignore_index=IGNORE)
    if (labels != IGNORE).any():
        assert all(
            0 <= scores[key] <= 1 for key in ("mean_iou", "mean_accuracy", "overall_accuracy")
        )


@LARGE
@given(
    st.dictionaries(
        st.text(max_size=9), st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=9))
    )
)
def test_options_of_any_kind_are_listed_on_a_card(options):
    text = listed(options)
    assert isinstance(text, str) and all(key in text for key in options)


@LARGE
@given(st.none() | st.floats(allow_nan=False))
def test_any_share_is_shown_as_a_percentage_or_as_missing(share):
    shown = _percent(share)
    assert shown == "does not occur" if share is None else float(shown) == round(100 * share, 2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@LARGE
@given(st.one_of(json_values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)))
def test_any_manifest_is_read_without_a_crash(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_bytes(content)
        problem = problem_of(Path(folder))
        assert problem is None or isinstance(problem, str)


# ---- configurations ----

widths = st.integers(1, 4096)
FIELDS = {
    "encoder": st.text(max_size=9),
    "num_channels": widths,
    "output_stride": st.sampled_from([8, 16, 32]),
    "aspp_channels": widths,
    "decoder_channels": st.none() | widths,
    "low_level_channels": widths,
    "classifier_dropout_prob": st.floats(0, 1, exclude_max=True) | st.just(0),
    "use_auxiliary_head": st.booleans(),
    "auxiliary_channels": widths,
    "auxiliary_loss_weight": st.floats(0, 1e6) | st.integers(0, 9),
    "semantic_loss_ignore_index": st.just(255) | st.integers(max_value=-1),
    "id2label": st.lists(st.text(max_size=9), min_size=2, max_size=9).map(
        lambda names: {str(i): name for i, name in enumerate(names)}
    ),
}
configurations = st.fixed_dictionaries({}, optional=FIELDS)


def configuration(fields):
    """As it is read from a config.json that holds these fields."""
    return DeepLabV3PlusConfig.from_dict(json.loads(json.dumps(fields)))


@LARGE
@given(configurations)
def test_any_valid_configuration_comes_back_from_its_file(fields):
    config = configuration(fields)
    again = DeepLabV3PlusConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    assert again.to_dict() == config.to_dict()
    for key, value in fields.items():
        assert getattr(again, key) == (
            {int(i): name for i, name in value.items()} if key == "id2label" else value
        )


@settings(max_examples=300, deadline=None)
@given(configurations, st.sampled_from([*FIELDS, "num_labels"]), json_values | st.floats())
def test_any_value_of_a_configurations_field_is_sound_or_refused_by_the_fields_name(
    fields, name, value
):
    try:
        config = configuration(fields | {name: value})
    except ValueError as error:
        assert name in str(error) or "num_labels" in str(error)
    else:
        again = configuration(config.to_dict())
        assert again.to_dict() == config.to_dict()
        assert [type(again.id2label[i]) for i in range(again.num_labels)] == [
            str
        ] * again.num_labels


# ---- cards ----

words = st.text(max_size=12) | st.sampled_from(
    ["---", "a | b", "{{ x }}", "# a", "[a](b)", "`", "yes", "1e3", ": -"]
)
shares = st.floats(0, 1) | st.just(float("nan"))


@st.composite
def records(draw):
    """What a run may have recorded of its students, under whatever names its data set gave."""
    classes = draw(st.lists(words, min_size=2, max_size=4, unique=True))
    splits = draw(st.lists(words, max_size=2, unique=True))
    share = st.floats(0, 1)
    scores = dict.fromkeys(("mean_iou", "overall_accuracy", "mean_accuracy", "loss"), share)
    scores["ious"] = st.dictionaries(st.sampled_from(classes), share)  # of those that occur
    student = {"description": "a student", "parameters": 10**6, "image_size": (64, 96)}
    student |= {"origin": draw(st.none() | words), "custom_code": draw(st.booleans())}
    settings = {"momentum": None, "weight_decay": 0.01, "lr": 1e-3, "head_lr_multiplier": 1.0}
    settings |= {"power": 1.0, "warmup_steps": 0}
    return {
        "students": {"cnn": student, "vit": student},
        "method": {
            "name": "CTCL",
            "weights": {"cnn": {"ce": 1.0}},
            "options": draw(st.dictionaries(words, words)),
        },
        "paper": None,
        "data": {"dataset": draw(st.none() | words), "classes": classes, "train": None},
        "dataset_title": draw(words),
        "dataset_id": draw(st.none() | words),
        "optimization": {"cnn": settings},
        "training": {
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "seed": 42,
            "precision": "no",
        },
        "processes": 1,
        "steps": None,
        "recipe": None,
        "machine": draw(words),
        "versions": {},
        "command": draw(words),
        "license": draw(words),
        "has_figure": draw(st.booleans()),
        "protocol": None,
        "control": {},
        "scores": {
            split: {
                "images": 5,
                "students": {name: draw(st.fixed_dictionaries(scores)) for name in ("cnn", "vit")},
            }
            for split in splits
        },
    }


@LARGE
@given(
    records(),
    st.none() | st.from_regex(r"[a-z0-9]([a-z0-9_]|[-.][a-z0-9]){0,9}/[a-z0-9]", fullmatch=True),
)
def test_a_card_of_any_names_is_read_again_and_its_tables_hold_together(recorded, repo_id):
    card = render(recorded, "cnn", {"cnn": Repository(repo_id)} if repo_id else {})
    with tempfile.TemporaryDirectory() as folder:
        card.save(Path(folder) / "README.md")
        again = ModelCard.load(Path(folder) / "README.md")
    assert again.data.to_dict() == card.data.to_dict()
    license, dataset = (
        " ".join((recorded[key] or "").split()) for key in ("license", "dataset_id")
    )
    assert again.data.license == license
    assert again.data.datasets == ([dataset] if dataset else None)
    rows = [line for line in again.text.split("\n") if line.startswith("|")]
    final = [split for split in recorded["scores"] if split.split("_")[0] != "eval"] or list(
        recorded["scores"]
    )
    scored = len(final)
    expected = (
        [5] * (2 + 2 * scored) + [1 + scored] * (2 + len(recorded["data"]["classes"]))
        if scored
        else []
    )
    cells = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
    assert cells[: len(expected)] == expected and set(cells[len(expected) :]) == {2}
