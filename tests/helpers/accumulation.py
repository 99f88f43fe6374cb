"""Pairs of every method in which nothing depends on chance, and an optimizer step of them in
micro-batches.
"""

import torch
from conftest import freeze, make_cnn, make_hybrid, make_vit

from ctcl_hf import METHODS, StudentPair

IGNORE = 255
# What divides by where a student is taught, which only each forward knows, is not in these, nor
# what takes the images of a batch together: with them every method's micro-batches make the step of
# one large batch.
BY_LABELS = {
    "ctcl": {"region_divisor": "labelled"},
    "feature_kd": {"statistics_over": "image"},
    "dist": {"statistics_over": "image"},
}


MAKERS = {"cnn": make_cnn, "vit": make_vit, "hybrid": make_hybrid}


def make_pair(name, number=2, **options):
    """Of so many students, by a method with these options."""
    torch.manual_seed(3)
    teachers = (make_vit(), make_cnn())
    torch.manual_seed(0)
    students = {own: MAKERS[own]() for own in list(MAKERS)[:number]}
    if METHODS[name].Options.TEACHERS == "needed":
        options["teachers"] = teachers
    return StudentPair(students, METHODS[name](*students.values(), **options)).double().train()


def frozen_pair(name, **options):
    """In float64; nothing in it depends on the batch, and of classes that are grouped something has
    been counted.
    """
    pair = freeze(make_pair(name, **options))
    if pair.objective.class_groups is not None:
        pair.objective.class_groups.counted.copy_(
            torch.tensor([[90.0, 10, 0], [60, 0, 0], [0, 5, 95]])
        )
    return pair


def batch(ignored):
    """As many images as shares of them to be ignored; their labels come in blocks."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (len(ignored), 3, 64, 96), generator=generator)
    labels = torch.randint(0, 3, (len(ignored), 4, 6), generator=generator)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    for own, share in zip(labels, ignored, strict=True):
        own[torch.rand(own.shape, generator=generator) < share] = IGNORE
    return images, labels.to(torch.uint8)


def step(pair, images, labels, sizes):
    """Loss and terms, averaged over micro-batches of these sizes; gradients, accumulated."""
    images, labels = images.split(sizes), labels.split(sizes)
    averages = {}
    for i, own in enumerate(zip(images, labels, strict=True)):
        pair.objective.micro_batch = i
        output = pair(*own, step_labels=labels if len(sizes) > 1 else None)
        (output.loss / len(sizes)).backward()
        for name, value in (output.terms | {"loss": output.loss.detach()}).items():
            averages[name] = averages.get(name, 0) + value / len(sizes)
    return averages, {name: p.grad for name, p in pair.named_parameters() if p.grad is not None}
