"""A prepared data set on its way to the Hub: what can be known is told before the work."""

import pytest
from helpers.commands import run
from helpers.runs import few_images


@pytest.fixture
def prepare(tmp_path):
    """Runs `ctcl-hf prepare` of a few photos; its result."""
    few_images(tmp_path / "photos")

    def prepared(*arguments):
        names = ("--class_names", "ground", "tree", "water")
        command = ("prepare.py", tmp_path / "photos", *names, "--out", tmp_path / "shards")
        return run(*command, *arguments)

    return prepared


def test_a_prepared_folder_is_pushed_whole(prepare, hub, tmp_path):
    done = prepare("--push_to_hub", "tester/photos", "--private")
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/datasets/tester/photos" in done.stdout
    assert "2 shards" in done.stdout
    there = hub.files("tester/photos", kind="dataset")
    assert there.keys() >= {
        "README.md",
        "id2label.json",
        "data/train-00000.parquet",
        "data/validation-00000.parquet",
    }
    assert hub.repos["dataset", "tester/photos"].private


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("photos", "hf_writer", "--push_to_hub photos: expected USER/NAME"),
        ("tester/my photos", "hf_writer", "--push_to_hub tester/my photos: expected USER/NAME"),
        ("other/photos", "hf_writer", "may not write to other/photos"),
        ("tester/photos", "hf_wrong", "does not accept this token"),
    ],
)
def test_what_cannot_be_pushed_is_told_before_files_are_read(
    prepare, hub, tmp_path, monkeypatch, name, token, message
):
    """It was a traceback once all shards were written, and the same command refused the folder."""
    monkeypatch.setenv("HF_TOKEN", token)
    done = prepare("--push_to_hub", name)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert message in done.stderr
    assert not (tmp_path / "shards").exists()


def test_a_folder_whose_push_failed_says_how_it_is_pushed(prepare, hub, tmp_path):
    hub.fail("POST", "photos/commit", "500", times=100)
    line = f"hf upload tester/photos {tmp_path / 'shards'} . --repo-type dataset"
    for said in ("is whole. To push it: ", "exists already: give a new folder. To push what lies"):
        done = prepare("--push_to_hub", "tester/photos")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert said in done.stderr and line in done.stderr
    assert (tmp_path / "shards" / "README.md").is_file()


def test_a_folder_that_is_not_pushed_cannot_be_private(prepare, tmp_path):
    """`--private` alone was taken, without a word."""
    done = prepare("--private")
    assert done.returncode == 2
    assert "--private has no effect without --push_to_hub." in done.stderr
    assert not (tmp_path / "shards").exists()
