"""The benchmarks in their official layouts, made small: counts, masks, sources, and what is
missing.
"""

import numpy as np
import PIL.Image
import pytest
from helpers.benchmarks import make_ade20k, make_cityscapes, make_voc, mask
from helpers.pictures import SIZE, picture
from scipy.io import savemat

from ctcl_hf.data import (
    DATASETS,
    BadSample,
    build_ade20k,
    build_camvid,
    build_cityscapes,
    build_voc,
    palette_for,
)
from ctcl_hf.data.benchmarks import camvid
from ctcl_hf.data.benchmarks.camvid import OFFICIAL_CLASSES, OFFICIAL_COLOURS
from ctcl_hf.data.benchmarks.cityscapes import CITYSCAPES_CLASSES, CITYSCAPES_IDS
from ctcl_hf.data.benchmarks.published import published_of
from ctcl_hf.scoring.protocols import PROTOCOLS


def counts(data):
    return {split: len(rows) for split, rows in data.splits.items()}


def ids_of(data, split, index=0):
    return set(np.unique(data.samples(split, lambda *pair: pair)[index]["labels"]).tolist())


# ---- VOC ----


def make_sbd(parent, names):
    folder = parent / "benchmark_RELEASE" / "dataset" / "cls"
    folder.mkdir(parents=True)
    for name in names:
        ids = np.resize(np.array([0, 7], dtype=np.uint8), SIZE)
        savemat(
            folder / f"{name}.mat",
            {"GTcls": {"Segmentation": ids, "Boundaries": 0}},
            do_compression=True,
        )
    return folder


def test_voc_alone_is_its_own_split_and_says_what_is_missing(tmp_path):
    make_voc(tmp_path)
    data = build_voc(str(tmp_path))
    assert counts(data) == {"train": 2, "validation": 1}
    assert "without SegmentationClassAug/ or SBD's benchmark_RELEASE/" in str(data)
    assert ids_of(data, "train") == {0, 15, 20, 255}
    assert len(data.class_names) == 21
    data.check()


def test_voc_takes_what_segmentationclassaug_adds_but_never_a_validation_image(tmp_path):
    folder = make_voc(tmp_path)
    for name in ("a", "c", "d"):
        mask(folder / "SegmentationClassAug" / f"{name}.png", [3])
    data = build_voc(str(folder))
    assert counts(data) == {"train": 3, "validation": 1}
    assert ids_of(data, "train", 0) == {0, 15, 20, 255}  # VOC's own mask of a
    assert ids_of(data, "train", 2) == {3}
    assert "2 training masks of SegmentationClass, 1 of " in str(data)


@pytest.mark.parametrize("above", [0, 1, 2])
def test_voc_reads_sbd_as_it_is_distributed_and_once(tmp_path, monkeypatch, above):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = make_voc(tmp_path)
    matrices = make_sbd([folder, *folder.parents][above], ("a", "c", "d", "e"))
    data = build_voc(str(tmp_path / "VOCdevkit"))
    assert counts(data) == {"train": 4, "validation": 1}
    assert ids_of(data, "train", 3) == {0, 7}
    assert str(matrices) in str(data)
    cached = next((tmp_path / "cache").glob("sbd-*/d.png"))
    written = cached.stat().st_mtime_ns
    build_voc(str(folder))
    assert cached.stat().st_mtime_ns == written


def test_voc_names_a_broken_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = make_voc(tmp_path)
    (make_sbd(folder, ("d",)) / "e.mat").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"Cannot read the mask in .*e\.mat"):
        build_voc(str(folder))


def test_voc_names_the_list_whose_file_is_missing(tmp_path):
    folder = make_voc(tmp_path)
    (folder / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(ValueError, match=r"val\.txt names 1 file, of which 1 is missing \(c\)"):
        build_voc(str(folder))


def test_the_colours_are_vocs():
    from ctcl_hf.data.benchmarks.voc import VOC_PALETTE

    assert VOC_PALETTE[1] == (128, 0, 0)
    assert VOC_PALETTE[15] == (192, 128, 128)
    assert VOC_PALETTE[20] == (0, 64, 128)


# ---- Cityscapes ----


def test_cityscapes_ids_become_the_nineteen_of_training(tmp_path):
    data = build_cityscapes(str(make_cityscapes(tmp_path)))
    assert counts(data) == {"train": 2, "validation": 1, "test": 1}
    assert ids_of(data, "train") == {0, 18, 255}
    assert data.scored_splits == ["validation"]
    assert ids_of(data, "test") == {255}
    data.check()


def test_cityscapes_train_ids_are_taken_as_they_are(tmp_path):
    data = build_cityscapes(str(make_cityscapes(tmp_path, "labelTrainIds", (0, 18, 255))))
    assert ids_of(data, "validation") == {0, 18, 255}
    assert "labelTrainIds" in str(data)


@pytest.mark.parametrize(
    ("kind", "ids", "found"),
    [("labelTrainIds", (0, 7, 33), r"\[33\]"), ("labelIds", (0, 18, 255), r"\[255\]")],
)
def test_cityscapes_ids_under_the_wrong_name_are_caught(tmp_path, kind, ids, found):
    with pytest.raises(ValueError, match=found):
        build_cityscapes(str(make_cityscapes(tmp_path, kind, ids))).check()


def test_cityscapes_classes_are_in_the_order_of_their_ids():
    assert len(CITYSCAPES_CLASSES) == 19
    assert list(CITYSCAPES_IDS) == sorted(CITYSCAPES_IDS)


def test_cityscapes_names_an_image_without_a_mask(tmp_path):
    make_cityscapes(tmp_path)
    picture(tmp_path / "leftImg8bit" / "val" / "lindau" / "lindau_000001_000019_leftImg8bit.png")
    with pytest.raises(
        ValueError,
        match=r"val split .* 1 image without a mask .*lindau_000001_000019_leftImg8bit.png",
    ):
        build_cityscapes(str(tmp_path))


# ---- ADE20K ----


def test_ade20k_ids_are_reduced_once(tmp_path):
    make_ade20k(tmp_path)
    data = build_ade20k(str(tmp_path))
    assert counts(data) == {"train": 2, "validation": 1}
    assert ids_of(data, "validation") == {0, 149, 255}
    assert data.class_names[0] == "thing 1"
    assert data.class_names[149] == "flag"  # its first name is taken
    assert len(set(data.class_names)) == len(data.palette) == 150


def test_ade20k_needs_its_list_of_classes(tmp_path):
    (make_ade20k(tmp_path) / "objectInfo150.txt").unlink()
    with pytest.raises(ValueError, match=r"objectInfo150\.txt not found"):
        build_ade20k(str(tmp_path))


# ---- CamVid, the authors' ----


def test_the_authors_camvid_is_split_and_grouped_as_segnets(tmp_path, monkeypatch):
    monkeypatch.setattr(
        camvid,
        "CAMVID_SPLITS",
        {"train": ("train", 3), "val": ("validation", 1), "test": ("test", 2)},
    )
    frames = [
        "0001TP_006690",
        "0006R0_f00930",
        "0016E5_08190",
        "0016E5_07959",
        "0001TP_008550",
        "Seq05VD_f00000",
    ]
    colours = np.array(list(OFFICIAL_COLOURS), dtype=np.uint8)
    for frame in frames:
        picture(tmp_path / "701_StillsRaw_full" / f"{frame}.png")
        (tmp_path / "LabeledApproved_full").mkdir(exist_ok=True)
        PIL.Image.fromarray(np.resize(colours, (*SIZE, 3))).save(
            tmp_path / "LabeledApproved_full" / f"{frame}_L.png"
        )
    data = build_camvid(str(tmp_path))
    assert counts(data) == {"train": 3, "validation": 1, "test": 2}
    assert ids_of(data, "validation") == {*range(11), 255}
    labels = data.samples("train", lambda *pair: pair)[0]["labels"].flatten().tolist()
    assert labels[: len(colours)] == list(OFFICIAL_COLOURS.values())
    assert data.image_size == (720, 960)


def test_a_copy_of_camvid_that_is_no_benchmark_says_how_to_read_it(tmp_path):
    (tmp_path / "train_labels").mkdir()
    with pytest.raises(ValueError, match=r"train_labels/.*--dataset_name"):
        build_camvid(str(tmp_path))


def test_the_authors_32_classes_are_each_in_one_group():
    assert len(OFFICIAL_COLOURS) == 32
    assert sum(len(parts) for parts in OFFICIAL_CLASSES.values()) == 31  # and Void


# ---- all ----


def make_camvid(root):
    """SegNet's copy, of as many files as it has, each of the same few bytes."""
    picture(root / "image.png")
    mask(root / "mask.png", range(12))
    for folder, (_, count) in camvid.CAMVID_SPLITS.items():
        for kind, file in ((folder, "image.png"), (f"{folder}annot", "mask.png")):
            (root / kind).mkdir()
            for i in range(count):
                (root / kind / f"{i:04}.png").write_bytes((root / file).read_bytes())
    return root


# A small copy of each data set: what makes it in a folder, and returns what --data_dir is told.
COPIES = {
    "camvid": make_camvid,
    "voc": make_voc,
    "cityscapes": make_cityscapes,
    "ade20k": make_ade20k,
    "synthetic": lambda root: None,
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_registered_data_set_holds_what_a_run_reads_of_it(tmp_path, name):
    """An entry of DATASETS is tested by being registered; it brings a small copy of itself for
    COPIES.
    """
    told = COPIES[name](tmp_path)
    data = DATASETS[name](None if told is None else str(told))
    assert data.name == name
    assert len(set(data.class_names)) == len(data.class_names) == len(set(data.palette))
    assert data.protocol in PROTOCOLS
    assert data.prediction_ids is None or len(set(data.prediction_ids)) == len(data.class_names)
    assert len(data.image_size) == 2 and min(data.image_size) >= 32
    assert {"train", "validation"} <= set(data.splits)
    for split in ("train", "validation"):
        assert ids_of(data, split) - {255} <= set(range(len(data.class_names)))
        assert ids_of(data, split) - {255}
    known = published_of(DATASETS[name])
    assert known is not None, "its builder lacks @published"
    assert known.num_classes == len(data.class_names)
    if known.colours:  # else its classes are named beside the data
        assert tuple(palette_for(data.class_names)) == data.palette
    if told is None:
        assert known.train_images == len(data.splits["train"])
    else:
        with pytest.raises(ValueError, match="nowhere"):
            DATASETS[name](str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("build", "name", "inside"),
    [
        (build_voc, "voc", "JPEGImages"),
        (build_cityscapes, "cityscapes", "leftImg8bit"),
        (build_ade20k, "ade20k", "annotations"),
    ],
)
def test_a_folder_that_is_not_there_or_empty_says_what_was_expected(tmp_path, build, name, inside):
    with pytest.raises(ValueError, match=f"^{name} cannot be downloaded"):
        build()
    with pytest.raises(ValueError, match=f"is no folder. Expected one with {inside}/"):
        build(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=f"found no {inside}/ in it"):
        build(str(tmp_path))


def test_a_colour_without_a_meaning_is_named(tmp_path, monkeypatch):
    from ctcl_hf.data import MaskReader

    read = MaskReader(2, colours={(1, 2, 3): 0, (4, 5, 6): 1})
    pixels = np.full((*SIZE, 3), (1, 2, 3), dtype=np.uint8)
    assert (read(PIL.Image.fromarray(pixels)) == 0).all()
    pixels[0, 0] = (4, 5, 7)
    with pytest.raises(ValueError, match=r"without a meaning: \[\(4, 5, 7\)\]"):
        read(PIL.Image.fromarray(pixels))
    assert issubclass(BadSample, ValueError)
