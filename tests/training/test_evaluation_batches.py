"""What a training evaluates time and again is read once, within a stated memory."""

import pytest
import torch
from conftest import make_data
from helpers.training import make_trainer

from ctcl_hf.training.evaluation_batches import KeptBatches, evaluation_loader
from ctcl_hf.training.samples import samples_for

IMAGES = 5
BYTES = IMAGES * 4 * 64 * 96  # three channels and a label a pixel


@pytest.fixture
def trainer(tmp_path):
    return make_trainer(tmp_path, data=make_data(8, IMAGES), per_device_eval_batch_size=2)


@pytest.fixture
def reads(trainer):
    """How often each sample has been read."""
    samples = trainer.eval_dataset
    counts = dict.fromkeys(range(len(samples)), 0)
    read = samples.read

    def counted(index):
        counts[index] += 1
        return read(index)

    samples.read = counted
    return counts


def scores(trainer):
    return {
        name: value
        for name, value in trainer.evaluate().items()
        if not name.endswith(("_runtime", "_per_second"))
    }


def test_samples_are_read_once_for_all_evaluations_and_give_equal_scores(trainer, reads):
    """They were read, decoded and resized at every one."""
    first = scores(trainer)
    assert scores(trainer) == first
    assert set(reads.values()) == {1}
    trainer.args.per_device_eval_batch_size = 4  # which makes other batches
    again = scores(trainer)
    assert again == pytest.approx(first) and set(reads.values()) == {2}


def test_another_data_set_is_read_each_time(trainer, reads):
    other = make_data(8, 3).samples("validation", trainer.protocol.transform)
    assert not isinstance(trainer.get_eval_dataloader(other), KeptBatches)
    of_ones_own = [dict(other[i]) for i in range(3)]  # which may be changed
    trainer.eval_dataset = of_ones_own
    assert not isinstance(trainer.get_eval_dataloader(), KeptBatches)
    named = {"own": other, "other": make_data(8, 3).samples("validation", other.transform)}
    trainer.eval_dataset = named
    for name, dataset in named.items():
        assert trainer.get_eval_dataloader(name) is trainer.get_eval_dataloader(dataset)


@pytest.mark.parametrize(("most", "times"), [(BYTES, 1), (BYTES - 1, 3)])
def test_nothing_is_kept_beyond_the_stated_memory(most, times, trainer, reads):
    loader = evaluation_loader(samples_for(trainer.model, trainer.eval_dataset), trainer.args)
    batches = KeptBatches(loader, most)
    passes = [list(batches) for _ in range(3)]
    assert set(reads.values()) == {times} and len(batches) == 3
    for other in passes[1:]:
        for one, two in zip(passes[0], other, strict=True):
            assert torch.equal(one["pixel_values"], two["pixel_values"])
            assert all(map(torch.equal, one["labels"], two["labels"]))


def test_what_is_given_may_be_written_to_and_is_kept_as_it_was_read(trainer):
    """A metric of one's own that wrote to labels would have spoiled every later evaluation."""
    batches = trainer.get_eval_dataloader()
    first = [batch["labels"][0].clone() for batch in batches]
    for _ in range(2):
        for labels, batch in zip(first, batches, strict=True):
            assert torch.equal(batch["labels"][0], labels)
            batch["labels"][0].fill_(255)
            batch["pixel_values"].zero_()


def test_what_workers_give_is_kept_without_their_shared_memory(trainer):
    """Each tensor held a file open: some hundred images were "too many open files"."""
    trainer.args.dataloader_num_workers = 1
    batches = trainer.get_eval_dataloader()
    assert {batch["pixel_values"].is_shared() for batch in batches} == {True}
    assert not any(
        tensor.is_shared()
        for batch in batches
        for tensor in (batch["pixel_values"], *batch["labels"])
    )


def test_an_evaluation_that_is_left_keeps_nothing(trainer, reads):
    batches = trainer.get_eval_dataloader()
    next(iter(batches))
    assert sum(len(batch["labels"]) for batch in batches) == IMAGES
    assert reads == {0: 2, 1: 2, 2: 1, 3: 1, 4: 1}
