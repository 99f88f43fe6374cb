"""CTCLTrainer: what it optimises, evaluates and saves."""

import json
import math

import pytest
import torch
from conftest import make_data
from helpers.training import (
    SIZE,
    assert_equal_weights,
    general_kdcl,
    make_trainer,
    training_logs,
    weights,
)
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, TrainerCallback

from ctcl_hf import CTCL, CTCLArguments, CTCLTrainer, MeanIoU, Vanilla
from ctcl_hf.scoring.predict import class_map
from ctcl_hf.training.reproducibility import seed_micro_batch


class RecordedGradients(TrainerCallback):
    """Keeps the gradients of the first optimizer step."""

    def __init__(self):
        self.gradients = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradients is None:
            self.gradients = {
                name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
            }


def test_accumulated_gradients_are_the_mean_over_micro_batches(tmp_path):
    kept = []
    for steps, accumulation in ((1, 2), (2, 1)):
        recorder = RecordedGradients()
        trainer = make_trainer(
            tmp_path / str(steps),
            max_steps=1,
            gradient_accumulation_steps=accumulation,
            callbacks=[recorder],
            per_device_train_batch_size=4,
        )
        kept.append((trainer, recorder))
    accumulated, recorder = kept[0]
    accumulated.train()
    # By hand: the same two micro-batches, each through the same fresh pair with the step's own
    # seed.
    by_hand, _ = kept[1]
    by_hand.train_sampler.epoch = 0
    keys = list(by_hand.train_sampler)[:8]
    samples = [by_hand.train_dataset[key] for key in keys]
    by_hand.model.train()
    batches = [
        {key: torch.stack([sample[key] for sample in own]) for key in own[0]}
        for own in (samples[:4], samples[4:])
    ]
    labels = [batch["labels"] for batch in batches]
    for micro_batch, batch in enumerate(batches):
        seed_micro_batch(by_hand.args.seed, 0, micro_batch, 0)
        by_hand.model.objective.micro_batch = micro_batch
        (by_hand.model(**batch, step_labels=labels).loss / 2).backward()
    for name, parameter in by_hand.model.named_parameters():
        assert torch.allclose(recorder.gradients[name], parameter.grad, atol=1e-6), name


def test_students_are_clipped_separately(tmp_path):
    recorder = RecordedGradients()
    trainer = make_trainer(tmp_path, max_steps=1, max_grad_norm=0.01, callbacks=[recorder])
    trainer.train()
    (log,) = training_logs(trainer)
    for name, index in (("cnn", 0), ("vit", 1)):
        prefixes = (f"students.{name}.", f"objective.projections.{index}.")
        own = [g for key, g in recorder.gradients.items() if key.startswith(prefixes)]
        assert torch.nn.utils.get_total_norm(own).item() == pytest.approx(0.01, rel=1e-3)
        assert log[f"grad_norm_{name}"] > 0.01


def test_the_warmup_of_distillation_follows_the_training(tmp_path):
    trainer = make_trainer(tmp_path, lambda a, b: CTCL(a, b, distillation_warmup=0.5), max_steps=8)
    ramps = []
    step = trainer.training_step
    trainer.training_step = lambda *given: (
        step(*given),
        ramps.append(trainer.model.objective.ramp.item()),
    )[0]
    trainer.train()
    assert ramps == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_first_step_losses_are_the_same_bit_for_bit_whatever_the_method(tmp_path, accumulation):
    logs = []
    for method in (CTCL, Vanilla):
        trainer = make_trainer(
            tmp_path / method.__name__,
            method,
            max_steps=1,
            gradient_accumulation_steps=accumulation,
        )
        trainer.train()
        logs.append(training_logs(trainer)[0])
    for key in ("ce_cnn", "ce_vit", "aux_cnn"):
        assert logs[0][key] == logs[1][key]


def test_evaluation_equals_scoring_every_image_by_hand(tmp_path):
    trainer = make_trainer(tmp_path, per_device_eval_batch_size=2)
    scores = trainer.evaluate()
    for name, student in trainer.model.students.items():
        metric = MeanIoU()
        for sample in trainer.eval_dataset:
            with torch.no_grad():
                logits = student.eval().logits(sample["pixel_values"][None])
            metric.add(
                prediction=class_map(logits, sample["labels"].shape)[0], reference=sample["labels"]
            )
        expected = metric.compute(num_labels=3, ignore_index=255)
        assert scores[f"eval_{name}_mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-12)
        assert scores[f"eval_{name}_iou_dot"] == pytest.approx(
            expected["per_category_iou"][2], abs=1e-12
        )
    assert scores["eval_mean_iou"] == pytest.approx(
        (scores["eval_cnn_mean_iou"] + scores["eval_vit_mean_iou"]) / 2, abs=1e-12
    )


def test_drop_last_drops_no_evaluation_image(tmp_path):
    trainer = make_trainer(tmp_path, per_device_eval_batch_size=8, data=make_data(8, 3))
    assert math.isfinite(trainer.evaluate()["eval_cnn_mean_iou"])


def test_saved_students_load_without_the_package_parts_that_only_trained_them(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    trainer.save_model()
    batch = torch.randint(0, 256, (2, 3, *SIZE))
    for name, student in trainer.model.students.items():
        loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / name)
        processor = AutoImageProcessor.from_pretrained(tmp_path / name)
        assert loaded.config.id2label == {0: "left", 1: "right", 2: "dot"}
        assert loaded.config.label2id == {"left": 0, "right": 1, "dot": 2}
        assert processor.size == {"height": SIZE[0], "width": SIZE[1]}
        for key, value in loaded.state_dict().items():
            assert torch.equal(value, student.model.state_dict()[key]), key
        with torch.no_grad():
            ours = student.eval().logits(batch)
            theirs = loaded(**processor(images=list(batch), return_tensors="pt")).logits
        assert torch.allclose(ours, theirs, atol=1e-5)
        stored = json.loads((tmp_path / name / "config.json").read_text())
        assert "ctcl" not in json.dumps(stored).lower()
    assert not list(tmp_path.rglob("training_args.bin"))


def test_predict_and_several_evaluation_sets_count_every_image(tmp_path):
    trainer = make_trainer(tmp_path, data=make_data(8, 5))
    expected = trainer.evaluate()["eval_cnn_mean_iou"]
    predicted = trainer.predict(trainer.eval_dataset).metrics
    assert predicted["test_cnn_mean_iou"] == expected
    trainer.eval_dataset = {"one": trainer.eval_dataset, "two": trainer.eval_dataset}
    scores = trainer.evaluate()
    assert scores["eval_one_cnn_mean_iou"] == scores["eval_two_cnn_mean_iou"] == expected


def test_only_the_process_that_should_save_writes(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path / "out")
    monkeypatch.setattr(CTCLArguments, "should_save", False)
    trainer.save_model()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 training needs a GPU")
def test_float16_trains(tmp_path):
    trainer = make_trainer(tmp_path, fp16=True, use_cpu=False)
    trainer.train()
    assert all(math.isfinite(log["ce_cnn"]) for log in training_logs(trainer))


def test_bfloat16_trains(tmp_path):
    trainer = make_trainer(tmp_path, bf16=True)
    trainer.train()
    assert all(math.isfinite(log["loss"]) for log in training_logs(trainer))
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_a_warmup_that_takes_much_of_the_training_is_told(tmp_path, caplog):
    make_trainer(
        tmp_path / "short", max_steps=5, vit_warmup_steps=2
    ).create_optimizer_and_scheduler(5)
    assert "learning rate of vit rises over 2 steps of 5" in caplog.text
    assert "shorten its warm-up (--vit_warmup_steps)" in caplog.text
    caplog.clear()
    make_trainer(tmp_path / "long", max_steps=6, vit_warmup_steps=2).create_optimizer_and_scheduler(
        6
    )
    assert not caplog.text


def test_held_out_images_are_observed_before_every_epoch_and_once_only(tmp_path):
    def train(folder, **options):
        """The training's end, and at which steps it observed how many images."""
        trainer, observed = (
            make_trainer(folder, general_kdcl, data=make_data(8, 3), max_steps=5, **options),
            [],
        )
        observe = trainer.model.objective.observe

        def watched(held_out):
            views = list(held_out)
            observed.append((trainer.state.global_step, len(views)))
            observe(views)
            # shows a second look
            trainer.model.objective.share.fill_(0.1 + 0.1 * trainer.state.global_step)

        trainer.model.objective.observe = watched
        trainer.train(resume_from_checkpoint=resume)
        return trainer, observed

    resume = None
    undisturbed, observed = train(tmp_path, save_strategy="steps", save_steps=3)
    assert observed == [(0, 3), (2, 3), (4, 3)]
    resume = str(tmp_path / "checkpoint-3")
    resumed, observed = train(tmp_path / "again")
    assert observed == [(4, 3)]
    assert_equal_weights(weights(resumed), weights(undisturbed))


def test_what_observes_held_out_images_needs_an_evaluation_set(tmp_path):
    trainer = make_trainer(tmp_path, general_kdcl)
    with pytest.raises(ValueError, match="KDCL observes held-out images: give an eval_dataset"):
        CTCLTrainer(trainer.model, trainer.args, train_dataset=trainer.train_dataset)
