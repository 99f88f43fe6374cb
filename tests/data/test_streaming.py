"""Parquet read where it lies: the same rows, an order that reads every row group once, and exact
resume.
"""

import pickle
import shutil
from collections import Counter

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import CLASSES, make_data
from datasets import Dataset, Features, Value
from helpers.training import assert_equal_weights, make_trainer, training_logs, weights

from ctcl_hf.data import BadSample, build_own
from ctcl_hf.data.shards import write_shards
from ctcl_hf.data.streaming import StreamedRows

COLUMNS = {"image": "image", "label": "label"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """24 images in row groups of 2, three files."""
    folder = tmp_path_factory.mktemp("streaming") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctcl_hf.data.shards.ROW_GROUP", 2)
        patch.setattr("ctcl_hf.data.shards.SHARD_BYTES", 150_000)
        write_shards(make_data(24, 4), folder)
    assert len(list(folder.glob("data/train-*.parquet"))) > 1
    return folder


def streamed(folder, **options):
    return build_own(str(folder), streaming=True, **options)


def test_a_stream_has_the_rows_of_the_files(shards):
    stream, rows = streamed(shards).splits["train"], build_own(str(shards)).splits["train"]
    assert len(stream) == len(rows) == 24
    for index in (0, 23, 7, 7, 12):
        for column in ("image", "label"):
            assert np.array_equal(
                np.asarray(stream[index][column]), np.asarray(rows[index][column])
            )
    with pytest.raises(IndexError):
        stream[24]


def test_files_anywhere_are_streamed_and_nothing_is_copied(shards, monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    memory = fsspec.filesystem("memory")
    for path in sorted(shards.glob("data/train-*.parquet")):
        memory.pipe(f"/far/{path.name}", path.read_bytes())
    files = [f"memory:/{name}" for name in sorted(memory.ls("/far", detail=False))]
    stream = StreamedRows(files, COLUMNS, shuffle_buffer=8)
    near = build_own(str(shards), streaming=True).splits["train"]
    assert stream.stored(17) == near.stored(17)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("buffer", [1, 5, 100])
@pytest.mark.parametrize("processes", [1, 3])
def test_an_epoch_is_a_permutation_in_which_every_process_has_its_own_groups(
    shards, buffer, processes
):
    stream = streamed(shards, shuffle_buffer=buffer).splits["train"]
    order = stream.order(np.random.default_rng(1), processes, 2)
    assert sorted(order.tolist()) == list(range(24))
    assert order.tolist() == stream.order(np.random.default_rng(1), processes, 2).tolist()
    assert order.tolist() != stream.order(np.random.default_rng(2), processes, 2).tolist()
    owners = {}
    for batch in range(12):
        for row in order[2 * batch : 2 * batch + 2]:
            owners.setdefault(int(row) // 2, set()).add(batch % processes)
    assert all(len(owner) == 1 for owner in owners.values())


def test_an_epoch_reads_every_group_once_and_holds_no_more_than_its_buffer(shards, monkeypatch):
    read, most = Counter(), 0
    plain = pq.ParquetFile.read_row_group

    def counted(self, group, **options):
        read[id(self), group] += 1
        return plain(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    stream = streamed(shards, shuffle_buffer=6).splits["train"]
    read.clear()
    for index in stream.order(np.random.default_rng(0), 1, 2):
        stream[int(index)]
        most = max(most, sum(map(len, stream._held.values())))
    assert set(read.values()) == {1}
    assert len(read) == 12
    assert most <= 6 + 2


def test_a_stream_goes_to_another_process_without_its_files(shards):
    stream = streamed(shards).splits["train"]
    stream[3]
    again = pickle.loads(pickle.dumps(stream))
    assert again.stored(3) == stream.stored(3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_ends_as_the_undisturbed_one(shards, tmp_path, workers):
    def trainer(folder):
        data = streamed(shards, shuffle_buffer=6, class_names=CLASSES)
        saving = {"max_steps": 14, "save_steps": 5, "save_strategy": "steps"}
        loading = {"per_device_train_batch_size": 4, "dataloader_num_workers": workers}
        return make_trainer(tmp_path / folder, data=data, **saving, **loading)

    whole = trainer("whole")
    whole.train()
    resumed = trainer("resumed")
    # of the second epoch
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-10"))
    assert training_logs(resumed)[-1]["loss"] == training_logs(whole)[-1]["loss"]
    assert_equal_weights(weights(resumed), weights(whole))


def test_what_cannot_be_streamed_says_so(tmp_path, shards):
    (tmp_path / "train" / "images").mkdir(parents=True)
    with pytest.raises((ValueError, OSError), match=r"Parquet|cannot be loaded"):
        streamed(tmp_path, class_names=CLASSES)
    with pytest.raises(ValueError, match="--validation_share cannot hold out images of a stream"):
        streamed(shards, validation_share=0.5)
    text = tmp_path / "text" / "data"
    text.mkdir(parents=True)
    Dataset.from_dict({"name": ["a"]}, features=Features(name=Value("string"))).to_parquet(
        text / "train-00000-of-00001.parquet"
    )
    with pytest.raises(ValueError, match="no column of images"):
        streamed(tmp_path / "text", class_names=CLASSES)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("column", ["image", "label"])
def test_a_row_without_an_image_is_one_sentence(shards, tmp_path, column, streaming):
    """A null image was a KeyError."""
    folder = tmp_path / "nulls"
    shutil.copytree(shards, folder)
    for path in folder.glob("data/*.parquet"):
        rows = pq.read_table(path).to_pylist()
        rows[1][column] = None
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    data = build_own(str(folder), streaming=streaming)
    with pytest.raises(
        BadSample, match=rf"sample 1 \(an embedded {column}.*\): there is no image \(null\)"
    ):
        data.samples("train", None).read(1)


def spoilt(path, fault):
    """One of a stream's files, with a fault that its footer or its pages hide until a row is
    read.
    """
    if fault == "pages":
        content = bytearray(path.read_bytes())
        content[100:400] = bytes(300)
        path.write_bytes(content)
        return
    table = pq.read_table(path)
    if fault == "column":
        pq.write_table(table.drop_columns(["label"]), path)
    else:
        pq.write_table(table.set_column(1, "label", pa.array(["a.png"] * len(table))), path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("pages", ""),
        ("column", "there is no column for label"),
        ("type", "holds a str in place of an image"),
    ],
)
def test_a_fault_of_a_file_that_is_streamed_is_named_with_row_group_and_row(
    shards, tmp_path, fault, told
):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    last = sorted(folder.glob("data/train-*.parquet"))[-1]
    spoilt(last, fault)
    samples = streamed(folder).samples("train", None)
    first = len(samples) - pq.read_metadata(last).num_rows
    with pytest.raises(BadSample, match=rf"row 0 of row group 0 of .*{last.name}.*{told}"):
        samples.read(first)


def test_a_hub_data_set_is_streamed_from_the_files_that_it_lists(shards, monkeypatch):
    from types import SimpleNamespace

    files = {
        split: sorted(map(str, shards.glob(f"data/{split}-*.parquet")))
        for split in ("train", "validation")
    }
    builder = SimpleNamespace(config=SimpleNamespace(data_files=files))
    monkeypatch.setattr("datasets.load_dataset_builder", lambda name: builder)
    monkeypatch.setattr("ctcl_hf.data.own.build.files_beside", lambda name, *files: [None] * 3)
    monkeypatch.setattr("ctcl_hf.data.own.sources.hub_answers", lambda: True)
    data = streamed("user/streets", class_names=CLASSES)
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 24,
        "validation": 4,
    }
    assert data.image_size == (64, 96)
    assert data.is_streamed and (data.name, data.hub_id) == ("streets", "user/streets")
    assert torch.equal(
        data.samples("train", lambda *pair: pair)[5]["labels"],
        build_own(str(shards), class_names=CLASSES).samples("train", lambda *pair: pair)[5][
            "labels"
        ],
    )
