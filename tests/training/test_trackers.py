"""Trackers and callbacks that fail."""

import pytest
from helpers.training import At, make_trainer
from transformers import TrainerCallback


def test_a_tracker_whose_server_is_down_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    calls = []

    class StreetTracker(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            calls.append("begin")

        def on_log(self, args, state, control, **kwargs):
            calls.append("log")
            raise ConnectionError("the tracker's server is down")

    StreetTracker.__module__ = "transformers.integrations.street"
    monkeypatch.setattr(
        "transformers.trainer.get_reporting_integration_callbacks",
        lambda report_to: [StreetTracker],
    )
    trainer = make_trainer(tmp_path, max_steps=3)
    trainer.train()
    assert trainer.state.global_step == 3 and calls == ["begin", "log"]
    assert (
        caplog.text.count("StreetTracker failed (ConnectionError: the tracker's server is down)")
        == 1
    )


def test_a_callback_of_ones_own_may_end_the_training(tmp_path):
    def fail():
        raise ConnectionError("mine")

    with pytest.raises(ConnectionError, match="mine"):
        make_trainer(tmp_path, max_steps=3, callbacks=[At("on_step_end", 1, fail)]).train()
