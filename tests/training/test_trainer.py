"""CTCLTrainer: what it optimises, logs, evaluates, saves and resumes."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from helpers.training import (
    SIZE,
    assert_equal_weights,
    general_kdcl,
    make_trainer,
    training_logs,
    weights,
)
from torch.nn.modules.dropout import _DropoutNd
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, TrainerCallback
from transformers.models.segformer.modeling_segformer import SegformerDropPath

from ctcl_hf import (
    CTCL,
    CWD,
    DML,
    IFVD,
    KDCL,
    CTCLArguments,
    CTCLTrainer,
    MeanIoU,
    Objective,
    OfflineKD,
    StudentTerms,
    Vanilla,
    build_synthetic,
)
from ctcl_hf.data.benchmarks.synthetic import SCENE_CLASSES
from ctcl_hf.methods import DistillationOptions
from ctcl_hf.scoring.predict import class_map
from ctcl_hf.training.reproducibility import seed_micro_batch


def test_every_term_of_both_students_is_logged_under_its_name(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    terms = [
        "ce",
        "hfd",
        "region",
        "pixel",
        "teaches_pixels",
        "teaches_regions",
        "region_spread",
        "lr",
        "grad_norm",
    ]
    for log in training_logs(trainer):
        for key in [f"{term}_{name}" for term in terms for name in ("cnn", "vit")] + [
            "aux_cnn",
            "loss",
        ]:
            assert math.isfinite(log[key]), key
        assert "aux_vit" not in log
        assert "learning_rate" not in log
        assert log["teaches_pixels_cnn"] + log["teaches_pixels_vit"] == pytest.approx(1)
        own = {"ce": 1, "aux": 0.4, "hfd": 0.1, "region": 1, "pixel": 1}
        total = sum(
            w * log.get(f"{term}_{name}", 0) for term, w in own.items() for name in ("cnn", "vit")
        )
        assert log["loss"] == pytest.approx(total, rel=1e-5)


def test_logged_rates_are_those_of_the_step_and_follow_each_students_schedule(tmp_path):
    trainer = make_trainer(tmp_path, cnn_lr=0.1, vit_lr=0.01)
    trainer.train()
    logs = training_logs(trainer)
    assert [log["lr_cnn"] for log in logs] == pytest.approx(
        [0.1 * (1 - step / 4) ** 0.9 for step in range(4)]
    )
    expected = [0.01 * min((step + 1) / 3, 1) * (1 - step / 4) for step in range(4)]
    assert [log["lr_vit"] for log in logs] == pytest.approx(expected)


def drop_nothing(model):
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, SegformerDropPath):
            module.drop_prob = 0.0


def label_all(samples):
    augment = samples.transform

    def labelled(*given, **named):
        image, labels = augment(*given, **named)
        return image, labels.masked_fill(labels == 255, 0)  # padding, too

    samples.transform = labelled


def test_logged_terms_are_means_over_steps_and_accumulation(tmp_path):
    frozen = {"cnn_lr": 0.0, "vit_lr": 0.0, "data": make_data(32, 1)}
    every = make_trainer(tmp_path / "a", max_steps=8, **frozen)
    pooled = make_trainer(
        tmp_path / "b", max_steps=4, logging_steps=2, gradient_accumulation_steps=2, **frozen
    )
    for trainer in (every, pooled):
        # it is keyed by the step, and the two runs would drop other channels
        drop_nothing(trainer.model)
        label_all(trainer.train_dataset)  # so that the micro-batches of a step weigh alike
        trainer.train()
    # The same eight micro-batches: one a step, and two a step with a log every second step.
    logs = training_logs(pooled)
    assert [log["step"] for log in logs] == [2, 4]
    for log, part in zip(logs, (training_logs(every)[:4], training_logs(every)[4:]), strict=True):
        for key in ("ce_cnn", "aux_cnn", "ce_vit", "hfd_vit"):
            assert log[key] == pytest.approx(np.mean([one[key] for one in part]), rel=1e-5), key
        assert log["loss"] == pytest.approx(
            sum(
                weight * log.get(f"{term}_{name}", 0)
                for term, weight in {
                    "ce": 1,
                    "aux": 0.4,
                    "hfd": 0.1,
                    "region": 1,
                    "pixel": 1,
                }.items()
                for name in ("cnn", "vit")
            ),
            rel=1e-5,
        )


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


def test_both_students_learn(tmp_path):
    trainer = make_trainer(
        tmp_path,
        CTCL,
        max_steps=60,
        cnn_lr=0.05,
        vit_lr=2e-3,
        vit_head_lr_multiplier=1.0,
        data=make_data(24, 4),
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    logs = training_logs(trainer)
    for name in ("cnn", "vit"):
        first, last = (
            np.mean([log[f"ce_{name}"] for log in part]) for part in (logs[:5], logs[-5:])
        )
        assert last < 0.7 * first
        # 0 at a step before which its peer could tell no two classes apart.
        assert all(log[f"pixel_{name}"] >= 0 for log in logs)
        assert after[f"eval_{name}_overall_accuracy"] > max(
            0.9, before[f"eval_{name}_overall_accuracy"]
        )


def taught_offline(a, b):
    torch.manual_seed(1)
    return OfflineKD(
        a, b, teachers=(make_vit(len(SCENE_CLASSES), SIZE), make_cnn(len(SCENE_CLASSES), SIZE))
    )


class Agreement(Objective):
    """A user's own method: the students' logits approach each other."""

    Options = DistillationOptions

    def __init__(self, a, b):
        super().__init__(a, b, distillation_warmup=0.5)
        for own in self.weights:
            own["agreement"] = 0.1

    def forward(self, a, b, labels):
        terms = []
        for learner, peer in ((a, b), (b, a)):
            losses = self.segmentation_terms(learner, labels)
            losses["agreement"] = (learner.logits - peer.logits.detach()).square().mean()
            terms.append(StudentTerms(losses, {}))
        return terms[0], terms[1]


@pytest.fixture(scope="module")
def scenes():
    return build_synthetic(num_train=24, num_validation=4, height=SIZE[0], width=SIZE[1])


@pytest.mark.parametrize(
    ("method", "term"),
    [
        (Vanilla, "ce"),
        (DML, "kl"),
        (KDCL, "kl"),
        (general_kdcl, "kl"),
        (taught_offline, "kl"),
        (IFVD, "ifv"),
        (CWD, "channel"),
        (Agreement, "agreement"),
    ],
)
def test_every_other_method_and_ones_own_lowers_both_cross_entropies_on_street_scenes(
    tmp_path, scenes, method, term
):
    trainer = make_trainer(
        tmp_path,
        method,
        data=scenes,
        max_steps=20,
        cnn_lr=0.1,
        vit_lr=1e-2,
        vit_head_lr_multiplier=1.0,
    )
    trainer.train()
    logs = training_logs(trainer)
    for name in ("cnn", "vit"):
        first, last = (
            np.mean([log[f"ce_{name}"] for log in part]) for part in (logs[:5], logs[-5:])
        )
        assert last < 0.9 * first
        assert all(log[f"{term}_{name}"] >= 0 for log in logs) and logs[-1][f"{term}_{name}"] > 0


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


@pytest.mark.parametrize(
    ("accumulation", "workers", "save_at"), [(1, 0, 3), (1, 0, 4), (2, 0, 1), (1, 2, 2)]
)  # of 3 batches an epoch: at its end and within it
def test_a_resumed_run_ends_as_the_undisturbed_one(tmp_path, accumulation, workers, save_at):
    arguments = {
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": save_at,
        "gradient_accumulation_steps": accumulation,
        "dataloader_num_workers": workers,
    }
    whole = make_trainer(tmp_path / "whole", **arguments)
    whole.train()
    resumed = make_trainer(tmp_path / "resumed", **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{save_at}"))
    assert_equal_weights(weights(whole), weights(resumed))
    wanted, got = training_logs(whole)[save_at:], training_logs(resumed)[save_at:]
    assert [log["ce_cnn"] for log in wanted] == [log["ce_cnn"] for log in got]


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


def test_the_best_students_are_loaded_at_the_end(tmp_path):
    trainer = make_trainer(
        tmp_path,
        max_steps=4,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        save_total_limit=1,
        cnn_lr=0.5,
    )
    trainer.train()
    evaluations = [log for log in trainer.state.log_history if "eval_mean_iou" in log]
    found = trainer.evaluate()
    for key in ("eval_cnn_mean_iou", "eval_vit_mean_iou"):
        assert found[key] == pytest.approx(max(log[key] for log in evaluations), abs=1e-12)


def test_dataloader_workers_change_nothing(tmp_path):
    results = []
    for workers in (0, 2):
        trainer = make_trainer(tmp_path / str(workers), dataloader_num_workers=workers, max_steps=5)
        trainer.train()
        results.append(weights(trainer))
    assert_equal_weights(*results)


def test_bfloat16_trains(tmp_path):
    trainer = make_trainer(tmp_path, bf16=True)
    trainer.train()
    assert all(math.isfinite(log["loss"]) for log in training_logs(trainer))
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's last checkpoint, which nothing here changes."""
    folder = tmp_path_factory.mktemp("saved")
    make_trainer(folder, save_strategy="steps", save_steps=2, max_steps=2).train()
    return folder / "checkpoint-2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: _rename(folder / "cnn", folder / "swap"),
            "student folder 'cnn' is missing",
        ),
        (lambda folder: _swap(folder / "cnn", folder / "vit"), "its model_type is 'segformer'"),
        (
            lambda folder: (folder / "objective.safetensors").unlink(),
            "holds nothing, and CTCL needs class_groups.*projec",
        ),
        (
            lambda folder: _edit(folder / "cnn", "output_stride", 8),
            "its output_stride is 8, this run's is 16",
        ),
    ],
)
def test_a_checkpoint_of_other_students_is_refused(saved, tmp_path, change, message):
    shutil.copytree(saved, tmp_path / "checkpoint-2")
    change(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path / "again").train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-2")
        )


def _edit(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cnn_lr": 1.0}, r"--cnn_lr: 0\.0025 before, 1\.0 now"),
        ({"seed": 4}, r"--seed: 3 before, 4 now"),
        (
            {"per_device_train_batch_size": 2},
            r"--per_device_train_batch_size: 4 before, 2 now",
        ),
        (
            {"objective": lambda a, b: CTCL(a, b, alpha=0.5)},
            r"--alpha: 1\.0 before, 0\.5 now",
        ),
    ],
)
def test_a_run_does_not_go_on_with_other_arguments_than_it_was_begun_with(
    saved, tmp_path, other, message
):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, max_steps=2, **other).train(resume_from_checkpoint=str(saved))


def test_a_warmup_that_takes_much_of_the_training_is_told(tmp_path, caplog):
    make_trainer(
        tmp_path / "short", max_steps=5, vit_warmup_steps=2
    ).create_optimizer_and_scheduler(5)
    assert "learning rate of vit rises over 2 steps, and there are 5" in caplog.text
    caplog.clear()
    make_trainer(tmp_path / "long", max_steps=6, vit_warmup_steps=2).create_optimizer_and_scheduler(
        6
    )
    assert not caplog.text


def test_a_checkpoint_with_projections_is_refused_by_a_method_without(saved, tmp_path):
    with pytest.raises(
        ValueError, match=r"it holds class_groups.*projections.*Vanilla needs nothing"
    ):
        make_trainer(tmp_path, Vanilla).train(resume_from_checkpoint=str(saved))


def _rename(old, new):
    old.rename(new)


def _swap(first, second):
    first.rename(first.parent / "third")
    second.rename(first)
    (first.parent / "third").rename(second)


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
