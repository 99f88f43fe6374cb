"""The ONNX files of a released student, in three precisions under the names that the Hub's runtimes
look for, and how each scores (pip install 'ctcl-hf[export]').
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..base.extras import require
from ..students import Student
from .onnx import export_onnx

# by file, as transformers.js names them: how its weights and activations are held
PRECISIONS = {
    "model.onnx": "float32",
    "model_fp16.onnx": "float16",
    "model_quantized.onnx": "8-bit integers",
}


def check_quantizer() -> None:
    """ImportError, with the line that installs them, if what `write_onnx_files` needs is
    missing.
    """
    require("export", "onnx", "onnxruntime", "onnxscript")


def write_onnx_files(
    student: Student,
    size: tuple[int, int],
    folder: Path,
    calibration: Iterable[Tensor],
    dynamic: bool = True,
    report: Callable[[str], None] = lambda step: None,
) -> list[Path]:
    """Writes each of `PRECISIONS` into an empty folder: "pixel_values", normalised -> "logits",
    both float32.

    The float32 file is checked against PyTorch (`export_onnx`); the others are made of it, float16
    by onnxruntime's converter, 8 bits by its static quantisation: weights by channel, activations
    by the range that each has on the calibration images, quantise-dequantise pairs (QDQ).

    Args:
        size: (height, width) in pixels.
        folder: exists.
        calibration: images (3, height, width), RGB in 0..255.
        dynamic: images of other sizes may be given as well.

    Raises:
        ImportError: see `check_quantizer`. ValueError: see `export_onnx`.
    """
    check_quantizer()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers.float16 import convert_float_to_float16

    paths = [folder / name for name in PRECISIONS]
    full, half, small = paths
    export_onnx(student, size, full, dynamic=dynamic, report=report)
    report("float16")
    onnx.save(convert_float_to_float16(onnx.load(full), keep_io_types=True), half)
    report("8 bits")
    prepared = folder / "prepared.onnx"
    # sizes may be free, which symbolic inference does not follow through a resize
    quant_pre_process(full, prepared, skip_symbolic_shape=True)
    logging.disable(logging.WARNING)  # of weights without a channel, one by one
    try:
        quantize_static(
            prepared,
            small,
            _Reader(student, calibration),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    prepared.unlink()
    return paths


class _Reader:
    """Calibration images one by one, as onnxruntime asks for them."""

    def __init__(self, student: Student, images: Iterable[Tensor]):
        self.images: Iterator[Tensor] = iter(images)
        self.student = student

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else _given(self.student, image[None])


def _given(student: Student, pixel_values: Tensor) -> dict[str, np.ndarray]:
    """What a file takes, of pixels (B, 3, H, W) RGB in 0..255."""
    return {"pixel_values": student.normalize(pixel_values).float().cpu().numpy()}


def onnx_predictor(student: Student, path: Path) -> Callable[[Tensor], Tensor]:
    """The logits by a file: pixels (B, 3, H, W) RGB in 0..255 -> (B, K, h, w), on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(pixel_values: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], _given(student, pixel_values))[0])

    return predict
