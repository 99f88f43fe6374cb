"""The Space in a real browser: load, segment an example, see both masks. And its way to the Hub."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import make_cnn, make_vit
from data.files import GREY, png
from gradio.data_classes import ImageData
from helpers.browser import chromium, needs_chromium
from publishing.client import EXAMPLES, environment, run
from publishing.server import Hub, Repo

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
        [sys.executable, APP, folder / "cnn", folder / "vit", "--port", str(port)],
        env=own,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        cwd=folder,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        assert app.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
            break
        except OSError:
            time.sleep(0.5)
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
        for name in ("mask-0", "mask-1", "overlay-0", "overlay-1", "disagreement"):
            shown = wait.until(
                lambda b, name=name: b.find_elements(By.CSS_SELECTOR, f"#{name} img")
            )[0]
            sizes[name] = wait.until(
                lambda b, shown=shown: b.execute_script("return arguments[0].naturalWidth", shown)
            )
        assert len(set(sizes.values())) == 1 and sizes["mask-0"] > 100
        assert "dot" in browser.find_element(By.ID, "legend").text
        share = float(re.search(r"([\d.]+) %", browser.find_element(By.ID, "share").text)[1])
        assert 0 <= share <= 100
        assert "cnn" in browser.page_source and "vit" in browser.page_source


def test_students_of_different_classes_are_refused(tmp_path):
    make_cnn().save_pretrained(str(tmp_path / "cnn"))
    make_vit(num_labels=2).save_pretrained(str(tmp_path / "vit"))
    done = run(APP, tmp_path / "cnn", tmp_path / "vit", env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1
    assert "know different classes" in done.stderr


def test_the_space_refuses_an_image_that_it_would_not_see_as_it_is(tmp_path):
    """gradio and Pillow clipped 16 bits to white, and every pixel got one class."""
    app = runpy.run_path(str(APP))
    for student in (make_cnn(), make_vit()):
        student.save_pretrained(str(tmp_path / student.family))
    page = app["demo"]([str(tmp_path / "cnn"), str(tmp_path / "vit")])
    component = next(block for block in page.blocks.values() if block.elem_id == "image")
    compare = next(
        event.fn for event in page.fns.values() if event.fn and event.fn.__name__ == "compare"
    )

    def upload(bits):
        path = tmp_path / f"{bits}.png"
        path.write_bytes(png(np.full((30, 40), 99), bits, GREY))
        return compare(component.preprocess(ImageData(path=str(path), orig_name=path.name)))

    assert "They disagree on" in upload(8)[-1]
    with pytest.raises(app["gr"].Error, match=r"^'?16\.png: An image must have 8 bits per channel"):
        upload(16)


def test_the_space_shows_classes_in_the_colours_that_a_student_keeps(tmp_path):
    app = runpy.run_path(str(APP))
    for student in (make_cnn(), make_vit()):
        student.config.palette = [[1, 2, 3], [40, 50, 60], [7, 8, 9]]
        student.save_pretrained(str(tmp_path / student.family))
    page = app["demo"]([str(tmp_path / "cnn"), str(tmp_path / "vit")])
    legend = next(block for block in page.blocks.values() if block.elem_id == "legend")
    assert "rgb(40,50,60)" in legend.value
    assert len({tuple(colour) for colour in app["palette"](None, 3).tolist()}) == 3


def test_push_space_publishes_an_app_that_knows_its_students(tmp_path):
    students = ["tester/run-cnn", "tester/run-vit"]
    with Hub() as hub:
        for student in students:
            hub.repos["model", student] = Repo()
            hub.new_commit(hub.repos["model", student], "main", "initial commit", {})
        command = (EXAMPLES / "push_space.py", "tester/run", *students, "--trust_remote_code")
        for _ in range(2):  # the second finds nothing to do
            done = run(*command, env=environment(hub, tmp_path))
            assert done.returncode == 0, done.stderr
        assert f"{hub.url}/spaces/tester/run" in done.stdout
        files = hub.files("tester/run", kind="space")
        assert len(hub.commits("tester/run", kind="space")) == 1
        refused = run(*command, env=environment(hub, tmp_path, token="hf_reader"))
        missing = run(*command[:2], "tester/nosuch", *command[3:], env=environment(hub, tmp_path))
    assert missing.returncode == 1 and "has no model tester/nosuch: publish" in missing.stderr
    assert refused.returncode == 1 and "may not write" in refused.stderr
    assert json.loads(files["settings.json"]) == {"students": students, "trust_remote_code": True}
    reader = Path(__file__).parents[2] / "ctcl_hf" / "data" / "images.py"
    # which app.py imports where the package is not installed
    assert files["images.py"] == reader.read_bytes()
    assert files["app.py"] == APP.read_bytes()
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert (card["sdk"], card["app_file"], card["models"]) == ("gradio", "app.py", students)
    assert any(path.startswith("images/") for path in files)
    assert Path("requirements.txt").name in files
