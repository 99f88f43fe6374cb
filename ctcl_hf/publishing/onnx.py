"""A student, or two as one model, as an ONNX file for runtimes without Python (pip install
'ctcl-hf[export]').
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import __version__
from ..base.extras import require
from ..base.files import whole
from ..data import palette_of
from ..scoring.mean import class_orders, mean_probabilities
from ..students import Student

# Of the largest logit: rounding in float32 through about a hundred layers, whose sums run in
# another order. Of a class map, the share of pixels that may differ, where two logits are equal to
# rounding.
TOLERANCE = 1e-3
CHECKED_BATCH = 3
MOST_CLASSES = 256  # in a class map of bytes


class _Graph(nn.Module):
    """What the file computes, of one student or of several."""

    def __init__(
        self, student: Student, peers: Sequence[Student], with_preprocessing: bool, argmax: bool
    ):
        super().__init__()
        self.student, self.peers = student, nn.ModuleList(peers)
        self.with_preprocessing, self.argmax = with_preprocessing, argmax
        # where each peer has the first one's classes
        self.orders = class_orders([student, *peers])[1:]

    def forward(self, images: Tensor) -> Tensor:
        if self.with_preprocessing:
            images = self.student.normalize(images.permute(0, 3, 1, 2))
        logits = self.student.calibrated(self.student.model(pixel_values=images).logits)
        if self.peers:
            of_all = [logits]
            for peer, order in zip(self.peers, self.orders, strict=True):
                theirs = peer.model(pixel_values=self._for_peer(peer, images)).logits
                of_all.append(peer.calibrated(theirs)[:, order])
            probabilities = mean_probabilities([_upsampled(own, images) for own in of_all])
            return _ids(probabilities) if self.argmax else probabilities
        return _ids(_upsampled(logits, images)) if self.argmax else logits

    def _for_peer(self, peer: Student, images: Tensor) -> Tensor:
        """The first student's input as the peer's, which may have another mean and order."""
        pixels = images * self.student.std + self.student.mean
        return peer.normalize(pixels.flip(1) if self.student.reads_bgr else pixels)


def _upsampled(logits: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def _ids(values: Tensor) -> Tensor:
    return values.argmax(1).to(torch.uint8)


def check_exporter() -> None:
    """ImportError, with the line that installs them, if what `export_onnx` needs is missing."""
    require("export", "onnx", "onnxruntime", "onnxscript")


def export_onnx(
    student: Student,
    size: tuple[int, int],
    output: Path,
    dynamic: bool = False,
    with_preprocessing: bool = False,
    argmax: bool = False,
    peers: Sequence[Student] = (),
    report: Callable[[str], None] = lambda step: None,
) -> float:
    """Writes `output`: "pixel_values" (batch, 3, height, width), normalised -> "logits" (batch, K,
    h, w).

    onnxruntime runs the file on random pixels before it gets its name. The file's metadata are
    those of `facts_of`.

    Args:
        size: (height, width) in pixels.
        dynamic: images of other sizes may be given as well. The batch is free in any case.
        with_preprocessing: the input is "image" (batch, height, width, 3) uint8 RGB in its place.
        argmax: the output is "class_map" (batch, height, width) uint8, at the input's size, in
            place of logits.
        peers: more students of the same classes. The output is then the mean of all students'
            probabilities in place of logits, "probabilities" (batch, K, height, width), or what is
            the likeliest by it. The input is normalised as `student` wants it: the file makes each
            peer's of it.
        report: is told what is done next.

    Returns:
        The largest difference from PyTorch's logits, relative to the largest logit; of a class map,
        the share of the pixels that differ.

    Raises:
        ImportError: see `check_exporter`.
        ValueError: the model cannot take images of this size, or of others if `dynamic`; it has
            more classes than a class map can hold; a peer knows others; or the difference is
            above `TOLERANCE`. Nothing was written.
    """
    check_exporter()
    import onnxruntime

    if argmax and student.config.num_labels > MOST_CLASSES:
        raise ValueError(
            f"--argmax: a class map holds up to {MOST_CLASSES} classes, got "
            f"{student.config.num_labels}."
        )
    for model in (student, *peers):
        if dynamic and pads_by_size(model):
            raise ValueError(
                f"{model.description} pads by the size of what it is given, which cannot be traced "
                "for any size in useful time: leave --dynamic out, and give --size."
            )
    graph = _Graph(student, peers, with_preprocessing, argmax).eval()
    sizes = [size, (size[0] + 32, size[1] + 64)] if dynamic else [size]
    examples = [_images(student, CHECKED_BATCH, each, with_preprocessing) for each in sizes]
    sides = " and ".join(f"{height}x{width}" for height, width in sizes)
    report(f"computing images of noise of {sides} with PyTorch, to check the file by")
    expected = [_run(graph, images) for images in examples]
    rows, columns = (1, 2) if with_preprocessing else (2, 3)
    free = {0: "batch"} | ({rows: "height", columns: "width"} if dynamic else {})
    given = "image" if with_preprocessing else "pixel_values"
    returned = "class_map" if argmax else "probabilities" if peers else "logits"
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole(output) as unchecked:
        report("writing the file, which takes up to a few minutes")
        # Two images in the example: a dimension of one would be taken for a constant. Another
        # number in the check.
        program = torch.onnx.export(
            graph,
            (examples[0][:2],),
            input_names=[given],
            output_names=[returned],
            dynamic_shapes=(free,),
            dynamo=True,
            verbose=False,
        )
        program.model.metadata_props.update(facts_of(student, size, peers))
        program.save(unchecked, external_data=False)
        report("computing the same images from the file with onnxruntime")
        session = onnxruntime.InferenceSession(unchecked, providers=["CPUExecutionProvider"])
        difference = 0.0
        for images, theirs in zip(examples, expected, strict=True):
            ours = torch.from_numpy(session.run([returned], {given: images.cpu().numpy()})[0])
            difference = max(difference, _difference(ours, theirs))
        if not difference <= TOLERANCE:
            what = (
                "of the class map's pixels"
                if argmax
                else f"of the largest {'probability' if peers else 'logit'}"
            )
            raise ValueError(
                f"onnxruntime's result differs from PyTorch's by {difference:.1e} {what}, above "
                f"{TOLERANCE}."
            )
    return difference


def pads_by_size(student: Student) -> bool:
    """Whether a layer pads by its input's size, as TensorFlow's "same" does and so timm's tf_
    encoders: where sizes are free, what one pads stands in the formula of the next one's.
    """
    from timm.layers import AvgPool2dSame, Conv2dSame, ScaledStdConv2dSame, StdConv2dSame

    return any(
        isinstance(module, (AvgPool2dSame, Conv2dSame, ScaledStdConv2dSame, StdConv2dSame))
        for module in student.model.modules()
    )


def facts_of(
    student: Student, size: tuple[int, int], peers: Sequence[Student] = ()
) -> dict[str, str]:
    """What an exported file says of itself, each as JSON; of several students what the first says.

    classes: names in the order of the logits. size: (height, width) it was exported for. stride:
    pixels of a side that share a logit. channels: "RGB" or "BGR". mean, std: a pixel of 0..255 is
    normalised as (pixel - mean) / std.
    palette: RGB of each class. version: of this package.
    """
    graph = _Graph(student, peers, False, False).eval()
    logits = _run(graph, _images(student, 1, size, False))
    facts: dict[str, Any] = {
        "classes": [student.config.id2label[i] for i in range(student.config.num_labels)],
        "size": list(size),
        "stride": round(size[0] / logits.shape[-2]),
        "channels": "BGR" if student.reads_bgr else "RGB",
        "mean": [round(value, 6) for value in student.mean.flatten().tolist()],
        "std": [round(value, 6) for value in student.std.flatten().tolist()],
        "palette": palette_of(student.config),
        "version": f"ctcl_hf {__version__}",
    }
    return {name: json.dumps(value) for name, value in facts.items()}


def _images(student: Student, count: int, size: tuple[int, int], as_bytes: bool) -> Tensor:
    """Random ones, as a graph takes them."""
    generator = torch.Generator().manual_seed(0)
    if as_bytes:
        images = torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8, generator=generator)
    else:
        images = torch.randn(count, 3, *size, generator=generator)
    return images.to(student.mean.device)


@torch.no_grad()
def _run(graph: _Graph, images: Tensor) -> Tensor:
    try:
        return graph(images).cpu()
    except (RuntimeError, ValueError, AssertionError) as error:
        # of a model that knows one size, or some
        height, width = images.shape[1:3] if graph.with_preprocessing else images.shape[2:]
        described = [own.description for own in (graph.student, *graph.peers)]
        raise ValueError(
            f"{' or '.join(described)} cannot take images of {height}x{width} pixels ({error}). "
            "Choose another --size, and leave --dynamic out if it knows some sizes alone."
        ) from error


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.is_floating_point():
        return float((ours != theirs).float().mean())
    return float((ours - theirs).abs().max() / theirs.abs().max())
