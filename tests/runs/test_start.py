"""What is said before a run starts: of its output folder, of what is missing, of its data."""

import json
import shutil

import pytest
from helpers.runs import few_images, prepared

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.runs.run import prepare
from ctcl_hf.runs.start import check_places, checkpoint_for

DEMO = ["--recipe", "demo", "--use_cpu"]


@pytest.fixture
def folder(tmp_path):
    """Of a run that came to its end."""
    run = tmp_path / "run"
    (run / "cnn").mkdir(parents=True)
    (run / "cnn" / "config.json").write_text("{}")
    state = {"global_step": 4, "max_steps": 4, "log_history": []}
    (run / "trainer_state.json").write_text(json.dumps(state))
    command = "ctcl-hf train --recipe demo --use_cpu --cnn_lr 0.2 --bf16 --output_dir elsewhere"
    (run / "run.json").write_text(json.dumps({"command": command}))
    (tmp_path / "run-2").mkdir()
    return run


def refused(folder, *given):
    arguments = parse_arguments("", [*DEMO, "--output_dir", str(folder), *given])
    with pytest.raises(ValueError, match="already holds a run") as raised:
        checkpoint_for(arguments.training, arguments.command)
    return str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--output_dir", "file"], "--output_dir file is a file: give a folder."),
        (["--output_dir", "/proc/x"], "--output_dir /proc/x: nothing can be written into /proc"),
        (["--teachers", "empty", "--method", "offline_kd"], "--teachers empty: no students there."),
        (["--encoder_weights", "nix.pth"], "--encoder_weights nix.pth: there is no such file."),
        (["--push_to_hub"], "Publishing needs a token of the Hugging Face Hub with write access"),
    ],
)
def test_what_is_missing_is_told_before_data_are_read(tmp_path, monkeypatch, given, message):
    """It was told after the data were checked and the students built, half a minute later."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctcl_hf.publishing.hub.get_token", lambda: None)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError)) as raised:
        check_places(parse_arguments("", [*DEMO, "--output_dir", "new", *given]))
    assert str(raised.value).startswith(message)


def test_a_finished_run_may_be_published_already_and_needs_no_token(folder, monkeypatch):
    monkeypatch.setattr("ctcl_hf.publishing.hub.get_token", lambda: None)
    check_places(parse_arguments("", [*DEMO, "--output_dir", str(folder), "--push_to_hub"]))


def test_it_says_how_far_that_run_has_come_what_differs_and_which_folder_is_free(folder):
    """It was told neither that the run was finished, nor that the rate was another."""
    told = refused(folder, "--cnn_lr=0.1")
    assert "which has come to step 4" in told and "--resume_from_checkpoint auto" in told
    assert f"such as {folder}-3." in told
    assert "differs by --cnn_lr (0.2 there, 0.1 here), --bf16 (set there, not given here)." in told
    (folder / "results.json").write_text("{}")
    told = refused(folder, "--cnn_lr", "0.2", "--bf16")
    assert "finished after 4 steps. To train anew, choose another --output_dir" in told
    assert told.endswith("It has the same arguments.")


def test_crops_that_are_mostly_padding_are_told(tmp_path, caplog):
    """`--image_size 64 96 --crop_size 512 512` trained on 96 % padding, without a word."""
    prepared(tmp_path / "run", "--crop_size", "128")
    assert "% of the crops will be padding" in caplog.text
    assert "crops of 128x128 are large beside images of 32x48." in caplog.text
    caplog.clear()
    prepared(tmp_path / "run")
    assert "padding" not in caplog.text


def test_what_does_not_pair_and_what_cannot_be_read_are_told_at_once(tmp_path):
    """Training told of a missing mask, then of nothing to validate on, and then of bad files."""
    few_images(tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos" / "validation")
    (tmp_path / "photos" / "train" / "masks" / "1.png").unlink()
    (tmp_path / "photos" / "train" / "images" / "2.jpg").write_bytes(b"no image")
    own = ["--dataset_name", str(tmp_path / "photos"), "--class_names", "ground", "tree", "water"]
    with pytest.raises(ValueError, match=r"(?s)1 image without.*to validate on.*2\.jpg"):
        prepare(parse_arguments("", [*DEMO, *own, "--output_dir", str(tmp_path / "run")]))


def test_too_few_images_are_told_with_what_to_give_and_what_is_wrong_with_those(tmp_path):
    few_images(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "images" / "2.jpg").write_bytes(b"no image")
    own = ["--dataset_name", str(tmp_path / "photos"), "--class_names", "ground", "tree", "water"]
    many = ["--per_device_train_batch_size", "9", "--output_dir", str(tmp_path / "run")]
    few = r"^8 training .* Give --per_.*_size, from 2 to 8\.\nCannot read sample 2 \(.*2\.jpg\)"
    with pytest.raises(ValueError, match=few):
        prepare(parse_arguments("", [*DEMO, *own, *many]))
