"""report.html of a run: written from its files alone, whole, and readable on a phone."""

import json
import re
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.browser import chromium, needs_chromium
from helpers.pages import read_page, text_of
from transformers import TrainerControl, TrainerState

from ctcl_hf.cli.report import write
from ctcl_hf.data.findings import Finding
from ctcl_hf.data.summary import DataSummary, SplitSummary
from ctcl_hf.metrics import scores_from_counts
from ctcl_hf.metrics.scores import Evaluation, Scores, evaluations_from_json
from ctcl_hf.publishing.card import RECORD_FILE
from ctcl_hf.runs.page.charts import interval_chart, line_chart, number
from ctcl_hf.runs.page.live import LiveReport
from ctcl_hf.runs.page.run import write_run_page
from ctcl_hf.scoring.image_counts import SplitCounts, save_counts

CLASSES = (
    "sky",
    "<b>road</b>",
    'pole & "sign"',
    "a_class_whose_name_is_far_longer_than_a_phone_is_wide",
)
IMAGES = tuple(f"frame-{i}" for i in range(7))


def make_scores(rng):
    """Counts of a split, and the scores that are their sums."""
    counts = {name: rng.integers(0, 60, (7, 4, 4)).astype(np.uint32) for name in ("cnn", "vit")}
    students = {}
    for name, table in counts.items():
        found = scores_from_counts(torch.from_numpy(table.sum(0, dtype=np.int64)), 4, None)
        shares = {
            what: float(found[what]) for what in ("mean_iou", "mean_accuracy", "overall_accuracy")
        }
        ious = dict(zip(CLASSES, map(float, found["per_category_iou"]), strict=True))
        students[name] = Scores(**shares, loss=float(rng.random()), ious=ious)
    return SplitCounts(IMAGES, counts), Evaluation(7, students)


def make_run(folder, classes=CLASSES, **changes):
    """What a finished run of two students leaves in its folder, as far as a page looks at it."""
    rng = np.random.default_rng(0)
    counts, scores = make_scores(rng)
    _, control = make_scores(rng)
    settings = {
        "lr": 0.1,
        "weight_decay": 0.0,
        "power": 1.0,
        "warmup_steps": 0,
        "head_lr_multiplier": 1.0,
    }
    student = {
        "description": "A model",
        "parameters": 10,
        "image_size": [8, 8],
        "origin": None,
        "custom_code": False,
    }
    record = {
        "method": {
            "name": "CTCL",
            "options": {"alpha": 1.0},
            "weights": {n: {"ce": 1.0} for n in ("cnn", "vit")},
        },
        "data": {
            "dataset": "made up",
            "classes": list(classes),
            "train": {"images": 9},
            "validation": {"images": 7},
        },
        "optimization": {"cnn": settings | {"momentum": 0.9}, "vit": settings | {"momentum": None}},
        "training": {
            "seed": 1,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "precision": "no",
        },
        "paper": None,
        "students": {"cnn": student, "vit": student},
        "dataset_title": "<i>made up</i> scenes",
        "dataset_id": None,
        "recipe": "demo",
        "command": "ctcl-hf train --class_names '<script>alert(1)</script>'",
        "license": "unknown",
        "protocol": "whole images",
        "has_figure": True,
        "processes": 1,
        "machine": "1 x 2 threads",
        "versions": {"torch": "2.15.0"},
        "steps": 40,
        "weights": {
            "cnn": {"step": 30, "chosen": {"by": "mean_iou", "evaluations": 4}},
            "vit": {"step": 40, "chosen": None},
        },
        "titles": {"ce": "cross entropy (nats)", "teaches_pixels": "share of pixels it teaches"},
        "scores": {split: scores.to_json() for split in ("eval", "validation", "test")},
        "control": {"validation": control.to_json()},
    } | changes
    history = [
        {
            "step": step,
            "ce_cnn": 1 / step,
            "ce_vit": 2 / step,
            "teaches_pixels_cnn": 0.625,
            "loss": 3.0,
        }
        for step in range(2, 41, 2)
    ]
    history += [{"step": 40} | scores.metrics("eval")]
    groups = {"blind": [CLASSES[1]], "groups": [[CLASSES[0]], list(CLASSES[1:])]}
    history += [{"step": 10, "class_groups": {"cnn": groups, "vit": groups}}]
    summary = DataSummary(
        CLASSES, {"train": SplitSummary(4, True), "validation": SplitSummary(4, True)}
    )
    summary.splits["train"].add(Finding(None, {0: 9000, 1: 900, 2: 3, 255: 97}, (30, 40)))
    summary.splits["validation"].add(Finding(None, {0: 10, 1: 10, 2: 10, 3: 10}, (30, 40)))
    folder.mkdir(exist_ok=True)
    (folder / RECORD_FILE).write_text(json.dumps(record))
    (folder / "trainer_state.json").write_text(
        json.dumps({"log_history": history, "max_steps": 40, "global_step": 40})
    )
    facts = summary.as_json() | {"left_out": ["left out: 1 without a mask (a<b>.jpg)"]}
    (folder / "data.json").write_text(json.dumps(facts))
    save_counts(folder, CLASSES, {"validation": counts})
    for name in ("figure", "samples", "extremes", "classes"):
        PIL.Image.new("RGB", (1200, 300), "green").save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(make_run(tmp_path_factory.mktemp("run")))


def test_what_the_data_have_left_out_is_on_the_page(page):
    """The console alone told it, and the page showed what was left."""
    assert "<p>Left out: 1 without a mask (a&lt;b&gt;.jpg).</p>" in page.read_text()


def test_the_page_is_well_formed_and_holds_every_number_of_the_results(page):
    text, record = text_of(page), json.loads((page.parent / RECORD_FILE).read_text())
    scores, control = (evaluations_from_json(record[what]) for what in ("scores", "control"))
    for of in (*scores.values(), *control.values()):
        for student in of.students.values():
            shares = (
                student.mean_iou,
                student.mean_accuracy,
                student.overall_accuracy,
                *student.ious.values(),
            )
            assert all(f"{100 * share:.2f}" in text for share in shares)
    assert all(
        f"{student.loss:.4f}" in text for of in scores.values() for student in of.students.values()
    )
    cnn, alone = scores["validation"].students["cnn"], control["validation"].students["cnn"]
    gain = 100 * (cnn.mean_iou - alone.mean_iou)
    for expected in (
        f"{gain:+.2f} over itself alone",
        "Finished: step 40.",
        "Weights of cnn: of step 30 of 40, chosen by mIoU on validation as the best of 4 "
        "evaluations",
        "Weights of vit: of the last step, 40.",
        "7 images",
        "torch 2.15.0",
        "1 x 2 threads",
        "cross entropy (nats)",
        "share of pixels it teaches (%)",
        "cnn 62.5",  # the last value, beside the name
        "frame-",
        "was last taught on 2 groups of 4 classes",
        "has 3,000 times the pixels of",
        "rare",
        "absent",
        "0.97 % of the pixels not scored",
    ):
        assert expected in text, expected


def test_names_and_the_command_are_shown_as_they_are_and_are_no_markup(page):
    html, reader = page.read_text(), read_page(page)
    assert "script" not in reader.tags and "<b>road" not in html and "<i>made" not in html
    text = text_of(page)
    for name in (*CLASSES, "<i>made up</i> scenes", "<script>alert(1)</script>"):
        assert name in text


def test_the_page_needs_nothing_beside_it(page):
    links = read_page(page).links
    assert sum(link.startswith("data:image/png;base64,") for link in links) == 4
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import", re.sub(r'"data:[^"]*"', "", page.read_text())
    )


def test_the_worst_and_the_best_images_are_those_of_the_counts(page):
    text = text_of(page)
    best, worst = text.index("Best cnn vit"), text.index("Worst cnn vit")
    listed = [
        re.findall(r"(frame-\d) ([\d.]+) ([\d.]+)", part)
        for part in (text[best:worst], text[worst:])
    ]
    means = [[(float(cnn) + float(vit)) / 2 for _, cnn, vit in of] for of in listed]
    assert (len(means[0]), len(means[1])) == (4, 3)  # of seven, and none in both
    assert means[0] == sorted(means[0], reverse=True) and means[1] == sorted(means[1])
    assert means[0][0] > means[1][0]


def test_what_is_taken_for_what_adds_up_to_all_pixels_of_a_class(page):
    rows = re.findall(r"<tr><th [^>]*>\d [^<]*</th>\s*(.*?)\s*</tr>", page.read_text(), re.DOTALL)
    assert len(rows) == 2 * len(CLASSES)
    for row in rows:
        assert sum(map(float, re.findall(r"--v: ([\d.]+)", row))) == pytest.approx(1, abs=0.003)


def test_a_run_that_has_begun_has_a_page_and_one_of_an_older_version_is_told_why_not(tmp_path):
    folder = make_run(tmp_path, scores={}, control={}, titles={})
    for file in ("trainer_state.json", "data.json", "counts.npz", "figure.png", "samples.png"):
        (folder / file).unlink()
    path = write_run_page(folder, live=True)
    assert (
        "Nothing has been scored yet." in text_of(path)
        and 'http-equiv="refresh"' in path.read_text()
    )
    (folder / RECORD_FILE).unlink()
    with pytest.raises(
        ValueError, match=r"holds no run\.json, from which the page of a run is written"
    ):
        write(folder)


def test_while_a_run_goes_on_its_page_shows_the_last_evaluation_and_loads_itself_again(
    tmp_path, caplog
):
    folder = make_run(tmp_path, scores={})
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    (folder / "trainer_state.json").unlink()
    state = TrainerState(log_history=history, max_steps=80, global_step=40)
    args, control, report = (
        SimpleNamespace(should_save=True, output_dir=str(folder)),
        TrainerControl(),
        LiveReport(),
    )
    report.on_evaluate(args, state, control)
    text = text_of(folder / "report.html")
    assert "Running: step 40 of 80." in text and "Of the last evaluation." in text
    assert 'http-equiv="refresh"' in (folder / "report.html").read_text()
    report.on_train_end(args, state, control)
    assert 'http-equiv="refresh"' not in (folder / "report.html").read_text()
    # which would say that the students are trained to the end
    assert not (folder / "trainer_state.json").exists()
    assert "Not at its end: step 40 of 80." in text_of(folder / "report.html")
    with caplog.at_level("WARNING"):
        report.on_evaluate(
            SimpleNamespace(should_save=True, output_dir=str(folder / "gone")), state, control
        )
    assert "report.html could not be written" in caplog.text  # and the training goes on


def test_a_chart_draws_few_points_of_many_and_the_last_one_and_marks_a_single_one():
    chart = line_chart(
        "loss", {"cnn": [(step, 1 / step) for step in range(1, 20001)], "vit": []}, 20000
    )
    first, second = chart.lines
    assert len(first.path.split()) == 400 and len(first.points) == 40 and not second.points
    assert first.points[-1].text == "cnn, step 20000: 5.00e-05" and chart.last == {
        "cnn": "5.00e-05"
    }
    single = line_chart("mIoU", {"cnn": [(5, 40.0)]}, 10, {"cnn": 30.0})
    assert len(single.lines[0].points) == 1 and single.lines[1].is_dashed
    assert chart.left < single.lines[0].points[0].x < chart.right
    assert all(chart.top <= tick.place <= chart.bottom for tick in chart.y_ticks)


def test_zero_and_both_ends_of_every_interval_are_on_the_axis():
    chart = interval_chart("gain", [("dml", 1, (0.5, -0.25, 1.25)), ("ctcl", 2, (2.0, None, None))])
    places = [
        place for bar in chart.bars for place in (bar.low, bar.value, bar.high) if place is not None
    ]
    assert all(0 <= place <= 100 for place in [*places, chart.zero])
    assert [bar.text for bar in chart.bars] == ["+0.50 [-0.25, +1.25]", "+2.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (52.2443, "52.24"),
        (0.00123456, "0.001235"),
        (1e-9, "1.00e-09"),
        (12345.0, "12345"),
        (1e6, "1.00e+06"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


@needs_chromium
@pytest.mark.parametrize("width", [360, 390, 768, 1200])
def test_nothing_is_wider_than_a_phone_or_a_desk_in_light_and_in_dark(page, tmp_path, width):
    with chromium(tmp_path / "profile", width) as browser:
        for theme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": theme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            browser.get(page.as_uri())
            assert browser.execute_script("return innerWidth") == width
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            sections = browser.find_elements("css selector", "main > *")
            assert all(
                int(of.get_property("scrollWidth")) <= int(of.get_property("clientWidth"))
                for of in sections
            )
            body = browser.find_element("css selector", "body")
            colours = [body.value_of_css_property(name) for name in ("color", "background-color")]
            dark, light = sorted(
                sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours
            )
            assert light - dark > 500  # of 765: text can be told from the page
            assert (sum(map(int, re.findall(r"\d+", colours[1])[:3])) > 380) == (theme == "light")
            assert not [log for log in browser.get_log("browser") if log["level"] == "SEVERE"]


@needs_chromium
def test_a_class_name_that_fits_a_phones_column_is_not_broken_within_a_word(tmp_path):
    """ "background" was "backgrou" and "nd" at 390 pixels, and a single curve a third of a desk."""
    names = ("background", "traffic light", "pole", CLASSES[-1])
    make_run(tmp_path / "run", names)
    page = write_run_page(tmp_path / "run")
    lines = """
        return Object.fromEntries([...document.querySelectorAll("tbody th")].map(th => {
          const range = document.createRange();
          range.selectNodeContents(th.firstChild);
          const tops = [...range.getClientRects()].map(line => Math.round(line.top));
          return [th.firstChild.textContent.trim(), new Set(tops).size];
        }))"""
    width = 'return document.querySelector(".charts").firstElementChild.clientWidth'
    for wide in (390, 1280):
        with chromium(tmp_path / "profile", wide) as browser:
            browser.get(page.as_uri())
            found = browser.execute_script(lines)
            assert [found[name] for name in names[:3]] == [1, 1, 1] and found[names[3]] > 1
            assert browser.execute_script(width) > min(wide, 1000) / 2
