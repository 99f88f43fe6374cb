"""A teacher whose logits are computed once for each image, and kept in files."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..base.files import whole
from .student import StudentOutput
from .teacher import Teacher


class CachedTeacher(Teacher):
    """A teacher that computes the logits of an image once, and reads them ever after.

    They are kept by the image's pixels, as they come, and each image is computed alone: what is
    read depends on these pixels and nothing else, so that processes, micro-batches, resumed runs
    and other runs share a folder. (A live teacher sees a batch, and may round in another way: a
    matrix product's last bits depend on its size.) An image that never comes twice (scaled, cropped
    or coloured at random) is computed each time, and leaves a file each time; a mirrored one is
    another image.

    Args:
        teacher: whose logits are kept. Its features are not.
        folder: of this teacher alone; made if it is not there.
    """

    def __init__(self, teacher: Teacher, folder: Path):
        super().__init__(teacher.model, teacher.members, teacher.size)
        self.folder = folder

    @torch.no_grad()
    @torch.compiler.disable  # files are read and written
    def forward(self, pixel_values: Tensor) -> StudentOutput:
        """As `Teacher.forward`, logits alone. OSError names a damaged file."""
        files = [self._file(image) for image in pixel_values.cpu()]
        for i, file in enumerate(files):
            if not file.is_file():
                (logits,) = super().forward(pixel_values[i : i + 1]).logits.cpu()
                file.parent.mkdir(parents=True, exist_ok=True)
                with whole(file) as staged:
                    staged.write_bytes(save({"logits": logits.contiguous()}))
        return StudentOutput(torch.stack([_read(file) for file in files]).to(pixel_values.device))

    def _file(self, image: Tensor) -> Path:
        """Where the logits of an image (3, H, W) are kept: by its pixels, and by what may change
        the logits of the same weights.
        """
        kind = self.model.mean.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        told = f"{kind} {precision} {image.dtype} {tuple(image.shape)}"
        digest = blake2b(told.encode(), digest_size=16)
        digest.update(image.reshape(-1).view(torch.uint8).numpy().tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _feature(self, name: str) -> Any:
        raise ValueError(
            "This method reads features of its teachers, and --cache_teacher keeps logits alone: "
            "leave it out."
        )


def _read(file: Path) -> Tensor:
    """Logits (K, h, w) that are kept."""
    try:
        return load(file.read_bytes())["logits"]
    except SafetensorError as error:
        raise OSError(f"{file} is damaged ({error}). Delete it: it is computed again.") from error
