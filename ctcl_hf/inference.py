"""Prediction with any model of transformers that returns semantic-segmentation logits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from .data.images import as_rgb
from .losses import upsample


def load_for_inference(name: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A model in evaluation mode and its image processor, from a student's folder or the Hub. OSError if neither.

    Weights are read as safetensors or as tensors alone; code that lies beside them is not run.
    """
    if students := sorted(path.parent.name for path in Path(name).glob("*/config.json")):
        raise OSError(f"{name} is the folder of a run. Did you mean {' or '.join(f'{name}/{s}' for s in students)}?")
    try:
        model = AutoModelForSemanticSegmentation.from_pretrained(name).eval()
        return model, AutoImageProcessor.from_pretrained(name)
    except (ValueError, OSError) as error:
        raise OSError(f"{name} is neither a student's folder nor a model on the Hub: {error}") from error
    except UnpicklingError as error:  # torch reads tensors from a pickle, and nothing else
        raise OSError(f"The weights of {name} are a pickle that holds more than tensors. It was not run.") from error


def class_map(logits: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """The likeliest class of every pixel: logits (B, K, h, w) -> ids (B, H, W), decided at `size`."""
    return upsample(logits, size).max(1).indices  # argmax gives the same, ten times slower on CPUs


def sliding_window_logits(
    predict: Callable[[Tensor], Tensor], pixel_values: Tensor, window: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    """Mean over overlapping windows of the logits at every pixel: (B, 3, H, W) -> (B, K, H, W), float32.

    In memory at once are one window and the sum. The last window of a row or column is moved back to end with the
    image; an image smaller than the window is one window.

    Args:
        predict: normalised pixels (B, 3, h, w) -> logits (B, K, any, any), which are upsampled to the window.
        pixel_values: normalised as `predict` wants them.
        window, stride: (height, width) in pixels; strides of at most the window, so that no pixel is left out.
    """
    if any(step < 1 or step > side for step, side in zip(stride, window, strict=True)):
        raise ValueError(f"stride {tuple(stride)}: each side must be in 1..{tuple(window)}, the window's.")
    sums, visits = None, 0
    rows, columns = (_starts(*sides) for sides in zip(pixel_values.shape[-2:], window, stride, strict=True))
    for top in rows:
        for left in columns:
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            piece = pixel_values[place]
            logits = upsample(predict(piece), piece.shape[-2:]).float()
            if sums is None:
                sums = logits.new_zeros(*logits.shape[:2], *pixel_values.shape[-2:])
                visits = logits.new_zeros(pixel_values.shape[-2:])
            sums[place] += logits
            visits[place] += 1
    return sums.div_(visits)


@torch.no_grad()
def segment(
    model: PreTrainedModel, image_processor: BaseImageProcessor, images: Image.Image | Sequence[Image.Image]
) -> np.ndarray | list[np.ndarray]:
    """Class ids (H, W) of an image, or of each of several in one forward, at the image's own size, as `pipeline` does.

    The processor resizes the images, each one's logits are upsampled to it, and each pixel takes the largest.
    ValueError for an image that is not of 8 bits or not opaque.
    """
    if isinstance(images, Image.Image):
        return segment(model, image_processor, [images])[0]
    inputs = image_processor(images=[as_rgb(image) for image in images], return_tensors="pt").to(model.device)
    logits = model.eval()(**inputs).logits
    maps = [class_map(own[None], (image.height, image.width))[0] for own, image in zip(logits, images, strict=True)]
    return [ids.to(torch.uint8).cpu().numpy() for ids in maps]


def _starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows that cover a side."""
    last = max(side - window, 0)
    return [*range(0, last, stride), last]
