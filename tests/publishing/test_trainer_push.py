"""A training run that publishes: when, what, and that nothing stops it or is lost."""

import json

import pytest
from conftest import make_cnn, make_data, make_vit

from ctcl_hf import (
    CTCL,
    CTCLArguments,
    CTCLTrainer,
    EvaluationTransform,
    StudentPair,
    TrainingTransform,
)
from ctcl_hf.publishing.background import SNAPSHOTS
from ctcl_hf.publishing.hub import PushError


def make_trainer(folder, **arguments) -> CTCLTrainer:
    data, cnn, vit = make_data(), make_cnn(), make_vit()
    defaults = {
        "max_steps": 4,
        "save_steps": 2,
        "eval_strategy": "no",
        "per_device_train_batch_size": 2,
    }
    return CTCLTrainer(
        StudentPair({"cnn": cnn, "vit": vit}, CTCL(cnn, vit)),
        CTCLArguments(
            str(folder),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            **defaults | {"push_to_hub": True} | arguments,
        ),
        train_dataset=data.samples("train", TrainingTransform(data.image_size, (64, 64))),
        eval_dataset=data.samples("validation", EvaluationTransform(data.image_size)),
    )


def last_weights(folder) -> dict[str, bytes]:
    return {name: (folder / name / "model.safetensors").read_bytes() for name in ("cnn", "vit")}


def assert_last_weights_are_published(hub, folder, prefix) -> None:
    for name, weights in last_weights(folder).items():
        assert hub.files(f"tester/{prefix}-{name}")["model.safetensors"] == weights


@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint", "all_checkpoints"])
def test_strategies_mean_what_they_mean_in_trainer(hub, tmp_path, strategy):
    trainer = make_trainer(tmp_path / "out", hub_strategy=strategy, hub_model_id="run")
    assert {name: repo.repo_id for name, repo in trainer.publisher.repositories.items()} == {
        "cnn": "tester/run-cnn",
        "vit": "tester/run-vit",
    }
    trainer.train()
    commits = trainer.push_to_hub()
    assert commits.keys() == {"cnn", "vit"}
    assert_last_weights_are_published(hub, tmp_path / "out", "run")
    titles = [commit.title for commit in hub.commits("tester/run-cnn")]
    during = [title for title in titles if "in progress" in title]
    assert bool(during) == (strategy != "end")
    steps = {int(title.split()[-1]) for title in during}
    assert steps == {"end": set(), "all_checkpoints": {2, 4}}.get(strategy, steps)
    assert strategy == "end" or max(steps) == 4
    paths = hub.files("tester/run-cnn")
    assert ("last-checkpoint/optimizer.pt" in paths) == (strategy == "checkpoint")
    assert ("checkpoint-2/trainer_state.json" in paths) == (strategy == "all_checkpoints")
    assert not list((tmp_path / "out" / SNAPSHOTS).glob("*"))


def test_what_is_pushed_is_a_whole_model_with_a_card_and_no_token(hub, tmp_path):
    trainer = make_trainer(
        tmp_path / "out",
        hub_token="hf_writer",
        hub_strategy="checkpoint",
        cnn_hub_model_id="my-cnn",
    )
    trainer.train()
    trainer.push_to_hub()
    cnn, vit = hub.files("tester/my-cnn"), hub.files("tester/out-vit")
    expected = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    code = {"configuration_deeplabv3plus.py", "modeling_deeplabv3plus.py"}
    top = {path for path in cnn if "/" not in path}
    assert top == expected | code | {".gitattributes"}
    assert set(vit) == expected | {".gitattributes"}
    assert json.loads(cnn["config.json"])["id2label"] == {"0": "left", "1": "right", "2": "dot"}
    assert b"tester/out-vit" in cnn["README.md"]
    for files in (cnn, vit):
        assert not any(b"hf_writer" in content for content in files.values())
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"hf_writer" in path.read_bytes() for path in kept)


def test_a_hub_that_fails_does_not_stop_training_and_is_told(hub, tmp_path, caplog):
    trainer = make_trainer(tmp_path / "out", hub_strategy="every_save")
    hub.fail("POST", "out-vit/commit", "500", times=100)
    trainer.train()
    assert trainer.state.global_step == 4
    with pytest.raises(PushError, match=r"(?s)out-vit: not pushed.*out-cnn: pushed.*ctcl-hf push"):
        trainer.push_to_hub()
    assert "step 4 was not pushed" in caplog.text
    hub.faults.clear()
    trainer.push_to_hub()
    assert_last_weights_are_published(hub, tmp_path / "out", "out")


def test_what_cannot_be_published_is_told_before_the_first_step(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(PermissionError, match="may not write"):
        make_trainer(tmp_path / "out")


def test_push_to_hub_works_without_having_been_announced(hub, tmp_path):
    trainer = make_trainer(
        tmp_path / "out", push_to_hub=False, hub_model_id="later", hub_private_repo=True
    )
    trainer.push_to_hub(revision=None)
    assert hub.repos["model", "tester/later-vit"].private
    assert_last_weights_are_published(hub, tmp_path / "out", "later")


def test_saving_a_model_pushes_it_as_in_trainer(hub, tmp_path):
    trainer = make_trainer(tmp_path / "out")
    trainer.save_model()
    assert [commit.title for commit in hub.commits("tester/out-vit")] == ["Model save"]
