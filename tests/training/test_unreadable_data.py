"""Data that cannot be read loses no step."""

import os
import signal

import pytest
from conftest import make_data
from helpers.training import SIZE, At, assert_equal_weights, comparable, make_trainer, weights

from ctcl_hf import EvaluationTransform, SegmentationSamples, TrainingTransform
from ctcl_hf.data import BadSample
from ctcl_hf.training.checkpoints import find_checkpoint


class Failing(SegmentationSamples):
    """Cannot read one image, as long as a file is there."""

    def __init__(self, rows, num_classes, transform, broken, flag, kill=False):
        super().__init__(rows, num_classes, transform)
        self.broken, self.flag, self.kill = broken, flag, kill

    def read(self, index):
        if index == self.broken and self.flag.exists():
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise BadSample(f"Cannot read sample {index} (street.png): image file is truncated")
        return super().read(index)


@pytest.mark.parametrize(("workers", "kill"), [(0, False), (1, False), (1, True)])
def test_training_data_that_cannot_be_read_loses_no_step(workers, kill, undisturbed, tmp_path):
    data = make_data(12, 3)
    options = {"max_steps": 5, "cnn_lr": 0.05, "logging_steps": 2}
    expected = undisturbed(images=(12, 3), **options)
    order = [index for _, _, index in expected.train_sampler]  # of the second epoch

    flag = tmp_path / "broken"
    flag.touch()

    def trainer():
        made = make_trainer(tmp_path / "two", data=data, dataloader_num_workers=workers, **options)
        transform = TrainingTransform(SIZE, (64, 64))
        made.train_dataset = Failing(data.splits["train"], 3, transform, order[5], flag, kill)
        made.train_sampler.epoch = 0
        return made

    # The image is in the first epoch too: it breaks once that is over.
    flag.unlink()
    failing = trainer()
    failing.add_callback(At("on_step_end", 2, flag.touch))
    said = (
        "DataLoader worker .*(killed by signal|exited unexpectedly).*"
        if kill
        else "street.png.: image file is truncated"
    )
    with pytest.raises(
        OSError, match=f"could not be read after step [34].*{said}.*What was trained is saved"
    ):
        failing.train()
    flag.unlink()
    checkpoint = find_checkpoint(str(tmp_path / "two"), "auto")
    assert int(checkpoint.rpartition("-")[2]) == failing.state.global_step >= 3
    resumed = trainer()
    resumed.train(resume_from_checkpoint=checkpoint)
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_evaluation_image_that_cannot_be_read_loses_no_step(workers, undisturbed, tmp_path):
    data, flag = make_data(12, 3), tmp_path / "broken"
    options = {"max_steps": 5, "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    expected = undisturbed(images=(12, 3), **options)

    def trainer():
        made = make_trainer(tmp_path / "two", data=data, dataloader_num_workers=workers, **options)
        made.eval_dataset = Failing(
            data.splits["validation"], 3, EvaluationTransform(SIZE), 1, flag
        )
        return made

    flag.touch()
    said = (
        "evaluation data could not be read after step 2: Cannot read sample 1 .*truncated. What "
        "was trained is saved"
    )
    with pytest.raises(OSError, match=said):
        trainer().train()
    with pytest.raises(OSError, match=said):  # the evaluation is owed
        trainer().train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "two"), "auto"))
    flag.unlink()
    resumed = trainer()
    resumed.train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "two"), "auto"))
    assert comparable(resumed) == comparable(expected)
    assert_equal_weights(weights(resumed), weights(expected))
