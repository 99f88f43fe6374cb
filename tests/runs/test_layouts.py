"""From each layout of data to a trained pair and its scores, as the command line does it, in
seconds.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from accelerate import Accelerator
from helpers.benchmarks import make_ade20k, make_cityscapes, make_voc
from helpers.pictures import ids, picture, save

from ctcl_hf.arguments.data import DataArguments
from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.data.benchmarks import camvid
from ctcl_hf.data.benchmarks.camvid import OFFICIAL_COLOURS
from ctcl_hf.runs.run import finish, prepare, train
from ctcl_hf.scoring.protocols import Protocol
from ctcl_hf.scoring.scorer import Scorer, saved_students

REAL = Path(os.environ.get("CAMVID_DIR", Path(__file__).parents[3] / "shared" / "camvid"))
TINY = (
    *(
        "--recipe",
        "demo",
        "--cnn",
        "mobilenetv2_035",
        "--aspp_channels",
        "8",
        "--crop_size",
        "32",
        "--image_size",
        "32",
    ),
    *("48", "--per_device_train_batch_size", "2", "--max_steps", "2", "--eval_strategy", "no"),
    *("--disable_tqdm", "True", "--report_to", "none"),
)


def camvid_folder(root, official, monkeypatch):
    """CamVid's two layouts: a few real frames where they are, else drawn ones."""
    monkeypatch.setattr(
        camvid,
        "CAMVID_SPLITS",
        {"train": ("train", 2), "val": ("validation", 1), "test": ("test", 1)},
    )
    frames = {
        "train": ["0001TP_006690", "0006R0_f00930"],
        "val": ["0016E5_07959"],
        "test": ["Seq05VD_f00000"],
    }
    colours = np.zeros((256, 3), dtype=np.uint8)
    for colour, class_id in OFFICIAL_COLOURS.items():
        colours[11 if class_id == 255 else class_id] = colour
    for split, names in frames.items():
        for name in names:
            image = next(iter(sorted((REAL / split).glob(f"{name}.*"))), None)
            mask = next(iter(sorted((REAL / f"{split}annot").glob(f"{name}.*"))), None)
            labels = (
                np.asarray(PIL.Image.open(mask))
                if mask
                else np.resize(np.arange(12, dtype=np.uint8), (24, 32))
            )
            if official:
                to = (
                    root / "701_StillsRaw_full" / f"{name}.png",
                    root / "LabeledApproved_full" / f"{name}_L.png",
                )
            else:
                to = root / split / f"{name}.png", root / f"{split}annot" / f"{name}.png"
            to[0].parent.mkdir(parents=True, exist_ok=True)
            if image:
                PIL.Image.open(image).save(to[0])
            else:
                picture(to[0])
            save(to[1], colours[labels] if official else labels)
    return ["--dataset", "camvid", "--data_dir", str(root)]


def voc(root, monkeypatch):
    make_voc(root)
    return ["--dataset", "voc", "--data_dir", str(root)]


def cityscapes(root, monkeypatch):
    return ["--dataset", "cityscapes", "--data_dir", str(make_cityscapes(root))]


def ade20k(root, monkeypatch):
    return ["--dataset", "ade20k", "--data_dir", str(make_ade20k(root))]


def pairs(root, monkeypatch):
    for split in ("train", "validation"):
        for i in range(2):
            picture(root / split / "images" / f"{i}.jpg", i)
            save(root / split / "masks" / f"{i}.png", ids(0, 1, 255))
    return ["--dataset_name", str(root), "--class_names", "ground", "tree"]


LAYOUTS = {
    "camvid": lambda root, monkeypatch: camvid_folder(root, False, monkeypatch),
    "camvid-official": lambda root, monkeypatch: camvid_folder(root, True, monkeypatch),
    "voc": voc,
    "cityscapes": cityscapes,
    "ade20k": ade20k,
    "pairs": pairs,
}
PROTOCOLS = {
    "voc": "centre crop of 32x32 from images and labels scaled to cover it",
    "cityscapes": "sliding window of 32x32, stride 22x22, over images at 32x48",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_trains_and_its_students_score_as_the_run_said(
    layout, tmp_path, monkeypatch, capsys
):
    data_options = LAYOUTS[layout](tmp_path / "data", monkeypatch)
    run = prepare(
        parse_arguments("", [*TINY, *data_options, "--output_dir", str(tmp_path / "run")])
    )
    assert train(run)
    finish(run)
    told = json.loads((tmp_path / "run" / "results.json").read_text())
    assert told["protocol"] == PROTOCOLS.get(layout, "whole images at 32x48")
    assert f"Scored by: {told['protocol']}." in (tmp_path / "run" / "cnn" / "README.md").read_text()
    assert f"Scored: {told['protocol']}." in capsys.readouterr().out
    data = DataArguments(**told["data"]).load()
    assert "test" not in told["scores"] or layout.startswith("camvid")
    protocol: Protocol = run.trainer.protocol
    for name in ("cnn", "vit"):
        scorer = Scorer(saved_students(str(tmp_path / "run" / name)), data, Accelerator(cpu=True))
        scores, images = scorer.score("validation", protocol, predictions=tmp_path / "png")[name]
        assert scores.mean_iou == pytest.approx(
            told["scores"]["validation"]["students"][name]["mean_iou"], abs=1e-9
        )
        assert images.labelled_pixels > 0
    shutil.rmtree(tmp_path / "run")


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("checked", [True, False])
def test_a_split_without_labels_and_an_absent_class_leave_no_nan_behind(tmp_path, capsys, checked):
    """The table was of nan, the card's model-index had .nan, and results.json and
    trainer_state.json were no JSON.
    """
    for split, values in (("train", (0, 1, 255)), ("validation", (0, 1, 255)), ("test", (255,))):
        for i in range(2):
            picture(tmp_path / "data" / split / "images" / f"{i}.jpg", i + len(split))
            save(tmp_path / "data" / split / "masks" / f"{i}.png", ids(*values))
    options = [
        "--dataset_name",
        str(tmp_path / "data"),
        "--class_names",
        "ground",
        "tree",
        "water",
        "--method",
        "vanilla",
    ]
    options += [
        "--output_dir",
        str(tmp_path / "run"),
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "2",
    ]
    run = prepare(parse_arguments("", [*TINY, *options, *([] if checked else ["--no_check_data"])]))
    assert train(run)
    finish(run)
    files = [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".json", ".md")]
    for path in files:
        assert ".nan" not in path.read_text() and "| nan" not in path.read_text()
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=refuse_constant)
    assert {"results.json", "trainer_state.json", "run.json", "README.md"} <= {
        path.name for path in files
    }
    told = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "test" not in told["scores"] and "validation" in told["scores"]
    assert (
        "test: 2 images, none of which has a labelled pixel: not scored" in capsys.readouterr().out
    )


def test_a_run_that_checks_nothing_still_refuses_masks_of_one_class(tmp_path):
    """--no_check_data or --streaming let a run report 100 % of the class that 0 stands for."""
    for split in ("train", "validation"):
        for i in range(2):
            picture(tmp_path / "data" / split / "images" / f"{i}.jpg", i)
            save(tmp_path / "data" / split / "masks" / f"{i}.png", ids(0, 255))
    options = [
        "--dataset_name",
        str(tmp_path / "data"),
        "--class_names",
        "ground",
        "disc",
        "--no_check_data",
    ]
    with pytest.raises(ValueError, match=r"hold ground alone, of 2 classes.*--label_map 255:1"):
        prepare(parse_arguments("", [*TINY, *options, "--output_dir", str(tmp_path / "run")]))
