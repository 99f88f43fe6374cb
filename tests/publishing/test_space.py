"""The Space in a real browser: load, segment an example, see both masks. And its way to the Hub."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from conftest import make_cnn, make_vit
from data.files import GREY, png
from gradio.data_classes import ImageData
from helpers.browser import chromium, needs_chromium
from helpers.commands import EXAMPLES, run
from publishing.server import Repo

from ctcl_hf.publishing.space.facts import images_in, named

APP = EXAMPLES.parent / "ctcl_hf" / "publishing" / "space" / "app.py"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Address of the app with two tiny students."""
    folder = tmp_path_factory.mktemp("students")
    make_cnn().save_pretrained(str(folder / "cnn"))
    make_vit().save_pretrained(str(folder / "vit"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NO_PROXY": "*",
        "HF_HOME": str(folder),
    }
    log = folder / "log"
    app = subprocess.Popen(
        [sys.executable, EXAMPLES / "push_space.py", folder, "--port", str(port)],
        env=own,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        cwd=folder,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):  # on a machine that does much else
        assert app.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    else:
        raise TimeoutError(f"{address} did not answer: {log.read_text()}")
    yield address
    app.kill()


@needs_chromium
def test_an_example_is_segmented_by_both_students(page, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    with chromium(tmp_path / "profile") as browser:
        browser.get(page)
        wait = WebDriverWait(browser, 60)
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#segment"))
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "button.gallery-item"))[0].click()
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#image img"))
        browser.find_element(By.CSS_SELECTOR, "#segment").click()
        wait.until(lambda b: "They disagree on" in b.find_element(By.ID, "share").text)
        sizes = {}
        for name in (
            *(f"{what}-{i}" for what in ("mask", "overlay") for i in range(3)),
            "disagreement",
        ):
            shown = wait.until(
                lambda b, name=name: b.find_elements(By.CSS_SELECTOR, f"#{name} img")
            )[0]
            sizes[name] = wait.until(
                lambda b, shown=shown: b.execute_script("return arguments[0].naturalWidth", shown)
            )
        assert len(set(sizes.values())) == 1 and sizes["mask-0"] > 100
        legend = browser.find_element(By.ID, "legend")
        pictures = browser.find_element(By.ID, "mask-0").rect
        assert "dot" in legend.text and legend.rect["x"] + legend.rect["width"] <= pictures["x"]
        assert legend.rect["y"] < pictures["y"] + pictures["height"]
        wait.until(lambda b: "cnn-classes" in b.find_element(By.ID, "files").text)
        share = float(re.search(r"([\d.]+) %", browser.find_element(By.ID, "share").text)[1])
        assert 0 <= share <= 100
        assert "cnn" in browser.page_source and "vit" in browser.page_source


def test_students_of_different_classes_are_refused(tmp_path):
    make_cnn().save_pretrained(str(tmp_path / "cnn"))
    make_vit(num_labels=2).save_pretrained(str(tmp_path / "vit"))
    done = run("push_space.py", tmp_path / "cnn", tmp_path / "vit")
    assert done.returncode == 1
    assert "know different classes" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: NAME"),
        ("abcd", "expected a run, two students, or a Space and two, got a b c d."),
        ((*"abc", "--port", "80"), "--port has no effect on a Space, as which a is meant."),
        ((*"ab", "--port", "99999"), "--port 99999: expected 1 to 65535."),
        ((*"ab", "--private"), "--private has no effect without a Space: USER/NAME and two"),
    ],
)
def test_words_that_do_not_fit_are_told_before_anything_is_imported(words, message, monkeypatch):
    """The page's own command imported torch and gradio first, and said that STUDENT, which was
    given, is required.
    """
    monkeypatch.setitem(sys.modules, "gradio", None)  # cannot be imported
    told = run("push_space.py", *words)
    assert told.returncode == 2 and message in told.stderr


def build(folder):
    """The app, its page for two tiny students, and what its button calls: path -> outputs."""
    app = runpy.run_path(str(APP))
    for student in (make_cnn(), make_vit()):
        student.config.palette = [[1, 2, 3], [40, 50, 60], [7, 8, 9]]
        student.save_pretrained(str(folder / student.family))
    page = app["demo"]([str(folder / "cnn"), str(folder / "vit")])
    image = next(block for block in page.blocks.values() if block.elem_id == "image")
    compare = next(
        event.fn for event in page.fns.values() if event.fn and event.fn.__name__ == "compare"
    )

    def upload(path, *progress):
        return compare(image.preprocess(ImageData(path=str(path), orig_name=path.name)), *progress)

    return app, page, upload


def test_the_space_refuses_an_image_that_it_would_not_see_as_it_is(tmp_path):
    """gradio and Pillow clipped 16 bits to white, and every pixel got one class."""
    app, _, upload = build(tmp_path)
    for bits in (8, 16):
        (tmp_path / f"{bits}.png").write_bytes(png(np.full((30, 40), 99), bits, GREY))
    assert "They disagree on" in next(upload(tmp_path / "8.png"))[-2]
    with pytest.raises(app["gr"].Error, match=r"^'?16\.png: An image must have 8 bits per channel"):
        next(upload(tmp_path / "16.png"))


def test_who_waits_for_a_large_image_is_told_what_is_done_meanwhile(tmp_path):
    """Of a camera's picture nothing was said for a minute."""
    _, _, upload = build(tmp_path)
    told = []
    PIL.Image.new("RGB", (90, 60)).save(tmp_path / "a.png")
    list(upload(tmp_path / "a.png", lambda done, title, **_: told.append((done, title))))
    assert told == [
        ((0, 4), "cnn looks at the image"),
        ((1, 4), "vit looks at the image"),
        ((2, 4), "Classes of 90 x 60 pixels"),
        ((3, 4), "Files at the image's own size"),
    ]


def test_what_is_no_image_is_told_to_who_uploads_it_and_never_offered(tmp_path):
    """gradio told of an exception without its reason; an example could be a text."""
    app, _, upload = build(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "text.jpg").write_text("no image")
    with pytest.raises(app["gr"].Error, match=r"^'?text.jpg: Pillow cannot identify it") as raised:
        next(upload(tmp_path / "own" / "text.jpg"))
    assert not raised.value.print_exception  # which would fill the server's log
    with pytest.raises(ValueError, match=r"^--examples .*text.jpg: Pillow cannot identify it"):
        images_in(tmp_path / "own")
    with pytest.raises(ValueError, match=r"^--examples .*nowhere: there is no such folder: give"):
        images_in(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^--examples .*text.jpg is a file: give a folder"):
        images_in(tmp_path / "own" / "text.jpg")  # it was "[Errno 20] Not a directory"


def test_what_systems_leave_in_a_folder_of_examples_is_left_alone(tmp_path):
    """Thumbs.db was refused as no image, though predict passes it over."""
    (tmp_path / "Thumbs.db").write_bytes(b"no image")
    assert images_in(tmp_path) == []
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "mine.PNG")
    assert [path.name for path in images_in(tmp_path)] == ["mine.PNG"]


def test_a_student_that_is_none_is_told_in_a_sentence(tmp_path):
    nix = str(tmp_path / "nix")
    done = run("push_space.py", nix, nix, "--examples", tmp_path)
    assert done.returncode == 1 and "nix: there is no such folder" in done.stderr


def test_a_mistyped_student_is_answered_with_the_nearest_folder_where_there_is_no_hub(
    tmp_path, monkeypatch
):
    """The Hub was asked for half a minute, and no folder was suggested."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("ctcl_hf.base.hub_access.hub_answers", lambda: False)
    (tmp_path / "run" / "cnn").mkdir(parents=True)
    mistyped = run("push_space.py", "run/cnm", "run/vit")
    assert re.search(r"run/cnm: there is no such folder.*mean run/cnn\?", mistyped.stderr)
    unknown = run("push_space.py", "zebra/one", "zebra/two", "--examples", "run")
    assert re.search(r"zebra/one is neither .* nor a model on the Hub", unknown.stderr)


def test_what_the_space_offers_as_files_has_the_images_own_size(tmp_path):
    """All was of at most 1280 pixels, and compressed again."""
    _, _, upload = build(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 1400, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "wide.png")
    outputs = upload(tmp_path / "wide.png")
    *shown, share, none_yet = next(outputs)
    assert none_yet is None  # what is shown comes first
    *again, same, files = next(outputs)
    assert (again, same) == (shown, share)  # for who asks by the API, which tells the last alone
    assert {drawn.size for drawn in shown} == {(1280, 82)}
    assert [Path(file).name for file in files] == [
        *(f"{name}-classes-wide.png" for name in ("cnn", "vit", "pair")),
        *(f"{name}-overlay-wide.jpg" for name in ("cnn", "vit", "pair")),
        "disagreement-wide.jpg",
    ]
    opened = [PIL.Image.open(file) for file in files]
    assert {drawn.size for drawn in opened} == {(1400, 90)}
    assert [drawn.mode for drawn in opened] == ["P"] * 3 + ["RGB"] * 4
    first, second = (np.asarray(drawn) for drawn in opened[:2])
    assert set(np.unique(first)) <= {0, 1, 2}
    assert opened[0].getpalette()[:9] == [1, 2, 3, 40, 50, 60, 7, 8, 9]
    assert f"{100 * (first != second).mean():.1f} %" in share
    assert not list(outputs) and not any(map(os.path.exists, files))  # gradio has its copies


def test_class_by_class_a_pixel_gets_the_class_that_all_logits_at_once_and_their_mean_give_it(
    tmp_path,
):
    app = runpy.run_path(str(APP))
    torch.manual_seed(0)
    students = [make_cnn(num_labels=7), make_vit(num_labels=7)]
    image = PIL.Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    )
    logits = [
        app["logits_of"](student.model.eval(), student.image_processor, image) * 20
        for student in students
    ]
    maps = app["segment"](logits, (131, 77))
    at_once = [
        torch.nn.functional.interpolate(own[None], size=(131, 77), mode="bilinear")[0]
        for own in logits
    ]
    together = sum(own.softmax(0) for own in at_once)
    for ids, values in zip(maps, [*at_once, together], strict=True):
        assert ids.dtype == np.uint8 and (ids == values.argmax(0).numpy()).mean() > 0.999
    assert all((maps[2] != own).any() for own in maps[:2])


@pytest.mark.parametrize(
    ("students", "title", "names"),
    [
        (["me/ctcl-camvid-cnn", "me/ctcl-camvid-vit"], "ctcl-camvid: cnn and vit", ["cnn", "vit"]),
        (["runs/street/cnn/", "runs/street/vit"], "street: cnn and vit", ["cnn", "vit"]),
        (["a/one", "b/two"], "a/one and b/two", ["a/one", "b/two"]),
        (["runs/cnn", "runs/cnn"], "runs/cnn and runs/cnn", ["runs/cnn", "runs/cnn"]),
    ],
)
def test_the_title_is_what_two_students_share_and_what_tells_them_apart(students, title, names):
    assert named(students) == (title, names)


def test_the_space_shows_classes_in_the_colours_that_a_student_keeps(tmp_path):
    app, page, _ = build(tmp_path)
    legend = next(block for block in page.blocks.values() if block.elem_id == "legend")
    assert "rgb(40,50,60)" in legend.value
    assert len({tuple(colour) for colour in app["palette"](None, 3).tolist()}) == 3


def test_push_space_publishes_an_app_that_knows_its_students(hub, tmp_path, monkeypatch):
    students = ["tester/run-cnn", "tester/run-vit"]
    for student in students:
        hub.repos["model", student] = Repo()
        hub.new_commit(hub.repos["model", student], "main", "initial commit", {})
    command = ("push_space.py", "tester/run", *students, "--trust_remote_code")
    for _ in range(2):  # the second finds nothing to do
        done = run(*command)
        assert done.returncode == 0, done.stderr
    assert f"{hub.url}/spaces/tester/run" in done.stdout
    files = hub.files("tester/run", kind="space")
    assert len(hub.commits("tester/run", kind="space")) == 1
    (tmp_path / "own").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "own" / "mine.png")
    own = run(*command, "--examples", tmp_path / "own")
    assert own.returncode == 0, own.stderr
    replaced = hub.files("tester/run", kind="space")
    for name in ("Thumbs.db", "notes.jpg"):  # the first is left alone, as predict leaves it
        (tmp_path / "own" / name).write_text("no image")
    no_image = run(*command, "--examples", tmp_path / "own")
    nameless = run("push_space.py", "run", *command[2:])
    missing = run(*command[:2], "tester/nosuch", *command[3:])
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    refused = run(*command)
    assert missing.returncode == 1 and "has no model tester/nosuch: publish" in missing.stderr
    assert refused.returncode == 1 and "may not write" in refused.stderr
    assert json.loads(files["settings.json"]) == {
        "students": students,
        "revisions": [hub.repos["model", student].head("main").oid for student in students],
        "trust_remote_code": True,
    }
    reader = Path(__file__).parents[2] / "ctcl_hf" / "data" / "images.py"
    # which app.py imports where the package is not installed
    assert files["images.py"] == reader.read_bytes()
    assert files["app.py"] == APP.read_bytes()
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert (card["sdk"], card["app_file"], card["models"]) == ("gradio", "app.py", students)
    assert card["title"] == "run: cnn and vit"
    assert sum(path.startswith("images/") for path in files) == 3
    assert [path for path in replaced if path.startswith("images/")] == ["images/mine.png"]
    assert no_image.returncode == 1 and "notes.jpg" in no_image.stderr
    # A token was asked for first.
    assert nameless.returncode == 1 and "run is no USER/NAME of the Hub" in nameless.stderr
    assert Path("requirements.txt").name in files


def test_a_space_runs_the_code_of_the_commit_that_it_was_made_of(monkeypatch):
    """It ran whatever was pushed to the students later."""
    app = runpy.run_path(str(APP))
    asked = []

    class Loader:
        @classmethod
        def from_pretrained(cls, name, **options):
            asked.append((name, options))
            return torch.nn.Identity()

    for name in ("AutoModelForSemanticSegmentation", "AutoImageProcessor"):
        monkeypatch.setitem(app["load"].__globals__, name, Loader)
    app["load"]("me/cnn", True, "1234abcd")
    assert asked == [("me/cnn", {"trust_remote_code": True, "revision": "1234abcd"})] * 2


def ask(request):
    """What the app answers to a request: JSON, or the status of an error."""
    try:
        return json.loads(urllib.request.urlopen(request, timeout=120).read())
    except urllib.error.HTTPError as error:
        return error.code


def upload(page, name, content):
    """Where the app keeps a file that it was sent, in a list; or the status of an error."""
    body = (
        f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    return ask(
        urllib.request.Request(
            f"{page}/gradio_api/upload",
            body + content + b"\r\n--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
    )


def test_a_space_takes_small_files_alone_and_shows_no_file_of_its_machine(page):
    picture = png(np.full((30, 40), 99), 8, GREY)
    assert upload(page, "huge.png", bytes(21 * 2**20)) == 413
    stored = Path(upload(page, "../../../evil.png", picture)[0])
    assert stored.name == "evil.png" and stored.is_file()
    assert Path(tempfile.gettempdir()) in stored.resolve().parents
    for path in ("/etc/hostname", f"{stored}/../../../../../etc/hostname", "../app.py"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{page}/gradio_api/file={path}", timeout=60)
        assert caught.value.code in (403, 404)


def test_a_crowd_is_answered_one_by_one_and_who_finds_the_queue_full_is_told(page):
    """Two dozen requests at once got cut connections once. Of requests with a connection each none
    does; uvicorn closes one that a client kept without using it for 5 s.
    """
    picture = png(np.full((30, 40), 99), 8, GREY)
    config = ask(f"{page}/config")
    compare = next(d["id"] for d in config["dependencies"] if d.get("api_name") == "compare")

    def visit(i):
        image = {"path": upload(page, f"{i}.png", picture)[0], "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [image], "fn_index": compare, "session_hash": f"visitor-{i}"}
        joined = ask(
            urllib.request.Request(
                f"{page}/gradio_api/queue/join",
                json.dumps(asked).encode(),
                {"Content-Type": "application/json"},
            )
        )
        if isinstance(joined, int):
            return joined
        address = f"{page}/gradio_api/queue/data?session_hash={asked['session_hash']}"
        with urllib.request.urlopen(address, timeout=300) as told:
            events = [json.loads(line[5:]) for line in told if line.startswith(b"data:")]
        return next(event["success"] for event in events if event["msg"] == "process_completed")

    waiting = runpy.run_path(str(APP))["WAITING"]
    with ThreadPoolExecutor(waiting + 16) as visitors:
        answers = list(visitors.map(visit, range(waiting + 16)))
    assert set(answers) <= {True, 503} and answers.count(True) > waiting
