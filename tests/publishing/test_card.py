"""A card says what its run recorded, in metadata that the Hub reads, with a snippet that runs."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import make_cnn, make_data, make_vit
from huggingface_hub import ModelCard

import ctcl_hf
from ctcl_hf import (
    CTCL,
    DML,
    CTCLArguments,
    CTCLTrainer,
    EvaluationTransform,
    StudentPair,
    TrainingTransform,
    Vanilla,
)
from ctcl_hf.base.files import TEMPERATURE
from ctcl_hf.publishing.card import default_name, rewrite_cards
from ctcl_hf.publishing.hub import Repository
from ctcl_hf.publishing.rows import values_of_card
from ctcl_hf.training.record import RunFacts


def make_trainer(folder, method=CTCL, facts=None, **arguments) -> CTCLTrainer:
    data, cnn, vit = make_data(), make_cnn(), make_vit()
    return CTCLTrainer(
        StudentPair({"cnn": cnn, "vit": vit}, method(cnn, vit)),
        CTCLArguments(
            str(folder), use_cpu=True, report_to="none", disable_tqdm=True, max_steps=1, **arguments
        ),
        train_dataset=data.samples("train", TrainingTransform(data.image_size, (64, 64))),
        eval_dataset=data.samples("validation", EvaluationTransform(data.image_size)),
        facts=facts,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trainer after one step and two evaluations, and its folder."""
    folder = tmp_path_factory.mktemp("out")
    PIL.Image.new("RGB", (8, 8)).save(folder / "made.png")
    facts = RunFacts(
        dataset="halves",
        dataset_title="drawn halves",
        dataset_id="artist/halves",
        recipe="tiny",
        command="run_ctcl.py --recipe tiny",
        license="mit",
        figure=folder / "made.png",
    )
    trainer = make_trainer(folder, facts=facts)
    trainer.train()
    trainer.model.students["vit"].origin = "nvidia/mit-b1"
    trainer.model.students["cnn"].config.palette = [[0, 0, 90], [200, 200, 0], [255, 0, 0]]
    trainer.evaluate()
    trainer.evaluate(trainer.eval_dataset, metric_key_prefix="test")
    found = trainer.scores["test"]
    halved = {
        name: replace(scores, mean_iou=scores.mean_iou / 2)
        for name, scores in found.students.items()
    }
    facts.control = {"test": replace(found, students=halved)}
    trainer.save_model()
    return trainer, folder


def test_metadata_is_what_the_hub_reads(trained):
    trainer, folder = trained
    data = ModelCard.load(folder / "vit" / "README.md").data
    assert (data.pipeline_tag, data.library_name, data.license) == (
        "image-segmentation",
        "transformers",
        "mit",
    )
    assert (data.datasets, data.base_model) == (["artist/halves"], "nvidia/mit-b1")
    assert {(result.dataset_type, result.dataset_name) for result in data.eval_results} == {
        ("artist/halves", "halves")
    }
    results = {
        (result.dataset_split, result.metric_type): result.metric_value
        for result in data.eval_results
    }
    assert results == {
        ("test", "mean_iou"): trainer.scores["test"].students["vit"].mean_iou,
        ("test", "accuracy"): trainer.scores["test"].students["vit"].overall_accuracy,
    }
    # nobody said what it started from
    assert ModelCard.load(folder / "cnn" / "README.md").data.base_model is None


def test_the_text_holds_what_was_recorded(trained):
    trainer, folder = trained
    text = (folder / "cnn" / "README.md").read_text()
    count = sum(parameter.numel() for parameter in trainer.model.students["cnn"].model.parameters())
    assert "into 3 classes of drawn halves" in text and f"({count / 1e6:.2f} M parameters)" in text
    assert "| training images | 12 |" in text and "ctcl_hf 0." in text
    assert "trained together with SegFormer" in text
    assert "| steps | 1, each of 4 images |" in text
    assert "| seed | 42 |" in text and "| recipe | tiny |" in text and "torch 2" in text
    assert "hfd 0.1" in text and "kl_direction forward" in text
    scores = trainer.scores["test"].students["cnn"]
    iou = 100 * scores.mean_iou
    assert f"| **cnn**, test | 5 | {iou:.2f} |" in text
    assert f"| cnn trained alone, test | 5 | {iou / 2:.2f} |" in text
    assert f"| dot | {100 * scores.ious['dot']:.2f} |" in text
    assert "Classes by id: 0 left (#00005a), 1 right (#c8c800), 2 dot (#ff0000)." in text
    # whose colours nobody said
    assert "Classes by id: 0 left, 1 right, 2 dot." in (folder / "vit" / "README.md").read_text()
    assert "](figure.png)" in text and (folder / "cnn" / "figure.png").is_file()
    assert "@inproceedings{zhu2023good," in text
    assert "{{" not in text and "None" not in text


def test_data_without_a_title_are_quoted_and_held_out_images_are_told(tmp_path):
    """A card said "12 classes of photos", and of held-out images and files left out nothing."""
    facts = RunFacts(dataset="photos", validation_share=0.2, unusable=1, untaught=["dot"])
    make_trainer(tmp_path, Vanilla, facts).save_model()
    text = (tmp_path / "cnn" / "README.md").read_text()
    assert "into 3 classes of `photos`" in text and "It was trained on `photos`" in text
    assert "| training images | 12; the 5 validation images, a share of 0.2, were held out" in text
    assert "| left out of the data | 1 file that cannot be used, or lacks its counterpart |" in text
    # of which a card said that it "does not occur", in validation
    assert "**No training image shows dot**" in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"as_printed": True}, "| equations | as the paper prints them |"),
        (
            {"pixel_divisor": "taught", "kl_direction": "reverse"},
            "| equations | not as the paper prints them: pixel_classes grouped (printed: "
            "pixel_classes all) |",
        ),
    ],
)
def test_a_card_says_whether_the_equations_are_those_of_the_paper(tmp_path, options, told):
    """It listed five options, whose printed values nobody knows by heart."""
    make_trainer(tmp_path, lambda a, b: CTCL(a, b, **options)).save_model()
    assert told in (tmp_path / "cnn" / "README.md").read_text()
    make_trainer(tmp_path, Vanilla).save_model()
    assert "| equations" not in (tmp_path / "cnn" / "README.md").read_text()


def test_a_card_says_that_a_frozen_model_taught(tmp_path):
    """Its hash stood in the run's record alone."""
    teacher = make_vit()
    make_trainer(tmp_path, lambda a, b: CTCL(a, b, teachers=(teacher, teacher))).save_model()
    text = (tmp_path / "cnn" / "README.md").read_text()
    assert "each learning from the other and from a frozen model, by the method `ctcl`" in text


def test_a_card_tells_of_a_temperature_once_one_was_fitted(trained, tmp_path):
    """config.json held it, and whoever takes logits as the card shows was not told."""
    shutil.copytree(trained[1], tmp_path / "run")
    own = tmp_path / "run" / "vit"
    assert "calibration_temperature" not in (own / "README.md").read_text()
    config = json.loads((own / "config.json").read_text()) | {TEMPERATURE: 1.7}
    (own / "config.json").write_text(json.dumps(config))
    rewrite_cards(tmp_path / "run", {})
    told = "divide its logits by 1.7 (`calibration_temperature` in `config.json`)"
    assert told in (own / "README.md").read_text()
    assert "divide its logits" not in (tmp_path / "run" / "cnn" / "README.md").read_text()


def test_what_was_not_recorded_is_not_said(tmp_path):
    trainer = make_trainer(tmp_path, method=Vanilla)
    trainer.save_model()
    card = ModelCard.load(tmp_path / "cnn" / "README.md")
    assert (
        card.data.datasets is None
        and card.data.eval_results is None
        and card.data.license == "unknown"
    )
    for absent in (
        "## Scores",
        "| steps |",
        "| command |",
        "| recipe |",
        "figure",
        "started from",
        "None",
        "together with",
    ):
        assert absent not in card.text, absent
    assert "The publisher has not stated a license." in card.text


def test_a_card_cites_the_paper_of_its_method(tmp_path):
    """Cards of every method cited CTCL alone."""
    trainer = make_trainer(tmp_path, method=DML)
    trainer.save_model()
    text = (tmp_path / "cnn" / "README.md").read_text()
    assert "@inproceedings{zhang2018deep,\n  title     = {Deep Mutual Learning},\n" in text
    assert "zhu2023good" not in text


def test_scores_are_of_the_saved_weights_or_not_there(tmp_path):
    trainer = make_trainer(tmp_path, facts=RunFacts(dataset="halves"))
    trainer.evaluate()
    trainer.save_model()
    assert "**vit**, validation" in (tmp_path / "vit" / "README.md").read_text()
    trainer.train()  # the weights have moved on
    trainer.save_model()
    assert "## Scores" not in (tmp_path / "vit" / "README.md").read_text()


def test_a_card_can_be_rendered_again_for_another_repository(trained):
    _, folder = trained
    before = (folder / "cnn" / "README.md").read_text()
    rewrite_cards(folder, {"cnn": Repository("me/a"), "vit": Repository("me/b")})
    text = (folder / "cnn" / "README.md").read_text()
    assert (
        text.startswith("---") and 'model="me/a"' in text and "/me/b)" in text and "# a\n" in text
    )
    assert default_name(folder) == "ctcl-halves" and default_name(folder / "cnn") == "cnn"
    rewrite_cards(folder, {})
    assert (folder / "cnn" / "README.md").read_text() == before


def test_cards_of_an_older_version_are_left_as_they_are_and_this_is_told(tmp_path, caplog):
    (tmp_path / "cards.json").write_text("{}")
    rewrite_cards(tmp_path, {"cnn": Repository("me/a")})
    assert "stay as they are: an older version wrote them, without run.json" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["cards.json"]


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_the_snippets_run(trained, name, capsys, tmp_path, monkeypatch):
    """The first one alone was there, and nothing showed how to get at the logits."""
    _, folder = trained
    text = (folder / name / "README.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert all(("trust_remote_code" in snippet) == (name == "cnn") for snippet in snippets)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    for snippet in snippets:
        exec(snippet.replace("PATH/TO/THIS/FOLDER", str(folder / name)), {})
    shown = capsys.readouterr().out
    assert "(60, 40)" in shown, "the masks of the pipeline"
    assert "torch.Size([1, 3, " in shown and "torch.Size([40, 60])" in shown


def test_a_tiny_run_is_told_in_words(trained):
    """A card said "steps | 1 of 4 images", "a rate to decay after 1500 steps of warm-up" of a run
    of one, "1 x 1 threads of a x86_64 CPU", and settings as Python prints them.
    """
    text = (trained[1] / "vit" / "README.md").read_text()
    assert "| steps | 1, each of 4 images |" in text
    assert "the run ended in step 1 of a linear warm-up of 1500, before the rate had" in text
    assert re.search(r"\| hardware \| \d+ threads?, \w+ CPU \|", text)
    assert "times 0.5 to 2, a crop of 64x64, flipped sideways or not |" in text
    assert "hfd on" in text
    training = text[text.index("## Training") : text.index("## Intended use")]
    assert not re.search(r"\[|\{|True|False|None", training)


def test_a_run_that_stopped_early_does_not_claim_the_end_of_its_schedule(trained):
    """A card said that the rate decayed to 0, which was at 0.02 when the run ended."""
    record = trained[0].record()
    assert record["planned_steps"] == record["steps"] == 1
    told = dict(values_of_card(record, "cnn")["training"])
    assert ", decaying to 0 with power 0.9" in told["learning rate"]
    told = dict(values_of_card(record | {"planned_steps": 32}, "cnn")["training"])
    assert told["steps"] == "1 of 32 that were planned, each of 4 images"
    assert ", decaying to 0 at step 32, not reached, with power 0.9" in told["learning rate"]


def test_a_run_on_a_part_of_its_images_says_so(trained):
    """Its scores stood on a card as those of the whole split."""
    record = trained[0].record()
    assert "part of the data" not in dict(values_of_card(record, "cnn")["training"])
    parts = {"train": 16, "scored": 3}
    told = dict(values_of_card(record | {"parts": parts}, "cnn")["training"])["part of the data"]
    assert told == (
        "at most 16 training images, and at most 3 of each split that is scored: its numbers are "
        "no benchmark's"
    )


def test_cards_are_written_where_the_package_is_run_from_its_source_tree():
    """The template lay beside the package, where only an installation found it: training died at
    its first save.
    """
    source = Path(ctcl_hf.__file__).parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r}); "
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in "
        "repr(finder)]; from importlib.resources import files; "
        "print(files('ctcl_hf.publishing').joinpath('student.md').is_file())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
