"""Data sets of anyone's: trained on if they are indexed by number, and refused in a sentence if
not.
"""

import random

import datasets
import numpy as np
import pytest
import torch
from conftest import make_cnn, make_data, make_vit
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from ctcl_hf import (
    CTCLArguments,
    CTCLTrainer,
    EvaluationTransform,
    StudentPair,
    TrainingTransform,
    Vanilla,
)
from ctcl_hf.data import BadSample
from ctcl_hf.training.samples import CheckedSamples

SIZE = (64, 64)


def make_trainer(folder, train_dataset, **options):
    cnn, vit = make_cnn(), make_vit()
    arguments = {
        "per_device_train_batch_size": 2,
        "max_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
    }
    return CTCLTrainer(
        StudentPair({"cnn": cnn, "vit": vit}, Vanilla(cnn, vit)),
        CTCLArguments(str(folder), use_cpu=True, report_to="none", disable_tqdm=True, **arguments),
        train_dataset=train_dataset,
        **options,
    )


def plain(count: int = 4) -> list[dict]:
    samples = make_data(count, 1, SIZE).samples("train", EvaluationTransform(SIZE))
    return [samples[i] for i in range(count)]


class Own(Dataset):
    """A class of the user's, which knows nothing of seeds and epochs."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        sample = plain()[index]
        shifts = random.randint(0, 9), int(np.random.randint(0, 9)), int(torch.randint(0, 9, ()))
        return sample | {
            "pixel_values": sample["pixel_values"].roll(
                shifts[0] + 10 * shifts[1] + 100 * shifts[2]
            )
        }


class Stream(IterableDataset):
    def __iter__(self):
        yield from plain()


def arrow():
    rows = [{name: value.tolist() for name, value in sample.items()} for sample in plain()]
    return datasets.Dataset.from_list(rows)


KINDS = {
    "a list": plain,
    "a datasets.Dataset": arrow,
    "a datasets.Dataset of tensors": lambda: arrow().with_format("torch"),
    "a Subset": lambda: Subset(plain(), [3, 1, 2]),
    "a ConcatDataset": lambda: ConcatDataset(
        [Own(), make_data(2, 1, SIZE).samples("train", TrainingTransform(SIZE, SIZE))]
    ),
    "a class of the user's": Own,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_indexed_by_number_is_trained_and_evaluated_on(kind, tmp_path):
    """The sampler asks by (seed, epoch, index): each of these ended in a bare TypeError."""
    trainer = make_trainer(tmp_path, KINDS[kind](), eval_dataset=KINDS[kind]())
    trainer.train()
    assert trainer.state.global_step == 1
    assert trainer.evaluate()["eval_cnn_loss"] > 0


def test_a_batch_says_which_samples_it_is_of(tmp_path):
    """They were worked out from the sampler's order, as accelerate was thought to share it out."""
    data = make_data(5, 1, SIZE).samples("train", EvaluationTransform(SIZE))
    samples = ConcatDataset([plain(2), Subset(data, [4, 2, 3])])
    trainer = make_trainer(tmp_path, samples)
    batches = list(trainer.get_train_dataloader())
    # of 5, two a batch
    assert len({index for batch in batches for index in batch["index"].tolist()}) == 4
    for batch in batches:
        for index, labels in zip(batch["index"].tolist(), batch["labels"], strict=True):
            assert torch.equal(labels, samples[index]["labels"])


@pytest.mark.parametrize(
    "stream", [Stream, lambda: arrow().to_iterable_dataset(), lambda: iter(plain())]
)
def test_what_is_not_indexed_by_number_is_refused_in_a_sentence(stream, tmp_path):
    for given in (
        {"train_dataset": stream()},
        {"train_dataset": plain(), "eval_dataset": stream()},
    ):
        with pytest.raises(TypeError, match="has no length and is not indexed by number"):
            make_trainer(tmp_path, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: list(s.values()), "it is a list"),
        (lambda s: s | {"name": "x"}, "it has pixel_values, labels, name"),
        (lambda s: {"pixel_values": s["pixel_values"]}, "it has pixel_values"),
        (
            lambda s: s | {"pixel_values": s["pixel_values"].permute(1, 2, 0)},
            r"shapes \(64, 64, 3\) and \(64, 64\)",
        ),
        (lambda s: s | {"labels": s["labels"][None]}, r"and \(1, 64, 64\)"),
        (
            lambda s: s | {"labels": s["labels"][:32]},
            "labels of 32x64 pixels for an image of 64x64",
        ),
        (lambda s: s | {"labels": s["labels"].float()}, r"labels are torch\.float32"),
        (
            lambda s: s | {"labels": torch.full(SIZE, 7)},
            r"labels hold \[7\], neither in 0\.\.2 nor 255",
        ),
        (lambda s: s | {"labels": torch.full(SIZE, -100)}, r"labels hold \[-100\]"),
        (
            lambda s: s | {"pixel_values": s["pixel_values"] / 255},
            "each student normalises them itself",
        ),
        (
            lambda s: s | {"pixel_values": s["pixel_values"] - 128.0},
            "each student normalises them itself",
        ),
    ],
)
def test_a_sample_that_is_not_as_it_should_be_is_told_before_training(change, message, tmp_path):
    with pytest.raises(
        BadSample,
        match=f"Sample 0 of the list cannot be used: .*{message}.* Expected: a dictionary",
    ):
        make_trainer(tmp_path, [change(sample) for sample in plain()])


def test_students_that_leave_out_another_id_than_the_data_does_are_refused(tmp_path):
    """255 was then a class out of range, which ended training in an IndexError of torch's."""
    cnn, vit = make_cnn(), make_vit()
    for student in (cnn, vit):
        student.config.semantic_loss_ignore_index = 254
    pair = StudentPair({"cnn": cnn, "vit": vit}, Vanilla(cnn, vit))
    data = make_data(4, 1, SIZE).samples("train", TrainingTransform(SIZE, SIZE))
    with pytest.raises(ValueError, match="are 255 in the data, but 254 to the students"):
        CTCLTrainer(
            pair, CTCLArguments(str(tmp_path), use_cpu=True, report_to="none"), train_dataset=data
        )


def test_labels_of_every_integer_type_train_alike(tmp_path):
    logs = []
    for dtype in (torch.uint8, torch.int16, torch.int64):
        torch.manual_seed(0)
        trainer = make_trainer(
            tmp_path, [sample | {"labels": sample["labels"].to(dtype)} for sample in plain()]
        )
        logs.append(trainer.train().training_loss)
    assert logs[0] == logs[1] == logs[2]


def test_random_numbers_within_an_item_are_the_keys_alone():
    """Else a resumed run would see other images than the undisturbed one."""
    samples = CheckedSamples(Own(), 3, 255)
    first = samples[0, 1, 2]["pixel_values"]
    outside = torch.rand(1), np.random.rand(), random.random()
    assert torch.equal(samples[0, 1, 2]["pixel_values"], first)
    others = [samples[key]["pixel_values"] for key in ((0, 2, 2), (1, 1, 2))]
    assert not any(torch.equal(first, other) for other in others)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    samples[0, 1, 2]
    assert (torch.rand(1), np.random.rand(), random.random()) == expected != outside


def test_samples_of_a_subset_are_augmented_anew_in_every_epoch():
    """By their number alone they would be augmented alike in all."""
    samples = make_data(4, 1, SIZE).samples("train", TrainingTransform(SIZE, (32, 32)))
    part = CheckedSamples(ConcatDataset([Subset(samples, [2]), Subset(samples, [0, 1])]), 3, 255)
    assert torch.equal(part[0, 3, 2]["pixel_values"], samples[0, 3, 1]["pixel_values"])
    assert not torch.equal(part[0, 3, 2]["pixel_values"], part[0, 4, 2]["pixel_values"])
    assert part.name(2) == "sample 2"  # embedded without a file
    samples.stored = lambda index: {"image": {"bytes": None, "path": f"street {index}.png"}}
    assert part.name(2) == "street 1.png"
