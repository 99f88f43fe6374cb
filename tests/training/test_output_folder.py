"""An output folder that is full, shared, read-only or gone costs its checkpoints alone."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers.training import SAVES, At, make_trainer

from ctcl_hf.training.checkpoints import checkpoints_of, problem_of


@pytest.mark.parametrize(
    "where", ["save_model", "_save_optimizer_and_scheduler", "_save_rng_state"]
)
def test_a_full_disk_costs_that_checkpoint_and_nothing_else(where, tmp_path, caplog):
    trainer = make_trainer(tmp_path, max_steps=4, **SAVES)
    write = getattr(trainer, where)

    def full(folder, *args, **kwargs):
        if trainer.state.global_step in (2, 3):
            Path(folder, "half").parent.mkdir(parents=True, exist_ok=True)
            Path(folder, "half").write_text("half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(folder, *args, **kwargs)

    setattr(trainer, where, full)
    trainer.train()
    assert trainer.state.global_step == 4
    assert [path.name for path in checkpoints_of(tmp_path)] == ["checkpoint-1", "checkpoint-4"]
    assert all(problem_of(path) is None for path in checkpoints_of(tmp_path))
    assert (
        "checkpoint of step 2 could not be saved ([Errno 28] No space left on device)"
        in caplog.text
    )


def test_two_runs_do_not_share_an_output_folder(tmp_path):
    def second():
        with pytest.raises(OSError, match=f"Another run is writing to {tmp_path}"):
            make_trainer(tmp_path).train()

    make_trainer(tmp_path, callbacks=[At("on_step_end", 1, second)], max_steps=2).train()
    make_trainer(tmp_path, max_steps=1).train()  # the lock is gone


@pytest.mark.parametrize("what", ["deleted", "not a folder"])
def test_an_output_folder_that_goes_away_does_not_end_the_training(what, tmp_path, caplog):
    folder = tmp_path / "out"

    def spoil():
        shutil.rmtree(folder)
        if what == "not a folder":
            folder.write_text("")

    trainer = make_trainer(folder, max_steps=4, callbacks=[At("on_step_end", 2, spoil)], **SAVES)
    trainer.train()
    assert trainer.state.global_step == 4
    if what == "deleted":  # it is made anew
        assert [path.name for path in checkpoints_of(folder)] == [
            "checkpoint-2",
            "checkpoint-3",
            "checkpoint-4",
        ]
    else:
        assert "checkpoint of step 3 could not be saved" in caplog.text


def test_an_output_folder_that_turns_read_only_costs_its_checkpoints_and_nothing_else(caplog):
    is_root = os.geteuid() == 0  # whom no mode stops
    with tempfile.TemporaryDirectory() as parent:  # tmp_path can be seen by its owner alone
        os.chmod(parent, 0o755)
        folder = Path(parent, "out")

        def close():
            folder.chmod(0o555)
            if is_root:
                os.seteuid(65534)

        def open_again():
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)

        callbacks = [At("on_step_end", 2, close), At("on_step_end", 4, open_again)]
        try:
            make_trainer(folder, max_steps=5, callbacks=callbacks, **SAVES).train()
        finally:
            open_again()
        assert [path.name for path in checkpoints_of(folder)] == [
            f"checkpoint-{i}" for i in (1, 4, 5)
        ]
    for step in (2, 3):
        assert (
            f"checkpoint of step {step} could not be saved ([Errno 13] Permission denied"
            in caplog.text
        )
