"""What `--cache_teacher` keeps: whose logits, of which images, how many bytes and where."""

import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch

from ..base.heartbeat import watched
from ..data import SegmentationData, TrainingTransform
from ..students.cached_teacher import CachedTeacher
from ..students.teacher import Teacher
from ..training.record import hash_of_weights
from ..training.resumption import NOT_ARCHITECTURE

VIEWS = 2  # of a training image: itself and its mirror image


def check_images(data: SegmentationData, augment: TrainingTransform) -> None:
    """ValueError unless every training image comes out as the crop, whole: a part of it that is
    chosen at random, or a random place in a larger crop, is another image each time.
    """
    lowest, _ = augment.scale_range
    crop = "x".join(map(str, augment.crop_size))
    samples = data.samples("train", transform=None)
    for index in watched(range(len(samples)), f"Sizes of {data.name} train", len(samples)):
        size = samples.size(index)
        scaled = augment.scaled_size(size, lowest)
        if scaled != augment.crop_size:
            raise ValueError(
                f"--cache_teacher keeps what teachers say of whole images, and crops are {crop}: "
                f"{samples.paths(index, 'image')}, {size[0]}x{size[1]} (height x width), is scaled "
                f"to {scaled[0]}x{scaled[1]}. Give an --image_size and a --crop_size of the "
                "images' own shape, or leave --cache_teacher out."
            )


def cached(
    teachers: Sequence[Teacher],
    root: Path,
    images: int,
    crop_size: tuple[int, int],
    tell: bool = False,
) -> tuple[CachedTeacher, ...]:
    """The teachers with their logits kept, each in a folder of its own in `root`.

    Args:
        images: how many there are to train on.
        crop_size: (height, width) in pixels of what they see.
        tell: whether it is printed how many bytes they take at most.

    Raises:
        OSError: the disk has no room for them.
    """
    keeping = {teacher: CachedTeacher(teacher, root / _name_of(teacher)) for teacher in teachers}
    expected = sum(
        max(VIEWS * images * _bytes_of_logits(teacher, crop_size) - _bytes_in(own.folder), 0)
        for teacher, own in keeping.items()
    )
    root.mkdir(parents=True, exist_ok=True)
    if tell:
        print(
            f"Logits of teachers are kept in {root}: at most {expected / 1e6:,.0f} MB more, of "
            f"{images} images and their mirror images."
        )
    if (free := shutil.disk_usage(root).free) < expected:
        raise OSError(
            f"--cache_teacher {root}: at most {expected / 1e6:,.0f} MB are to be kept, and "
            f"{free / 1e6:,.0f} MB are free. Make room, or choose another place."
        )
    return tuple(keeping[teacher] for teacher in teachers)


def _name_of(teacher: Teacher) -> str:
    """A folder's name for all that decides a teacher's logits: weights and configuration, its
    normalisation, which of its classes is which, and its size.
    """
    model = teacher.model
    config = {
        key: value
        for key, value in model.config.to_dict().items()
        if key not in {*NOT_ARCHITECTURE, "id2label", "label2id"}
    }
    told = {
        "weights": hash_of_weights(model),
        "config": config,
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
        "bgr": model.reads_bgr,
        "classes": teacher.members,
        "size": teacher.size,
    }
    digest = sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return f"{model.config.model_type}-{digest}"


@torch.no_grad()
def _bytes_of_logits(teacher: Teacher, size: tuple[int, int]) -> int:
    """Of an image of this size, in float32; in 16 bits they are half."""
    image = torch.zeros(1, 3, *size, dtype=torch.uint8, device=teacher.model.mean.device)
    return 4 * teacher.eval()(image).logits.numel()


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
