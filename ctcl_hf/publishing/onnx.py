"""A student as an ONNX file, for runtimes without Python (pip install 'ctcl-hf[export]')."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..extras import require

# Of the largest logit: rounding in float32 through about a hundred layers, whose sums run in another order.
TOLERANCE = 1e-3


class _Logits(nn.Module):
    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values=pixel_values).logits


def check_exporter() -> None:
    """ImportError, with the line that installs them, if what `export_onnx` needs is missing."""
    require("export", "onnx", "onnxruntime", "onnxscript")


def export_onnx(model: PreTrainedModel, size: tuple[int, int], output: Path) -> float:
    """Writes `output`: "pixel_values" (batch, 3, height, width), normalised -> "logits" (batch, K, h, w).

    The batch is free, the size is fixed. onnxruntime runs the file on random pixels before it gets its name.

    Args:
        size: (height, width) in pixels.

    Returns:
        The largest difference from PyTorch's logits, relative to the largest logit.

    Raises:
        ImportError: see `check_exporter`.
        ValueError: the difference is above `TOLERANCE`; nothing was written.
    """
    check_exporter()
    import onnxruntime

    # Two images in the example: a dimension of one would be taken for a constant. Another number in the check.
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0)).to(model.device)
    output.parent.mkdir(parents=True, exist_ok=True)
    unchecked = output.with_name(f"{output.name}.unchecked")
    try:
        torch.onnx.export(
            _Logits(model).eval(),
            (pixels[:2],),
            unchecked,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )
        with torch.no_grad():
            expected = model(pixel_values=pixels).logits.cpu()
        session = onnxruntime.InferenceSession(unchecked, providers=["CPUExecutionProvider"])
        logits = torch.from_numpy(session.run(["logits"], {"pixel_values": pixels.cpu().numpy()})[0])
        difference = float((logits - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:
            raise ValueError(
                f"onnxruntime's logits differ from PyTorch's by {difference:.1e} of the largest, above {TOLERANCE}."
            )
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    return difference
