"""Every Python block of the documents, run as it stands on a small data set and small students."""

import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from conftest import CLASSES, make_cnn, make_data, make_vit

from ctcl_hf import METHODS, StudentPair

ROOT = Path(__file__).parents[1]
# rendered, and its block run, by publishing/test_card.py
TEMPLATES = {ROOT / "ctcl_hf" / "publishing" / "student.md"}
PLACES = ("*.md", "docs/**/*.md", "model_cards/*.md", "ctcl_hf/**/*.md")
DOCUMENTS = sorted({path for place in PLACES for path in ROOT.glob(place)} - TEMPLATES)
SIZE = (64, 64)


def street(folder):
    PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    ).save(folder / "street.jpg")


def released(folder, monkeypatch):
    """Where a block loads a student of a run, or one beside its card, and an image of the
    reader's.
    """
    street(folder)
    for place in ("runs/camvid-paper-ctcl/cnn", "PATH/TO/THIS/FOLDER"):
        make_cnn().save_pretrained(str(folder / place))
    return {}


def vit_released(folder, monkeypatch):
    street(folder)
    make_vit().save_pretrained(str(folder / "PATH/TO/THIS/FOLDER"))
    return {}


def small_training(folder, monkeypatch):
    """What the example names but a test machine lacks: the data set, ImageNet weights, and hours of
    time.
    """
    makers = {"mobilenetv2_100": make_cnn, "nvidia/mit-b1": make_vit}
    monkeypatch.setattr("ctcl_hf.data.build_camvid", lambda data_dir: make_data(6, 2, SIZE))
    monkeypatch.setattr(
        "ctcl_hf.students.loading.load_student",
        lambda name, classes, size: makers[name](len(classes), size),
    )
    return {
        "num_train_epochs=60": "max_steps=1, use_cpu=True, disable_tqdm=True",
        "(512, 512)": "(64, 64)",
    }


def street_scenes(folder, monkeypatch):
    splits = make_data(4, 2).splits
    hub = datasets.DatasetDict(train=splits["train"], test=splits["validation"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name: hub)
    return {}


def own_method(folder, monkeypatch):
    monkeypatch.setattr(METHODS, "data", dict(METHODS.data))  # what it registers is forgotten
    return {}


def all_classes(folder, monkeypatch):
    for name, make in (("cnn", make_cnn), ("vit", make_vit)):
        make(11).save_pretrained(
            str(folder / "runs/table-3/mobilenetv2+mit-b1/seed-42/vanilla" / name)
        )
    data = make_data(5, 1, SIZE)
    names = tuple(f"class {i}" for i in range(11))
    wide = type(data)(**(vars(data) | {"class_names": names, "palette": ((0, 0, 0),) * 11}))
    monkeypatch.setattr("ctcl_hf.data.build_camvid", lambda data_dir: wide)
    return {"(180, 240)": "(64, 64)"}


def six_classes(folder, monkeypatch):
    first = folder / "runs/six/mobilenetv2+mit-b1/seed-42/vanilla"
    for name, make in (("cnn", make_cnn), ("vit", make_vit)):
        make(6).save_pretrained(str(first / name))
    for place in ("seed-42/ctcl", "seed-43/vanilla", "seed-43/ctcl"):
        shutil.copytree(first, first.parents[1] / place)
    data = make_data(1, 5, SIZE)
    tested = type(data)(**(vars(data) | {"splits": {"test": data.splits["validation"]}}))
    monkeypatch.setattr("ctcl_hf.data.build_own", lambda name, class_names, label_map: tested)
    return {"(180, 240)": "(64, 64)"}


def counted(folder, monkeypatch):
    """A loader and a model, which the block takes as given."""
    return {
        '"path/to/ctcl_hf/metrics/mean_iou"': f'"{ROOT / "ctcl_hf/metrics/mean_iou"}"',
        "import evaluate\n": "import evaluate, torch\n"
        "loader = [(torch.rand(2, 11, 8, 8), torch.randint(0, 11, (2, 8, 8)))]\n"
        "model = lambda images: images\n",
    }


def trained(found, capsys):
    assert "eval_cnn_mean_iou" in capsys.readouterr().out
    assert {path.name for path in Path("runs/mine").iterdir()} >= {"cnn", "vit"}


def learns(found, capsys):
    cnn, vit = make_cnn(), make_vit()
    output = StudentPair({"cnn": cnn, "vit": vit}, METHODS["mutual"](cnn, vit, mutual=0.5))(
        torch.randint(0, 256, (2, 3, *SIZE)), torch.randint(0, 3, (2, *SIZE))
    )
    assert {"mutual_cnn", "mutual_vit"} <= output.terms.keys()


def is_a_student(found, capsys):
    cnn, vit = make_cnn(), found["TinyFormer"].new(CLASSES, SIZE, from_scratch=True)
    images, labels = torch.randint(0, 256, (2, 3, *SIZE)), torch.randint(0, 3, (2, *SIZE))
    output = StudentPair({"cnn": cnn, "vit": vit}, METHODS["ctcl"](cnn, vit))(images, labels)
    assert {"hfd_vit", "hfd_cnn", "region_vit"} <= output.terms.keys()


def printed(*expected):
    def check(found, capsys):
        text = capsys.readouterr().out
        assert all(part in text for part in expected), text

    return check


def silent(found, capsys):
    """What it makes is all that it does."""


# document and number of the block -> what it needs around it, and what must have come of it. A
# block that is not here runs as it is.
STAGES = {
    ("README.md", 0): (released, printed("(60, 40)")),
    ("README.md", 1): (small_training, trained),
    ("docs/design.md", 0): (street_scenes, silent),
    ("docs/design.md", 1): (own_method, learns),
    ("docs/design.md", 2): (own_method, is_a_student),
    ("docs/results-all-classes.md", 0): (all_classes, printed("class 0 tensor", "class 10 tensor")),
    ("docs/results-all-classes.md", 1): (six_classes, printed("42 vanilla [", "43 ctcl [")),
    ("ctcl_hf/metrics/mean_iou/README.md", 0): (counted, silent),
    ("model_cards/camvid-ctcl-cnn.md", 0): (released, printed("(60, 40)")),
    ("model_cards/camvid-ctcl-vit.md", 0): (vit_released, printed("(60, 40)")),
}
OF_THE_HUB = {("docs/publishing.md", 0): "it loads a student that someone has published on the Hub"}


def blocks_of(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def blocks():
    for path in DOCUMENTS:
        document = path.relative_to(ROOT).as_posix()
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        ):
            place = (document, number)
            skip = [pytest.mark.skip(reason=OF_THE_HUB[place])] if place in OF_THE_HUB else []
            yield pytest.param(place, block, marks=skip, id=f"{document}-{number}")


@pytest.mark.parametrize(("place", "block"), list(blocks()))
def test_a_block_runs_as_it_stands(place, block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stage, check = STAGES.get(place, (lambda folder, monkeypatch: {}, silent))
    for as_written, here in stage(tmp_path, monkeypatch).items():
        assert as_written in block, (
            f"{place}: its stage replaces {as_written!r}, which is not there any more"
        )
        block = block.replace(as_written, here)
    found = {}
    exec(compile(block, "-".join(map(str, place)), "exec"), found)
    check(found, capsys)


def test_every_stage_is_of_a_block():
    places = {parameters.values[0] for parameters in blocks()}
    assert {*STAGES, *OF_THE_HUB} <= places


def test_the_readmes_example_of_training_is_short():
    assert len(blocks_of(ROOT / "README.md")[1].strip().splitlines()) <= 18
