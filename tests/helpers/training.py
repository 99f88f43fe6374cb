"""Trainers of small pairs, what they log and end with, and what happens to them on the way."""

import os

import torch
from conftest import freeze, make_cnn, make_data, make_vit
from transformers import TrainerCallback

from ctcl_hf import (
    CTCL,
    KDCL,
    METHODS,
    CTCLArguments,
    CTCLTrainer,
    EvaluationTransform,
    StudentPair,
    TrainingTransform,
)

SIZE = (64, 96)
SAVES = {"save_strategy": "steps", "save_steps": 1}


def make_trainer(
    folder, objective=CTCL, data=None, callbacks=None, size=SIZE, crop=(64, 64), **arguments
):
    data = data or make_data()
    torch.manual_seed(0)
    cnn, vit = (make(len(data.class_names), size) for make in (make_cnn, make_vit))
    pair = StudentPair({"cnn": cnn, "vit": vit}, objective(cnn, vit))
    defaults = {
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "vit_warmup_steps": 2,
        "seed": 3,
    }
    args = CTCLArguments(str(folder), **(defaults | arguments))
    return CTCLTrainer(
        pair,
        args,
        train_dataset=data.samples("train", TrainingTransform(size, crop)),
        eval_dataset=data.samples("validation", EvaluationTransform(size)),
        callbacks=callbacks,
    )


def frozen_trainer(folder, method, images_per_process, options, **arguments):
    """Nothing in it depends on the process: BatchNorm is frozen, and nothing is dropped.

    Of every four images one is without a label and one half without, so that processes and
    micro-batches count different places.
    """
    trainer = make_trainer(
        folder,
        lambda a, b: METHODS[method](a, b, **options),
        data=make_data(8, 3),
        max_steps=4,
        cnn_lr=0.02,
        per_device_train_batch_size=images_per_process,
        max_grad_norm=1.0,
        **arguments,
    )
    freeze(trainer.model)
    samples = trainer.train_dataset
    read = samples.read

    def partly_labelled(index):
        image, labels = read(index)
        if index % 4 == 0:
            labels[:] = 255
        if index % 4 == 1:
            labels[:, ::2] = 255
        return image, labels

    samples.read = partly_labelled
    return trainer


def general_kdcl(a, b):
    return KDCL(a, b, kdcl_target="general")


def training_logs(trainer):
    return [log for log in trainer.state.log_history if "ce_cnn" in log]


def comparable(trainer):
    """The log but for speeds, and for the summaries at a run's end."""
    return [
        {k: v for k, v in log.items() if not k.endswith(("runtime", "per_second"))}
        for log in trainer.state.log_history
        if "train_runtime" not in log
    ]


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_equal_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


class At(TrainerCallback):
    """Does something at an event of a step."""

    def __init__(self, event, step, action):
        self.step, self.action = step, action
        setattr(self, event, self.act)

    def act(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def send(number):
    return lambda: os.kill(os.getpid(), number)
