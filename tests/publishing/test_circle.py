"""The full circle in fresh processes with the unmodified client: train, push both, pull each in
every way.
"""

import hashlib
import json
import re
import subprocess
import sys
import time

import hf_xet
import numpy as np
import PIL.Image
import pytest
from conftest import make_cnn, make_vit
from helpers import commands
from huggingface_hub import constants
from publishing.client import EXAMPLES, environment, run
from publishing.server import Hub

from ctcl_hf.scoring.predict import load_for_inference, segment

pytestmark = pytest.mark.slow
TINY = (
    *("--recipe", "demo", "--cnn", "mobilenetv2_035", "--aspp_channels", "8", "--crop_size", "32"),
    *(
        "--per_device_train_batch_size",
        "2",
        "--no_check_data",
        "--report_to",
        "none",
        "--max_steps",
        "2",
    ),
    *("--eval_strategy", "no", "--max_eval_samples", "8", "--push_to_hub"),
)
# Saves the class of every pixel as pipeline's masks give it. Arguments: image, and of each pull the
# student and how; what is said meanwhile ends with a line of its own.
PULL = """
import sys
image, *pulls = sys.argv[1:]
if "package" in pulls:
    import ctcl_hf
else:
    sys.modules["ctcl_hf"] = None  # as where it is not installed
import numpy as np
from transformers import pipeline
for student, how in zip(pulls[::2], pulls[1::2]):
    options = {"trust_remote_code": True} if how == "remote code" else {}
    model = f"tester/ctcl-synthetic-{student}"
    try:
        segment = pipeline("image-segmentation", model=model, **options)
    except ValueError as refused:
        print("REFUSED", refused, "PULLED", file=sys.stderr, flush=True)
        continue
    found = segment(image)
    ids = np.full(found[0]["mask"].size[::-1], -1)
    for part in found:
        ids[np.asarray(part["mask"]) > 0] = segment.model.config.label2id[part["label"]]
    np.save(f"{student}.npy", ids)
    print("PULLED", file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module", params=["lfs", "xet"])
def published(request, tmp_path_factory):
    """A Hub to which a run of two steps has pushed its students; its folder; whether through
    Xet.
    """
    folder, xet = tmp_path_factory.mktemp(request.param), request.param == "xet"
    if xet:
        (folder / "cas").mkdir()
    with Hub(cas=folder / "cas" if xet else None) as hub:
        out = folder / "out"
        done = run(
            EXAMPLES / "run_ctcl.py",
            *TINY,
            "--output_dir",
            out,
            env=environment(hub, folder / "home", xet),
        )
        assert done.returncode == 0, done.stderr
        # before the first step, and at the end
        assert done.stdout.count(f"{hub.url}/tester/ctcl-synthetic-vit") == 2
        assert "hf_writer" not in done.stdout + done.stderr
        if xet:  # what a real Hub learns from its Xet store
            for name in ("cnn", "vit"):
                weights = out / name / "model.safetensors"
                (hashed,) = hf_xet.hash_files([str(weights)])
                hub.xet_hashes[hashlib.sha256(weights.read_bytes()).hexdigest()] = hashed.hash
        yield hub, out, xet


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).resize((280, 200)).save(path)
    return path


@pytest.fixture(scope="module")
def pulled(published, image, tmp_path_factory):
    """By student and how it was pulled, its classes of the image, and what was said: with the
    package in one process, and without it in another.
    """
    hub, _, xet = published
    found = {}
    for pulls in (
        [("vit", "package"), ("cnn", "package")],
        [("cnn", "stock"), ("vit", "stock"), ("cnn", "remote code")],
    ):
        folder = tmp_path_factory.mktemp("elsewhere")
        words = [word for pull in pulls for word in pull]
        done = run("-c", PULL, image, *words, cwd=folder, env=environment(hub, folder, xet))
        assert done.returncode == 0, done.stderr
        for (student, how), said in zip(pulls, done.stderr.split("PULLED"), strict=False):
            found[student, how] = np.load(folder / f"{student}.npy"), said
    return found


@pytest.mark.parametrize(
    ("student", "how"),
    [("vit", "stock"), ("vit", "package"), ("cnn", "package"), ("cnn", "remote code")],
)
def test_a_pushed_student_runs_elsewhere_with_the_same_masks(
    published, pulled, image, student, how
):
    hub, out, xet = published
    ids, said = pulled[student, how]
    expected = segment(*load_for_inference(str(out / student)), PIL.Image.open(image))
    assert np.array_equal(ids, expected)
    if how != "remote code":  # of which transformers warns, as it should
        assert not re.search("warn|not supported|trust_remote_code", said, re.IGNORECASE), said
    if xet:
        assert any("xet-read-token" in path for _, path in hub.requests)


def test_code_from_the_hub_runs_on_the_users_flag_alone(pulled):
    _, said = pulled["cnn", "stock"]
    assert "REFUSED" in said and "trust_remote_code=True" in said


def test_the_token_is_nowhere_in_what_was_written_or_printed(published):
    _, out, _ = published
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if b"hf_writer" in path.read_bytes()]


def test_pushing_again_changes_nothing(published, tmp_path):
    hub, out, xet = published
    before = {name: len(hub.commits(f"tester/ctcl-synthetic-{name}")) for name in ("cnn", "vit")}
    done = run(EXAMPLES / "push.py", out, env=environment(hub, tmp_path, xet))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" at commit ") == 2
    assert before == {
        name: len(hub.commits(f"tester/ctcl-synthetic-{name}")) for name in ("cnn", "vit")
    }


@pytest.mark.parametrize("where", ["PUT ^/lfs/", "POST new-vit/commit"])
def test_a_push_that_is_killed_is_finished_by_the_next(hub, tmp_path, where):
    out, names = tmp_path / "out", ("cnn", "vit")
    make_cnn().save_pretrained(str(out / "cnn"))
    make_vit().save_pretrained(str(out / "vit"))
    hub.fail(*where.split(), "stall")
    chosen = [part for name in names for part in ("--repository", f"{name}=new-{name}")]
    pushing = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "push.py"), str(out), *chosen],
        env=environment(hub, tmp_path),
        stderr=subprocess.DEVNULL,
    )
    assert hub.stalled.wait(120)
    pushing.kill()
    pushing.wait()
    hub.released.set()
    done = commands.run("push.py", out, *chosen)
    assert done.returncode == 0, done.stderr
    for name in names:
        published = hub.files(f"tester/new-{name}")
        published.pop(".gitattributes")
        assert published == {path.name: path.read_bytes() for path in (out / name).iterdir()}
        assert len(hub.commits(f"tester/new-{name}")) == 1


@pytest.mark.parametrize("trouble", ["no token", "read-only token", "no Hub"])
def test_a_run_that_could_not_publish_ends_before_it_starts(hub, tmp_path, trouble, monkeypatch):
    if trouble == "no token":
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    if trouble == "read-only token":
        monkeypatch.setenv("HF_TOKEN", "hf_reader")
    if trouble == "no Hub":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    done = commands.run("run_ctcl.py", *TINY, "--output_dir", tmp_path / "out")
    message = {
        "no token": "hf auth login",
        "read-only token": "may not write to tester/ctcl-synthetic-cnn",
        "no Hub": "cannot be reached",
    }[trouble]
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert time.monotonic() - start < 60


def test_config_of_the_pushed_cnn_names_its_code(published):
    hub, _, xet = published
    if xet:
        return  # the same files
    config = json.loads(hub.files("tester/ctcl-synthetic-cnn")["config.json"])
    assert config["auto_map"] == {
        "AutoConfig": "configuration_deeplabv3plus.DeepLabV3PlusConfig",
        "AutoModelForSemanticSegmentation": "modeling_deeplabv3plus."
        "DeepLabV3PlusForSemanticSegmentation",
    }
