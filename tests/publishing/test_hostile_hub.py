"""A Hub that is not to be trusted: its redirects, and sizes and names of its files."""

import json

import pytest
from conftest import make_vit
from publishing.client import environment, run
from publishing.server import File, Hub, Repo

from ctcl_hf.publishing.hub import Repository, check_access, push_folder

REPO = Repository("tester/run")
LOAD = """
import sys
from ctcl_hf.scoring.predict import load_for_inference
for name in sys.argv[1:]:
    try:
        print("loaded", load_for_inference(name)[0].config.num_labels)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()))
"""
BESIDE = """
import sys
import huggingface_hub.utils._http
from ctcl_hf.data.own.sources import files_beside
huggingface_hub.utils._http.time.sleep = lambda seconds: None
for name, file in (word.split(":") for word in sys.argv[1:]):
    try:
        print(*files_beside(name, file))
    except OSError as error:
        print(error)
"""

SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
import ctcl_hf.base.hub_access
try:
    print(snapshot_download(sys.argv[1]))
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("GET", "whoami"),
        ("POST", "repos/create"),
        ("GET", "auth-check"),
        ("POST", "preupload"),
        ("POST", "objects/batch"),
        ("PUT", "/lfs/"),
        ("POST", "/commit/"),
    ],
)
def test_no_token_follows_a_redirect_to_another_host(method, place, hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    with Hub() as stranger:
        if place not in ("whoami", "repos/create"):
            check_access([REPO])
        hub.fail(method, place, stranger.url, times=99)
        try:
            check_access([REPO])
            push_folder(REPO, tmp_path, "x")
            told = "all went well"
        except (OSError, RuntimeError) as error:  # RuntimeError: the client's, of an upload
            told = str(error)
        assert set(stranger.tokens) <= {None}
        assert "Bearer hf_writer" in hub.tokens
    if place in ("whoami", "auth-check"):
        assert f"It redirects to {stranger.url.removeprefix('http://')}, to which no token" in told


def test_files_that_are_not_what_was_said_are_refused_and_none_is_written_elsewhere(tmp_path):
    make_vit().save_pretrained(str(tmp_path / "vit"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "vit").iterdir()}
    weights = files.pop("model.safetensors")
    blobs = {name: File.blob(content) for name, content in files.items()}
    index = json.dumps({"metadata": {}, "weight_map": {"a": "../../../../../evil.safetensors"}})
    with Hub() as hub:
        cases = {
            "whole": {"model.safetensors": File.blob(weights)},
            "short": {"model.safetensors": File(len(weights), "1" * 64)},
            "long": {"model.safetensors": File(len(weights), "2" * 64)},
            "outside": {
                "model.safetensors.index.json": File.blob(index.encode()),
                "../../../../../evil.safetensors": File.blob(weights),
            },
        }
        hub.lfs |= {"1" * 64: weights[:1000], "2" * 64: weights + bytes(1000)}
        for name, own in cases.items():
            repo = hub.repos["model", f"tester/{name}"] = Repo()
            hub.new_commit(repo, "main", "x", blobs | own)
        home = tmp_path / "a" / "b" / "c" / "d" / "home"
        done = run("-c", LOAD, *(f"tester/{name}" for name in cases), env=environment(hub, home))
    whole, short, long, outside = done.stdout.splitlines()
    assert whole == "loaded 3", done.stderr
    assert f"should be of size {len(weights)} but has size 1000" in short
    assert f"should be of size {len(weights)} but has size {len(weights) + 1000}" in long
    assert "cannot contain a '..' path segment" in outside
    assert not list(tmp_path.rglob("*evil*"))


def test_an_answer_that_names_a_place_outside_the_cache_is_refused_before_anything_is_written(
    tmp_path,
):
    """huggingface_hub 2.4 takes these headers for names of files, and wrote where they led."""
    make_vit().save_pretrained(str(tmp_path / "vit"))
    files = {path.name: File.blob(path.read_bytes()) for path in (tmp_path / "vit").iterdir()}
    files |= {"id2label.json": File.blob(b"{}")}
    evil = "../../../../evil"
    headers = {"ETag": f'W/"{evil}"', "X-Linked-Etag": f'"{tmp_path}/evil"', "X-Repo-Commit": evil}
    cases = [(file, name) for file in ("config.json", "model.safetensors") for name in headers]
    home = tmp_path / "a" / "b" / "home"
    with Hub() as hub:
        for i, (file, name) in enumerate(cases):
            hub.new_commit(hub.repos.setdefault(("model", f"me/{i}"), Repo()), "main", "x", files)
            hub.told[f"me/{i}/{file}"] = {name: headers[name]}
        done = run("-c", LOAD, *(f"me/{i}" for i in range(len(cases))), env=environment(hub, home))
        # the commit of a whole repository, as transformers asks for weights in several files
        hub.told["me/0"] = {"sha": evil}
        whole = run("-c", SNAPSHOT, "me/0", env=environment(hub, home))
        # whether a file lies with the data: of one that does, and of one that does not
        hub.new_commit(hub.repos.setdefault(("dataset", "me/data"), Repo()), "main", "x", files)
        asked = [f"me/data:{name}" for name in ("id2label.json", "palette.json")]
        hub.told |= {name.replace(":", "/"): {"X-Repo-Commit": evil} for name in asked}
        beside = run("-c", BESIDE, *asked, env=environment(hub, home))
    told = [line for each in (done, whole, beside) for line in each.stdout.splitlines()]
    assert len(told) == len(cases) + 3, done.stderr + whole.stderr + beside.stderr
    for line in told:
        assert f"{hub.url} answers with the" in line and "outside its cache" in line, line
    assert not list(tmp_path.rglob("*evil*"))


def test_a_hub_that_fails_is_not_taken_for_one_that_holds_no_classes_of_the_data(tmp_path):
    """Data whose classes or protocol could not be fetched was read as if it had none."""
    photos, broken = "tester/photos", "tester/broken"
    with Hub() as hub:
        for name in (photos, broken):
            repo = hub.repos["dataset", name] = Repo()
            hub.new_commit(repo, "main", "x", {"id2label.json": File.blob(b'{"0": "sky"}')})
        hub.fail("HEAD", f"{broken}/resolve", "500", times=99)
        hub.fail("HEAD", f"{photos}/resolve", "500", nth=3, times=99)
        asked = (f"{photos}:id2label.json", f"{photos}:palette.json")  # again: it fails by then
        done = run(
            "-c", BESIDE, *asked, *asked, f"{broken}:palette.json", env=environment(hub, tmp_path)
        )
    there, missing, again, missing_again, unknown = done.stdout.splitlines()
    assert there == again and there.endswith("id2label.json"), done.stderr
    assert missing == missing_again == "None"
    assert unknown.startswith(
        "--dataset_name tester/broken: whether palette.json lies with it cannot"
    )
