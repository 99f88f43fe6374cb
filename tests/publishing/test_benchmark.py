"""`ctcl-hf push --benchmark`: a score on the Hub's leaderboard where a benchmark is registered, and
nowhere else.
"""

import json
import shutil
import sys

import pytest
import yaml
from conftest import make_data
from helpers.training import make_trainer
from huggingface_hub import constants, parse_eval_result_entries
from publishing.server import File, Repo

from ctcl_hf import Vanilla
from ctcl_hf.cli import push as command
from ctcl_hf.publishing.card import RECORD_FILE, rewrite_cards
from ctcl_hf.training.record import RunFacts

REGISTRATION = b"""
name: Halves
evaluation_framework: ctcl-hf
tasks:
  - {id: halves_miou, config: default, split: test}
  - {id: halves_hidden, config: default, split: hidden}
  - {id: halves_validation, config: default, split: validation}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run on a data set of the Hub, scored on its test and validation images."""
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(folder, Vanilla, make_data(4, 2), max_steps=1)
    trainer.facts = RunFacts(
        dataset="halves",
        dataset_id="artist/halves",
        command="ctcl-hf train --dataset_name artist/halves",
        protocol="whole images at 64x96",
    )
    trainer.train()
    for split in ("validation", "test"):
        trainer.evaluate(metric_key_prefix=split)
    trainer.save_model()
    return folder


@pytest.fixture
def push(trained, hub, tmp_path, monkeypatch):
    """Pushes a copy of the run; its folder."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    # made of the endpoint when it was imported
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def pushed(*words, **changed):
        record = json.loads((folder / RECORD_FILE).read_text()) | changed
        (folder / RECORD_FILE).write_text(json.dumps(record))
        monkeypatch.setattr(sys, "argv", ["ctcl-hf push", str(folder), *words])
        command.main()
        return folder

    return pushed


def register(hub, content=REGISTRATION):
    repo = hub.repos["dataset", "artist/halves"] = Repo()
    hub.new_commit(
        repo, "main", "initial commit", {"eval.yaml": File.blob(content)} if content else {}
    )


def test_each_students_mean_iou_goes_beside_its_card_as_the_hub_reads_it(push, hub):
    register(hub)
    folder = push("--benchmark", "halves_miou", "percent")
    scores = json.loads((folder / RECORD_FILE).read_text())["scores"]["test"]["students"]
    for name in ("cnn", "vit"):
        file = hub.files(f"tester/vanilla-halves-{name}")[".eval_results/halves.yaml"]
        (entry,) = parse_eval_result_entries(yaml.safe_load(file))
        assert (entry.dataset_id, entry.task_id) == ("artist/halves", "halves_miou")
        assert entry.value == pytest.approx(100 * scores[name]["mean_iou"], abs=1e-6)
        assert entry.notes == "mean IoU, percent; test: whole images at 64x96"


def test_a_card_that_is_written_again_leaves_no_score_of_an_earlier_one(push, hub):
    register(hub)
    folder = push("--benchmark", "halves_miou", "share")
    assert (folder / "cnn" / ".eval_results" / "halves.yaml").is_file()
    rewrite_cards(folder, {})
    assert not (folder / "cnn" / ".eval_results").exists()


@pytest.mark.parametrize(
    ("words", "content", "changed", "message"),
    [
        (("halves_miou", "points"), REGISTRATION, {}, "expected percent or share after the task"),
        (
            ("halves", "share"),
            REGISTRATION,
            {},
            "artist/halves has the tasks halves_miou, ",
        ),
        (("halves_hidden", "share"), REGISTRATION, {}, "scored on hidden, and the run on validati"),
        (("halves_miou", "share"), None, {}, "artist/halves is registered as no benchmark on"),
        (("halves_miou", "share"), b"tasks: [3]", {}, "eval.yaml of artist/halves lists no tasks"),
        (
            ("halves_miou", "share"),
            REGISTRATION,
            {"dataset_id": None},
            "are no data set of the",
        ),
        (
            ("halves_miou", "share"),
            REGISTRATION,
            {"command": "ctcl-hf train --max_eval_samples 2 --skip_bad"},
            "the run on a part of the data (--max_eval_samples, --skip_bad)",
        ),
        (  # which the command line takes as well, and was published
            ("halves_miou", "share"),
            REGISTRATION,
            {"command": "ctcl-hf train --max-eval-samples=2"},
            "the run on a part of the data (--max_eval_samples)",
        ),
        (
            ("halves_validation", "share"),
            REGISTRATION,
            {"validation_share": 0.1},
            "the run on a part of the data (--validation_share)",
        ),
    ],
)
def test_a_score_of_no_registered_benchmark_is_refused_and_nothing_is_pushed(
    push, hub, words, content, changed, message
):
    register(hub, content)
    with pytest.raises(SystemExit) as refused:
        push("--benchmark", *words, **changed)
    assert message in str(refused.value)
    assert list(hub.repos) == [("dataset", "artist/halves")]


def test_a_hub_that_does_not_answer_is_not_taken_for_one_without_the_benchmark(push, hub):
    register(hub)
    hub.fail("HEAD", "eval.yaml", "503", times=100)
    hub.fail("GET", "eval.yaml", "503", times=100)
    with pytest.raises(SystemExit) as refused:
        push("--benchmark", "halves_miou", "share")
    assert "registered as no benchmark" not in str(refused.value)
