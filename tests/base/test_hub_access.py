"""Where the Hub does not answer, that is told in seconds, and what the cache holds is used."""

import socket
import time

import datasets
import pytest
from huggingface_hub import constants

from ctcl_hf import load_student
from ctcl_hf.base import hub_access
from ctcl_hf.base.hub_access import (
    from_cache_unless_hub_answers,
    hub_answers,
    near_folder,
    refuse_missing_folder,
    refuse_near_folder,
)
from ctcl_hf.data import build_own
from ctcl_hf.data.own.sources import files_beside
from ctcl_hf.scoring.predict import load_whole_model


@pytest.fixture(params=["silent", "refused"])
def no_hub(request, monkeypatch):
    """An address that takes connections and never answers, or takes none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_access, "PROBE_SECONDS", 1)
        if request.param == "refused":
            server.close()
        yield


@pytest.mark.parametrize("name", ["mobilenetv2_100", "nvidia/mit-b1", "nobody/nothing"])
def test_a_student_that_cannot_be_fetched_names_the_ways_on_within_seconds(name, no_hub):
    """The client tried again and again, for 66 seconds."""
    start = time.monotonic()
    with pytest.raises(
        OSError,
        match=r"not answer within 1 s\n.*--from_scratch.*--encoder_weights.*--cnn / --vit FOLDER",
    ):
        load_student(name, ("road", "sky"), (64, 64))
    assert time.monotonic() - start < 5
    assert constants.HF_HUB_OFFLINE is False  # the next is asked for again


def test_a_mistyped_folder_is_told_at_once_where_the_hub_does_not_answer(
    no_hub, tmp_path, monkeypatch
):
    """`--dataset_name foto` asked the Hub again and again, for 35 seconds."""
    monkeypatch.chdir(tmp_path)
    refuse_near_folder("photo")  # nothing is called nearly so: perhaps it is in the cache
    (tmp_path / "photos").mkdir()
    refuse_near_folder("photos")
    with pytest.raises(FileNotFoundError, match=r"there is no such folder.* Did you mean photos?"):
        build_own("photo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse_near_folder("photo")  # the client asks its cache alone


@pytest.mark.parametrize("streaming", [False, True])
def test_data_of_the_hub_are_told_within_seconds_where_it_does_not_answer(
    no_hub, tmp_path, monkeypatch, streaming
):
    """Where no folder is called nearly so, the Hub was asked for 24 seconds, in six lines."""
    monkeypatch.chdir(tmp_path)
    was_offline = datasets.config.HF_HUB_OFFLINE
    start = time.monotonic()
    with pytest.raises(
        OSError, match=r"--dataset_name zebra: no such folder here, and it cannot.*not answer"
    ):
        build_own("zebra", class_names=["a", "b"], streaming=streaming)
    with pytest.raises(OSError, match=r"whether a\.json or b\.json lies with it .* not answer"):
        files_beside("me/zebra", "a.json", "b.json")
    assert time.monotonic() - start < 8
    assert constants.HF_HUB_OFFLINE is False
    assert datasets.config.HF_HUB_OFFLINE is was_offline


def test_what_the_cache_holds_is_read_without_the_hub(no_hub):
    with from_cache_unless_hub_answers():
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()


def test_an_error_of_a_hub_that_answers_is_its_own(monkeypatch):
    monkeypatch.setattr(hub_access, "hub_answers", lambda: True)
    with pytest.raises(OSError, match="no such model"), from_cache_unless_hub_answers():
        raise OSError("no such model")


def test_who_told_the_client_to_stay_offline_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_access, "get_session", lambda: pytest.fail("a connection"))
    assert not hub_answers()
    with (
        pytest.raises(OSError, match=r"may not be asked \(HF_HUB_OFFLINE\)"),
        from_cache_unless_hub_answers(),
    ):
        raise OSError("no such file")


def test_a_folder_that_is_not_there_is_no_question_for_the_hub(tmp_path, monkeypatch):
    """`--dataset_name ./photoss` ended in "Couldn't reach './photoss' on the Hub"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs" / "one" / "checkpoint-6").mkdir(parents=True)
    for name, meant in [
        ("./photoss", " Did you mean photos?"),
        ("runs/one/checkpoint-3", " Did you mean runs/one/checkpoint-6?"),
        ("/nowhere/at/all", ""),
    ]:
        with pytest.raises(FileNotFoundError) as refused:
            refuse_missing_folder(name)
        assert str(refused.value) == f"{name}: there is no such folder.{meant}"
    for name in ("photos", "user/name", "name"):
        refuse_missing_folder(name)
    assert near_folder("fotos") == " Did you mean photos?" and near_folder("zebra") == ""
    with pytest.raises(OSError, match=r"\./photoss: there is no such folder\. Did you mean photos"):
        build_own("./photoss", class_names=["a", "b"])
    with pytest.raises(OSError, match=r"runs/one/cnn/x: there is no such folder"):
        load_whole_model("runs/one/cnn/x")
