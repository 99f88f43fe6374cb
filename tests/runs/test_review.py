"""Ranking images: what is planted is found, the table has all images and the page the first."""

import base64
import csv
import io
import re
import sys

import numpy as np
import PIL.Image
import pytest
from conftest import CLASSES
from helpers.browser import chromium, needs_chromium
from helpers.pages import read_page, text_of
from helpers.reviews import SIZE, make_scorer, named_data, unlabelled

from ctcl_hf.data import SegmentationSamples
from ctcl_hf.runs.page.review import SIDE, entry_of, sentence_of
from ctcl_hf.runs.review import write_review
from ctcl_hf.scoring.review import Confusion, ImageMaps, ImageScores

PLANTED = (2, 5)


def swapped(mask):
    """A region of the class on the left is called the one on the right."""
    mask[20:44, 4:16] = 1
    return mask


def read(table):
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """Table and page of eight images, of which two are labelled wrong, and the page shows four."""
    scorer = make_scorer(named_data(8, PLANTED, swapped))
    return write_review(scorer, "validation", SIZE, tmp_path_factory.mktemp("review"), top=4)


def test_wrong_labels_come_first(reviewed):
    rows = read(reviewed[0])
    assert {row["image"] for row in rows[:2]} == set(map(str, PLANTED))
    assert [row["rank"] for row in rows] == list(map(str, range(1, 9)))
    qualities = [float(row["label_quality"]) for row in rows]
    assert qualities == sorted(qualities)
    for row in rows[:2]:
        # 24 x 12 of 64 x 96 pixels, but for a dot that may lie there
        assert (row["class"], row["called"]) == ("right", "left")
        assert float(row["called_share"]) == pytest.approx(24 * 12 / (64 * 96), abs=0.01)
        assert row["file"] == f"{row['image']}.png"


def test_without_labels_images_rank_by_divergence_and_cleanlab_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    scorer = make_scorer(unlabelled(named_data(4)))
    sure = scorer.predictors["vit"]
    means = []

    def opposed_where_dark(pixels):
        """Turns the classes of the image that is the darkest."""
        means.append(float(pixels.float().mean()))
        return sure(pixels).flip(1) if means[-1] < darkest + 1e-3 else sure(pixels)

    samples = scorer.data.samples("validation", lambda *pair: pair)
    brightness = [float(samples[i]["pixel_values"].float().mean()) for i in range(4)]
    darkest = min(brightness)
    scorer.predictors["vit"] = opposed_where_dark
    table, page = write_review(scorer, "validation", SIZE, tmp_path, top=2)
    rows = read(table)
    assert rows[0]["image"] == str(brightness.index(darkest))
    assert float(rows[0]["divergence"]) > 0.5 > float(rows[1]["divergence"])
    assert not any(row["label_quality"] for row in rows)
    text = text_of(page)
    assert "cnn says" in text and "label quality 0" not in text
    assert "Ranked by divergence" in text
    # image, divergence, and both students
    assert len(read_page(page).links) == 2 * 4


def test_the_page_holds_the_first_images_with_their_scores(reviewed):
    table, page = reviewed
    rows, text = read(table), text_of(page)
    for row in rows[:4]:
        assert f"{row['rank']}. {row['image']} " in text
        assert f"label quality {float(row['label_quality']):.3f}" in text
        assert f"divergence {float(row['divergence']):.3f}" in text
        assert f"disagreement {100 * float(row['disagreement']):.1f} %" in text
    assert "4 of 8 images" in text and "5. " not in text
    share = 100 * float(rows[0]["called_share"])
    assert f"right is called left: {share:.1f} % of the image." in text
    for title in ("image", "doubt of the label", "label", "cnn", "vit", *CLASSES, "ignored"):
        assert title in text


def test_the_page_is_well_formed_and_needs_nothing_beside_it(reviewed):
    page = reviewed[1]
    links = read_page(page).links
    assert len(links) == 4 * 5
    assert all(re.match("data:image/(jpeg|png);base64,", link) for link in links)
    html = re.sub(r'"data:[^"]*"', "", page.read_text())
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(", html)
    assert page.stat().st_size < 4 * 100_000


def test_only_the_first_images_are_drawn_and_none_is_kept(tmp_path, monkeypatch):
    read_pictures = []
    own = SegmentationSamples.read_picture
    monkeypatch.setattr(
        SegmentationSamples,
        "read_picture",
        lambda samples, number: read_pictures.append(number) or own(samples, number),
    )
    table, _ = write_review(make_scorer(named_data(5)), "validation", SIZE, tmp_path, top=2)
    assert list(map(str, read_pictures)) == [row["image"] for row in read(table)[:2]]


def test_names_are_no_markup_and_no_formulas(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ctcl_hf.data.SegmentationSamples.name", lambda samples, number: "=<b>1+1</b>"
    )
    table, page = write_review(make_scorer(named_data(1)), "validation", SIZE, tmp_path)
    assert read(table)[0]["image"] == "'=<b>1+1</b>"
    assert "b" not in read_page(page).tags and "1. =<b>1+1</b>" in text_of(page)


def test_an_image_without_a_label_in_a_labelled_set_comes_last_and_is_said_to_have_none(tmp_path):
    data = named_data(3, changed=(0,), change=lambda mask: np.full_like(mask, 255))
    table, page = write_review(make_scorer(data), "validation", SIZE, tmp_path)
    last = read(table)[-1]
    assert last["image"] == "0" and last["label_quality"] == ""
    assert "no label" in text_of(page)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            ImageScores(0.1, 0.1, 0.5, Confusion(2, 0, 0.0312)),
            "dot is called left: 3.1 % of the image.",
        ),
        (
            ImageScores(0.1, 0.1, None, Confusion(2, 0, 0.5)),
            "cnn says dot, vit left: 50.0 % of the image.",
        ),
        (ImageScores(0, 0, 1.0, None), "Nothing stands against anything."),
    ],
)
def test_what_stands_against_each_other_is_said_in_a_sentence(scores, sentence):
    assert sentence_of(scores, CLASSES, ("cnn", "vit")) == sentence


def test_pictures_of_large_images_are_small(tmp_path):
    size = (900, 1600)
    ids = np.zeros(size, dtype=np.uint8)
    entry = entry_of(
        1,
        "street",
        ImageScores(0.1, 0.1, 0.5, None),
        ImageMaps((ids, ids), np.zeros(size, dtype=np.float32)),
        (PIL.Image.new("RGB", size[::-1]), ids),
        named_data(1),
        ("cnn", "vit"),
    )
    for _, address in entry.pictures:
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert max(picture.size) == SIDE


@needs_chromium
def test_a_browser_sorts_goes_on_and_back_and_fits_a_phone(reviewed, tmp_path):
    from selenium.webdriver import ActionChains

    rows = read(reviewed[0])[:4]
    with chromium(tmp_path / "profile", 390, 800) as browser:
        browser.get(reviewed[1].as_uri())

        def order():
            return [
                heading.text.partition(". ")[2]
                for heading in browser.find_elements("css selector", ".entry h2")
            ]

        assert order() == [row["image"] for row in rows]
        for key in ("disagreement", "divergence"):
            browser.find_element("css selector", f"[data-key={key}]").click()
            highest_first = sorted(rows, key=lambda row, key=key: -float(row[key]))
            assert order() == [row["image"] for row in highest_first]
        browser.find_element("css selector", "[data-key=quality]").click()
        at = "return document.activeElement.id"
        for key, expected in (("j", 1), ("j", 2), ("k", 1), ("k", 1), ("j", 2)):
            ActionChains(browser).send_keys(key).perform()
            assert browser.execute_script(at) == f"image-{expected}"
        top = "return document.activeElement.getBoundingClientRect().top"
        assert 0 <= browser.execute_script(top) < 200
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        assert not [log for log in browser.get_log("browser") if log["level"] == "SEVERE"]
