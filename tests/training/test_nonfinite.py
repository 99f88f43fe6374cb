"""A gradient that is not finite stops the run, or is skipped without a trace; float16 overflows."""

import json
import re

import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import make_data
from helpers.training import SAVES, SIZE, assert_equal_weights, make_trainer, weights
from safetensors.torch import load_file
from transformers import TrainerCallback

from ctcl_hf import CTCLTrainer, Objective, SegmentationSamples, StudentTerms, TrainingTransform
from ctcl_hf.training.checkpoints import problem_of


class Spoiled(Objective):
    """Cross entropy, and a term whose value or gradient of student b is not finite in one of the
    forwards.
    """

    spoiled = 3
    in_value = True

    def __init__(self, a, b):
        super().__init__(a, b)
        self.forwards = 0
        for own in self.weights:
            own["extra"] = 1.0

    def forward(self, students, labels, teachers=()):
        self.forwards += self.training
        terms = []
        for i, student in enumerate(students):
            value = student.logits.mean()
            if i == 1 and self.training and self.forwards == self.spoiled:
                zero = (student.logits * 0).sum()
                value = value * float("nan") if self.in_value else value + torch.sqrt(zero)
            terms.append(
                StudentTerms({**self.segmentation_terms(student, labels), "extra": value}, {})
            )
        return terms


class SpoiledGradient(Spoiled):
    in_value = False


class Recording(SegmentationSamples):
    """Remembers which images were read."""

    def __getitem__(self, key):
        self.read_so_far = [*getattr(self, "read_so_far", []), key[2]]
        return super().__getitem__(key)


def recording_trainer(folder, objective, **options):
    data = make_data(8, 3)
    trainer = make_trainer(folder, objective, data=data, **options)
    trainer.train_dataset = Recording(
        data.splits["train"],
        len(data.class_names),
        TrainingTransform(SIZE, (64, 64)),
        data.label_map,
    )
    return trainer


@pytest.mark.parametrize(
    ("objective", "said"),
    [(Spoiled, "extra_vit = nan"), (SpoiledGradient, "every loss term is finite")],
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_gradient_that_is_not_finite_stops_the_run_and_tells_all_that_is_known(
    objective, said, accumulation, tmp_path
):
    trainer = recording_trainer(
        tmp_path,
        objective,
        max_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulation,
        **SAVES,
    )
    with pytest.raises(FloatingPointError) as error:
        trainer.train()
    message, step = str(error.value), 3 if accumulation == 1 else 2
    assert f"Step {step}: the gradient of vit is not finite" in message and said in message
    assert "alone is not" not in message  # told by its value, or gone when it is looked for
    read = trainer.train_dataset.read_so_far
    images = read[2 * accumulation * (step - 1) : 2 * accumulation * step]
    assert f"Images: {', '.join(f'sample {i}' for i in images)}." in message
    assert problem_of(tmp_path / f"checkpoint-{step - 1}") is None
    dumped = tmp_path / f"nonfinite-step-{step}"
    assert (dumped / "vit" / "config.json").is_file()
    assert load_file(dumped / "batches.safetensors")[f"pixel_values.{accumulation - 1}"].shape == (
        2,
        3,
        64,
        64,
    )
    assert json.loads((dumped / "report.json").read_text())["error"] in message


class NormOfNothing(Objective):
    """Cross entropy, and a norm of what is 0 everywhere, which has no gradient, of student b."""

    def __init__(self, a, b):
        super().__init__(a, b)
        for own in self.weights:
            own["norm"] = 1.0

    def forward(self, students, labels, teachers=()):
        terms = []
        for i, student in enumerate(students):
            given = (student.logits * i * 0).square().sum()
            value = given.sqrt() if i else given
            terms.append(
                StudentTerms({**self.segmentation_terms(student, labels), "norm": value}, {})
            )
        return terms


def test_the_term_whose_gradient_alone_is_not_finite_is_named_with_the_images(tmp_path):
    """Nothing pointed at the term, and of embedded images the message said that they are."""
    trainer = make_trainer(tmp_path, NormOfNothing, max_steps=2)
    with pytest.raises(FloatingPointError) as error:
        trainer.train()
    message = str(error.value)
    assert "The gradient of norm_vit alone is not, such as that of a root" in message
    assert re.search(r"Images: sample \d+(, sample \d+)*\. ", message)


def test_a_step_that_is_skipped_leaves_no_trace(tmp_path, caplog):
    states = []

    class States(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            states.append(weights(trainer))

    trainer = recording_trainer(
        tmp_path, Spoiled, max_steps=4, on_nonfinite="skip", callbacks=[States()]
    )
    trainer.train()
    assert_equal_weights(states[2], states[1])  # BatchNorm's statistics too
    assert any(not torch.equal(states[3][name], states[2][name]) for name in states[3])
    assert (
        "Step 3: the gradient of vit is not finite" in caplog.text
        and "The step is skipped." in caplog.text
    )
    assert all(torch.isfinite(value).all() for value in states[3].values())


def test_a_run_that_skips_every_step_ends(tmp_path, monkeypatch):
    class Always(Spoiled):
        @property
        def spoiled(self):
            return self.forwards

    monkeypatch.setattr("ctcl_hf.training.guards.finite.SKIPS_IN_A_ROW", 2)
    with pytest.raises(FloatingPointError, match="2 steps in a row were skipped already"):
        make_trainer(tmp_path, Always, max_steps=9, on_nonfinite="skip").train()


class ScaledTrainer(CTCLTrainer):
    """float16 as on a GPU: autocast, and accelerate's own path through a scaler of losses."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = torch.amp.GradScaler("cpu")
        self.accelerator.native_amp = True
        self.accelerator.state._mixed_precision = "fp16"


@pytest.fixture
def float16_on_cpu(monkeypatch):
    monkeypatch.setattr("helpers.training.CTCLTrainer", ScaledTrainer)
    yield
    AcceleratorState._reset_state()


def test_an_overflow_of_float16_is_skipped_without_a_word_or_a_trace(
    tmp_path, caplog, float16_on_cpu
):
    states, scales = [], []

    class States(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            states.append(weights(trainer))
            scales.append(trainer.accelerator.scaler.get_scale())

    trainer = recording_trainer(tmp_path, Spoiled, max_steps=4, callbacks=[States()])
    trainer.train()
    assert trainer.accelerator.mixed_precision == "fp16" and trainer.state.global_step == 4
    assert_equal_weights(states[2], states[1])  # BatchNorm's statistics too
    assert any(not torch.equal(states[3][name], states[2][name]) for name in states[3])
    assert scales[2] == scales[1] / 2
    assert "not finite" not in caplog.text


def test_a_run_whose_float16_never_stops_overflowing_ends(tmp_path, monkeypatch, float16_on_cpu):
    class FromThird(Spoiled):
        @property
        def spoiled(self):
            return max(self.forwards, 3)

    monkeypatch.setattr("ctcl_hf.training.guards.finite.SKIPS_IN_A_ROW", 2)
    with pytest.raises(FloatingPointError, match="2 steps in a row were skipped already") as error:
        make_trainer(tmp_path, FromThird, max_steps=9, **SAVES).train()
    assert "Step 5: the gradient of vit is not finite; the loss terms extra_vit = nan" in str(
        error.value
    )
    assert "--bf16" in str(error.value)
    assert problem_of(tmp_path / "checkpoint-2") is None
