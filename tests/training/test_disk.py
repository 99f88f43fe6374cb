"""Room for the end of a run is set aside before it begins."""

import errno

import pytest
from helpers.training import At, make_trainer

from ctcl_hf.training.guards import disk
from ctcl_hf.training.saving import ROOM_FILE


def test_room_for_the_students_is_kept_while_they_train_and_is_free_when_they_are_saved(tmp_path):
    """Without checkpoints, a disk that others filled meanwhile cost the training."""
    kept = []
    seen = At("on_step_end", 2, lambda: kept.append((tmp_path / ROOM_FILE).stat().st_size))
    trainer = make_trainer(tmp_path, callbacks=[seen])
    trainer.train()
    assert not (tmp_path / ROOM_FILE).exists()
    trainer.save_model()
    saved = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert saved < kept[0] < saved + 2 * disk.SMALL_FILES


def test_a_disk_without_room_for_the_end_is_told_before_the_first_step(tmp_path, monkeypatch):
    def full(file, size):
        file.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "_fill", full)
    trainer = make_trainer(tmp_path, callbacks=[At("on_step_begin", 0, pytest.fail)])
    with pytest.raises(OSError, match=r"needs \d+ MB in .*\(No space left on device\)\. Make room"):
        trainer.train()
    assert not (tmp_path / ROOM_FILE).exists()
