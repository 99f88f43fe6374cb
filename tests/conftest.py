"""Small students and small data for every test; nothing is downloaded."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is imported: threads that spin at barriers would make tests crawl wherever something
# else is running.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # others have the other cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Image
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from ctcl_hf import DeepLabV3PlusForSemanticSegmentation, SegmentationData
from ctcl_hf.students import as_student
from ctcl_hf.students.loading import image_processor

CLASSES = ("left", "right", "dot")


def make_deeplabv3plus(encoder, output_stride, num_labels, size, **config):
    labels = dict(
        enumerate(CLASSES[:num_labels] if num_labels <= 3 else map(str, range(num_labels)))
    )
    model = DeepLabV3PlusForSemanticSegmentation.from_timm(
        encoder,
        pretrained=False,
        aspp_channels=8,
        auxiliary_channels=8,
        output_stride=output_stride,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
        **config,
    )
    return as_student(model, image_processor(size))


def make_cnn(num_labels: int = 3, size: tuple[int, int] = (64, 64), **config):
    return make_deeplabv3plus("mobilenetv2_035", 16, num_labels, size, **config)


def make_vit(num_labels: int = 3, size: tuple[int, int] = (64, 64), **overrides):
    labels = dict(
        enumerate(CLASSES[:num_labels] if num_labels <= 3 else map(str, range(num_labels)))
    )
    config = SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
        **overrides,
    )
    return as_student(SegformerForSemanticSegmentation(config), image_processor(size))


def make_hybrid(num_labels: int = 3, size: tuple[int, int] = (64, 64)):
    """DeepLabV3+ on MobileViTv2: convolutions with attention between them, which takes any size."""
    return make_deeplabv3plus("mobilevitv2_050", 32, num_labels, size)


def make_other(num_labels: int = 3, size: tuple[int, int] = (64, 64)):
    """UPerNet on ConvNeXt, of which only the logits are known."""
    labels = dict(enumerate(CLASSES[:num_labels]))
    stages = [f"stage{i}" for i in range(1, 5)]
    backbone = ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=stages
    )
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        pool_scales=[1, 2],
        use_auxiliary_head=False,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )
    return as_student(UperNetForSemanticSegmentation(config), image_processor(size))


def freeze(pair):
    """The pair, in which from now on nothing depends on chance or on the other images of a
    batch.
    """
    for module in pair.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval().train = lambda mode=True: None
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return pair


def make_data(
    num_train: int = 12, num_validation: int = 5, size: tuple[int, int] = (64, 96)
) -> SegmentationData:
    """Images whose left half is dark, right half bright, with a coloured dot, under noise; a band
    is unlabelled.
    """

    def rows(seeds):
        images, masks = [], []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            height, width = size
            edge, y, x = (
                rng.integers(width // 4, 3 * width // 4),
                rng.integers(8, height - 8),
                rng.integers(8, width - 8),
            )
            mask = np.where(np.arange(width) < edge, 0, 1) * np.ones((height, 1), dtype=int)
            inside = (np.arange(height)[:, None] - y) ** 2 + (np.arange(width) - x) ** 2 < 64
            mask[inside] = 2
            colours = np.array([[60, 60, 80], [190, 180, 160], [200, 60, 60]])
            noisy = colours[mask] + rng.normal(0, 25, (height, width, 3))
            mask[:4] = 255
            images.append(_png(noisy.clip(0, 255).astype(np.uint8)))
            masks.append(_png(mask.astype(np.uint8)))
        return Dataset.from_dict(
            {"image": images, "label": masks}, features=Features(image=Image(), label=Image())
        )

    splits = DatasetDict(
        train=rows(range(num_train)), validation=rows(range(1000, 1000 + num_validation))
    )
    return SegmentationData(
        "halves", splits, CLASSES, ((0, 0, 90), (200, 200, 0), (255, 0, 0)), size
    )


def _png(pixels: np.ndarray) -> dict:
    import io

    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="png")
    return {"bytes": buffer.getvalue(), "path": None}


def pytest_collection_modifyitems(items):
    """Files with slow tests first: begun last, one of them would keep the others' processes
    waiting at the end.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory):
    """Where libraries leave what they never delete, here and in processes that tests start:
    torchrun its logs, gradio's client what it downloads, and whoever is killed its pipes.

    Not in pytest's own, whose path would be too long for the name of a socket.
    """
    tmp_path_factory.getbasetemp()  # which stays where it is
    folder = Path(tempfile.mkdtemp(prefix="ctcl-"))
    folder.chmod(0o755)  # some tests look at it as another user
    with pytest.MonkeyPatch.context() as context:
        context.setenv("TMPDIR", str(folder))
        context.setattr(tempfile, "tempdir", str(folder))
        yield
    # after the process's own pipes, which multiprocessing closes and deletes at priorities of 0 and
    # -100
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def halves() -> SegmentationData:
    return make_data()


@pytest.fixture
def cnn():
    return make_cnn()


@pytest.fixture
def vit():
    return make_vit()
