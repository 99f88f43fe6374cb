"""What transformers' Trainer takes: taken by a trainer of pairs too, or refused with the reason."""

import inspect

import pytest
from conftest import make_cnn, make_data, make_vit
from transformers import Trainer, TrainingArguments

from ctcl_hf import (
    KDCL,
    CTCLArguments,
    CTCLTrainer,
    EvaluationTransform,
    StudentPair,
    TrainingTransform,
    Vanilla,
)
from ctcl_hf.training.unsupported import CARD, CONSTRUCTOR

SIZE = (64, 64)
QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}


def pair(method=Vanilla, **options):
    cnn, vit = make_cnn(), make_vit()
    return StudentPair({"cnn": cnn, "vit": vit}, method(cnn, vit, **options))


def samples(split="validation", count=3):
    data = make_data(4, count, SIZE)
    return data.samples(
        split, TrainingTransform(SIZE, SIZE) if split == "train" else EvaluationTransform(SIZE)
    )


def make_trainer(folder, model=None, **options):
    arguments = CTCLArguments(str(folder), max_steps=1, per_device_train_batch_size=2, **QUIET)
    return CTCLTrainer(model or pair(), arguments, train_dataset=samples("train"), **options)


def test_several_evaluation_sets_are_scored_by_name_with_a_method_that_observes_one(tmp_path):
    """kdcl's general target took the dictionary for a data set."""
    sets = {"near": samples(), "far": samples(count=2)}
    trainer = make_trainer(tmp_path, pair(KDCL, kdcl_target="general"), eval_dataset=sets)
    trainer.train()
    metrics = trainer.evaluate()
    assert {"eval_near_mean_iou", "eval_far_mean_iou", "eval_far_vit_iou_dot"} <= metrics.keys()
    trainer.save_model()
    card = (tmp_path / "vit" / "README.md").read_text()
    assert "near" in card and "far" in card and "eval_" not in card


def test_every_parameter_of_trainers_is_taken_or_refused_with_a_reason(tmp_path):
    """`compute_metrics`, `data_collator` and `optimizers` ended in a TypeError without one."""
    taken = inspect.signature(CTCLTrainer.__init__).parameters.keys()
    parameters = inspect.signature(Trainer.__init__).parameters.keys()
    assert parameters - taken <= CONSTRUCTOR.keys()
    for name in CONSTRUCTOR:
        with pytest.raises(TypeError, match=f"CTCLTrainer takes no {name}: "):
            make_trainer(tmp_path, **{name: None})
    with pytest.raises(TypeError, match="unexpected keyword argument 'eval_datasets'"):
        make_trainer(tmp_path, eval_datasets=None)


def test_every_parameter_of_trainers_cards_and_pushes_is_taken_or_refused_with_a_reason(tmp_path):
    assert inspect.signature(Trainer.create_model_card).parameters.keys() - {"self"} <= CARD.keys()
    push = inspect.signature(Trainer.push_to_hub).parameters.keys() - {"kwargs"}
    assert push <= inspect.signature(CTCLTrainer.push_to_hub).parameters.keys()
    trainer = make_trainer(tmp_path)
    with pytest.raises(TypeError, match="create_model_card takes no language: images have none"):
        trainer.create_model_card(language="en")
    with pytest.raises(TypeError, match="push_to_hub takes no tags: "):
        trainer.push_to_hub(tags=["x"])
    with pytest.raises(ValueError, match="--hub_strategy"):
        trainer.push_to_hub(blocking=False)


def test_one_model_or_plain_arguments_are_refused_by_name(tmp_path):
    """Each was an AttributeError from within."""
    with pytest.raises(
        TypeError, match=r"trains students together, a StudentPair.*got a Segformer"
    ):
        make_trainer(tmp_path, make_vit().model)
    with pytest.raises(TypeError, match=r"needs CTCLArguments.*got TrainingArguments"):
        CTCLTrainer(pair(), TrainingArguments(str(tmp_path), use_cpu=True))


def test_a_search_says_what_to_do_instead(tmp_path):
    with pytest.raises(NotImplementedError, match="ctcl-hf compare"):
        make_trainer(tmp_path).hyperparameter_search()


def test_no_sample_has_no_score(tmp_path):
    """It was NaN, beside a loss of 0."""
    with pytest.raises(ValueError, match="has no sample"):
        make_trainer(tmp_path).evaluate([])


def test_samples_without_labels_are_refused_in_a_sentence(tmp_path):
    """predict() ended in KeyError: 'labels'."""
    images = [{"pixel_values": samples()[i]["pixel_values"]} for i in range(2)]
    with pytest.raises(
        OSError,
        match=r"Sample 0 of the list cannot be used: it has pixel_values\. Expected: a dictionary",
    ):
        make_trainer(tmp_path).predict(images)


@pytest.mark.parametrize(
    "given",
    [
        {"include_for_metrics": ["loss"]},
        {"batch_eval_metrics": True},
        {"prediction_loss_only": True},
        {"eval_accumulation_steps": 2},
        {"label_names": ["masks"]},
    ],
)
def test_an_argument_that_would_have_no_effect_is_refused(given, tmp_path):
    with pytest.raises(ValueError, match=f"--{next(iter(given))} .* does not work for a pair"):
        CTCLArguments(str(tmp_path), **QUIET, **given)
