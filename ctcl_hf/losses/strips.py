"""Cross entropy and pixel-wise BSD, strip by strip.

Logits at full resolution, K classes at every pixel, are by far a pair's largest tensors, and every loss on them is a
few passes over memory. Here the stride-4 logits are upsampled a few rows at a time, all losses and their gradients are
taken while those rows are in the cache, and the gradients go back through the bilinear weights at once: the same
values, and no logits at full resolution.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pixel import KLDirection
from .precision import in_full_precision
from .region import teaching_directions

# Upsampled logits of one student in a strip. Larger strips waste less on the rows that two strips share, smaller ones
# live in the cache: measured at 11 and 150 classes on two CPU cores, 2^21 and 2^22 were the fastest of 2^16 to 2^22.
STRIP_ELEMENTS = 2**21


class PixelLosses(NamedTuple):
    """Of students a and b, in this order: scalars with gradient to the student's own logits, and maps without."""

    ce: tuple[Tensor, Tensor]  # Eq. 1
    pixel: tuple[Tensor, Tensor]  # Eq. 4, each student as the learner
    ce_maps: tuple[Tensor, Tensor]  # (B, H, W) in nats, 0 where ignored
    teaches: tuple[Tensor, Tensor]  # (B, H, W) bool: where this student is the more reliable


@in_full_precision
def cross_entropy_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Eq. 1: mean cross entropy in nats over the labelled pixels, logits upsampled to the labels' size.

    Shapes: logits (B, K, h, w), labels (B, H, W) -> scalar. 0 if no pixel is labelled.
    """
    return _PixelLosses.apply(labels, ignore_index, None, 1.0, logits)[0]


@in_full_precision
def pixel_losses(
    logits_a: Tensor,
    logits_b: Tensor,
    labels: Tensor,
    ignore_index: int,
    direction: KLDirection = "reverse",
    temperature: float = 1.0,
) -> PixelLosses:
    """Eqs. 1 and 4 for both students, and who teaches where, at the labels' size.

    Equal to `cross_entropy_loss`, `teaching_directions` and `pixel_bsd` on upsampled logits.
    Shapes: logits (B, K, h, w), each at its own stride; labels (B, H, W). Gradient of each term: the learner's logits.
    """
    results = _PixelLosses.apply(labels, ignore_index, direction, temperature, logits_a, logits_b)
    return PixelLosses(*(results[i : i + 2] for i in (0, 2, 4, 6)))


class _PixelLosses(torch.autograd.Function):
    """Of one student: CE, CE map. Of two: both CEs, both pixel BSDs, both CE maps, both teaching masks."""

    @staticmethod
    def forward(ctx, labels, ignore_index, direction, temperature, *students):
        labelled = labels != ignore_index
        with_gradient = any(ctx.needs_input_grad)
        is_pair = len(students) == 2
        ce_maps = [students[0].new_empty(labels.shape) for _ in students]
        teaches = [torch.empty_like(labelled) for _ in students] if is_pair else []
        divergences = [students[0].new_zeros(()) for _ in teaches]  # sums over the pixels that are taught
        # Gradients of sums over pixels, by term and student; backward divides and weights them.
        ce_gradients = [torch.zeros_like(logits) if with_gradient else None for logits in students]
        pixel_gradients = [torch.zeros_like(logits) if with_gradient else None for logits in students]

        for strip in _strips(labels.shape, students):
            valid = labelled[strip]
            target = torch.where(valid, labels[strip], 0).unsqueeze(1)
            windows = [_Window(logits, strip, labels.shape[-2:]) for logits in students]
            log_p = [F.log_softmax(window.upsampled, dim=1) for window in windows]
            for ce_map, values in zip(ce_maps, log_p, strict=True):
                ce_map[strip] = torch.where(valid, -values.gather(1, target).squeeze(1), 0)
            p = [values.exp() for values in log_p]
            if with_gradient:
                for ce_gradient, values, window in zip(ce_gradients, p, windows, strict=True):
                    window.add_downsampled(_cross_entropy_gradient(values, target, valid), to=ce_gradient)
            if not is_pair:
                continue
            if temperature != 1:
                log_p = [F.log_softmax(window.upsampled / temperature, dim=1) for window in windows]
                p = [values.exp() for values in log_p]
            masks = teaching_directions(*(ce_map[strip] for ce_map in ce_maps), valid)
            for i, j in ((0, 1), (1, 0)):  # learner, peer
                teaches[i][strip] = masks[i]
                taught = masks[j].unsqueeze(1)
                divergence, gradient = _divergence_and_gradient(log_p[i], p[i], log_p[j], p[j], direction)
                divergences[i] += torch.where(taught, divergence, 0).sum() * temperature**2
                if with_gradient:
                    windows[i].add_downsampled(gradient.mul_(taught * temperature), to=pixel_gradients[i])  # T^2 / T

        # A student is taught where its peer teaches: the masks in reverse order.
        divisors = [labelled.sum()] * len(students) + [mask.sum() for mask in reversed(teaches)]
        divisors = [divisor.clamp_min(1) for divisor in divisors]
        sums = [*(ce_map.sum() for ce_map in ce_maps), *divergences]
        ctx.save_for_backward(*ce_gradients, *(pixel_gradients if is_pair else ()), *divisors)
        ctx.mark_non_differentiable(*ce_maps, *teaches)
        return *(total / divisor for total, divisor in zip(sums, divisors, strict=True)), *ce_maps, *teaches

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream):
        terms = len(ctx.saved_tensors) // 2
        gradients, divisors = ctx.saved_tensors[:terms], ctx.saved_tensors[terms:]
        scaled = [g * (up / n) for g, up, n in zip(gradients, upstream[:terms], divisors, strict=True)]
        if terms == 4:
            scaled = [ce + pixel for ce, pixel in zip(scaled[:2], scaled[2:], strict=True)]
        return None, None, None, None, *scaled


def _cross_entropy_gradient(p: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """d CE / d logits = p - onehot(target) at labelled pixels: p (B, K, H, W), target (B, 1, H, W)."""
    valid = valid.unsqueeze(1).to(p.dtype)
    return (p * valid).scatter_add_(1, target, -valid)


def _divergence_and_gradient(
    log_learner: Tensor, learner: Tensor, log_peer: Tensor, peer: Tensor, direction: KLDirection
) -> tuple[Tensor, Tensor]:
    """KL at every pixel (B, 1, H, W) of two distributions (B, K, H, W), and its gradient to the learner's logits."""
    if direction == "reverse":
        log_ratio = log_learner - log_peer
        divergence = (learner * log_ratio).sum(1, keepdim=True)
        return divergence, log_ratio.sub_(divergence).mul_(learner)
    return (log_peer - log_learner).mul_(peer).sum(1, keepdim=True), learner - peer


class _Window:
    """The rows of one image's logits that a strip of label rows is interpolated from."""

    def __init__(self, logits: Tensor, strip: tuple[slice, slice], size: torch.Size):
        image, rows = strip
        (height, width), source_height = size, logits.shape[-2]
        if height % source_height:  # rows of labels and of logits do not line up: the strip is the whole image
            source, start = slice(0, source_height), 0
        else:
            # One more row on either side: with half-pixel centres a label row lies between two rows of logits.
            scale = height // source_height
            source = slice(max(rows.start // scale - 1, 0), min(-(-rows.stop // scale) + 1, source_height))
            start, height = source.start * scale, (source.stop - source.start) * scale
        self.source = (image, slice(None), source)
        with torch.enable_grad():
            self.logits = logits[self.source].detach().requires_grad_()
            whole = F.interpolate(self.logits, size=(height, width), mode="bilinear", align_corners=False)
            self.strip = whole[..., rows.start - start : rows.stop - start, :]

    @property
    def upsampled(self) -> Tensor:
        return self.strip.detach()

    def add_downsampled(self, gradient: Tensor, to: Tensor) -> None:
        """Adds a gradient of the upsampled strip, through the transposed interpolation, to that of the logits."""
        (own,) = torch.autograd.grad(self.strip, self.logits, gradient, retain_graph=True)
        to[self.source] += own


def _strips(shape: torch.Size, students: tuple[Tensor, ...]) -> Iterator[tuple[slice, slice]]:
    """(image, rows) slices that cover labels (B, H, W), each of about STRIP_ELEMENTS upsampled logits."""
    images, height, width = shape
    rows = max(STRIP_ELEMENTS // (students[0].shape[1] * width), 1)
    if any(height % logits.shape[-2] for logits in students):
        rows = height  # see _Window
    for image in range(images):
        for start in range(0, height, rows):
            yield slice(image, image + 1), slice(start, min(start + rows, height))
