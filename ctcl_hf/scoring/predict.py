"""Prediction with any model of transformers that returns semantic-segmentation logits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor

from ..base.hub_access import from_cache_unless_hub_answers, refuse_missing_folder
from ..data.images import as_rgb
from ..losses import upsample

# A class of transformers' by which models of a task are read.
AutoModel = type[AutoModelForSemanticSegmentation] | type[AutoModelForUniversalSegmentation]
# what models call their logits: of pixels, or of queries and of where those are
PREDICTED = ("logits", "class_queries_logits", "masks_queries_logits")
# logits in memory at once where a class map is decided: 256 MB in float32
UPSAMPLED_ELEMENTS = 2**26
STRIP_ELEMENTS = 2**20  # of those, in a strip of rows: what fits into a cache


def load_for_inference(
    name: str, kind: AutoModel = AutoModelForSemanticSegmentation
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A model in evaluation mode and its image processor, from a student's folder or the Hub.
    OSError if neither.

    The model is `load_whole_model`'s. Code that lies beside the weights is not run.
    """
    if students := sorted(path.parent.name for path in Path(name).glob("*/config.json")):
        raise OSError(
            f"{name} is the folder of a run. Did you mean "
            f"{' or '.join(f'{name}/{s}' for s in students)}?"
        )
    model = load_whole_model(name, kind).eval()
    try:
        with asked(name):
            return model, AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise OSError(f"{name} has no image processor that can be read: {error}") from error


def asked(name: str) -> AbstractContextManager[None]:
    """Where a model is read: a folder, or the Hub if it answers, else its cache."""
    return nullcontext() if Path(name).is_dir() else from_cache_unless_hub_answers()


def load_whole_model(
    name: str, kind: AutoModel = AutoModelForSemanticSegmentation
) -> PreTrainedModel:
    """A segmentation model of which every weight was read, is a number, and has a place; in float32
    at least.

    transformers would draw what is missing and drop what is left over, with a warning, and compute
    in half precision where weights were saved so. Weights are read as safetensors or as tensors
    alone; code beside them is not run.

    Args:
        name: a folder, or a Hub id.
        kind: transformers' class for models of its task.

    Raises:
        OSError: no such model, or not the whole of it.
    """
    refuse_missing_folder(name)
    try:
        with asked(name):
            model, told = kind.from_pretrained(
                name,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except UnpicklingError as error:  # torch reads tensors from a pickle, and nothing else
        raise OSError(
            f"The weights of {name} are a pickle that holds more than tensors. It was not run."
        ) from error
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise OSError(
            f"The weights of {name} cannot be read: {error}. Is the file whole?"
        ) from error
    except (ValueError, OSError, StrictDataclassError) as error:
        raise OSError(
            f"{name} is neither a student's folder nor a model on the Hub: {error}"
        ) from error
    weights = model.state_dict()
    problems = {
        "lacks": [key for key in sorted(told["missing_keys"]) if _matters(model, key)],
        "also holds, without a place for them,": sorted(told["unexpected_keys"]),
        "holds other sizes of": sorted(key for key, *_ in told["mismatched_keys"]),
        "holds numbers that are not finite in": [
            key
            for key, value in weights.items()
            if value.is_floating_point() and not value.isfinite().all()
        ],
    }
    found = [f"{what} {_some(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise OSError(
            f"The weights of {name} are not those of a whole {type(model).__name__}: its file "
            f"{'; it '.join(found)}. Give a model that was saved whole, with save_pretrained, by "
            "the code of its own architecture."
        )
    return model.to(torch.promote_types(model.dtype, torch.float32))


def _matters(model: PreTrainedModel, key: str) -> bool:
    """Whether a prediction depends on a weight: some of transformers' models (DPT) have some that
    none does.
    """
    parameter = dict(model.named_parameters()).get(key)
    if parameter is None:
        return True
    # a transformer that knows one size names it
    side = getattr(model.config, "image_size", None) or 64
    pixels = torch.zeros(
        1, 3, *((side, side) if isinstance(side, int) else side), dtype=model.dtype
    )
    with torch.enable_grad():
        output = model.eval()(pixel_values=pixels)
        predicted = [output[name] for name in PREDICTED if name in output]
        (gradient,) = torch.autograd.grad(
            sum(values.sum() for values in predicted), parameter, allow_unused=True
        )
    return gradient is not None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "")


def input_size(image_processor: BaseImageProcessor) -> tuple[int, int] | None:
    """(height, width) in pixels that a processor resizes every image to; None if that depends on
    the image.
    """
    size = image_processor.to_dict()["size"]
    return (size["height"], size["width"]) if "height" in size else None


def class_map(
    logits: Tensor, size: tuple[int, int] | torch.Size, elements: int = UPSAMPLED_ELEMENTS
) -> Tensor:
    """The likeliest class of every pixel: logits (B, K, h, w) -> ids (B, H, W), decided at `size`.

    Where the upsampled logits would be more than `elements` numbers, they are made and decided upon
    some rows at a
    time: 150 classes at 12 megapixels would be 7 GB. That rounds otherwise, so that two classes
    that are equal to rounding may change places.
    """
    height, width = size
    images, classes = logits.shape[:2]
    if logits.shape[-2:] == torch.Size(size) or images * classes * height * width <= elements:
        # argmax gives the same, ten times slower on CPUs
        return upsample(logits, size).max(1).indices
    ids = torch.empty(images, height, width, dtype=torch.int64, device=logits.device)
    for strip, upsampled in upsampled_strips(logits, size):
        ids[:, strip] = upsampled.max(1).indices
    return ids


def upsampled_strips(
    logits: Tensor,
    size: tuple[int, int] | torch.Size,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[slice, Tensor]]:
    """Logits (B, K, h, w) at `size`, some rows at a time: which rows, and (B, K, rows, W) float32.

    As `upsample` makes them, but for rounding; of a memory format, in channels-last faster.
    """
    height, width = size
    images, classes = logits.shape[:2]
    logits = logits.float()
    above, below, share = _sources(logits.shape[-2], height, logits.device)
    rows = max(STRIP_ELEMENTS // (images * classes * width), 1)
    for first in range(0, height, rows):
        strip = slice(first, min(first + rows, height))
        between = torch.lerp(
            logits[:, :, above[strip]], logits[:, :, below[strip]], share[strip, None]
        )
        between = between.contiguous(memory_format=memory_format)
        yield strip, upsample(between, (between.shape[-2], width))


def _sources(side: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of the `target` rows that `side` rows are upsampled to: the row above, the row below,
    and its share.
    """
    places = ((torch.arange(target, device=device) + 0.5) * (side / target) - 0.5).clamp(
        0, side - 1
    )
    above = places.floor().long()
    return above, (above + 1).clamp_max(side - 1), places - above


def sliding_window_logits(
    predict: Callable[[Tensor], Tensor],
    pixel_values: Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:
    """Mean over overlapping windows of the logits at every pixel: (B, 3, H, W) -> (B, K, H, W),
    float32.

    In memory at once are one window and the sum. The last window of a row or column is moved back
    to end with the image; an image smaller than the window is one window.

    Args:
        predict: normalised pixels (B, 3, h, w) -> logits (B, K, any, any), which are upsampled to
            the window.
        pixel_values: normalised as `predict` wants them.
        window, stride: (height, width) in pixels; strides of at most the window, so that no pixel
            is left out.
    """
    if any(step < 1 or step > side for step, side in zip(stride, window, strict=True)):
        raise ValueError(
            f"stride {tuple(stride)}: each side must be in 1..{tuple(window)}, the window's."
        )
    visits = torch.zeros(pixel_values.shape[-2:], device=pixel_values.device)
    sums = visits.new_zeros(())  # until the first window tells the number of classes
    rows, columns = (
        _starts(*sides) for sides in zip(pixel_values.shape[-2:], window, stride, strict=True)
    )
    for top in rows:
        for left in columns:
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            piece = pixel_values[place]
            logits = upsample(predict(piece), piece.shape[-2:]).float()
            if not sums.ndim:
                sums = logits.new_zeros(*logits.shape[:2], *pixel_values.shape[-2:])
            sums[place] += logits
            visits[place] += 1
    return sums.div_(visits)


@torch.no_grad()
def segment(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    images: Image.Image | Sequence[Image.Image],
) -> np.ndarray | list[np.ndarray]:
    """Class ids (H, W) of an image, or of each of several, at the image's own size, as `pipeline`
    does.

    The processor resizes the images, whole, each one's logits are upsampled to it, and each pixel
    takes the largest. What it resizes to one size goes through the model in one forward. ValueError
    for an image that is not of 8 bits or not opaque.
    """
    if isinstance(images, Image.Image):
        return segment(model, image_processor, [images])[0]
    maps = [
        class_map(own[None], (image.height, image.width))[0]
        for own, image in zip(logits_of(model, image_processor, images), images, strict=True)
    ]
    return [ids.to(torch.uint8).cpu().numpy() for ids in maps]


@torch.no_grad()
def logits_of(
    model: PreTrainedModel, image_processor: BaseImageProcessor, images: Sequence[Image.Image]
) -> list[Tensor]:
    """Logits (K, h, w) of each image, whole, at the size that the processor resizes it to over the
    model's stride. What is resized to one size goes through the model in one forward.
    """
    # Some processors cut out an image's middle (MobileViT, MobileNetV2) or pad it: logits are to be
    # of the whole image.
    inputs = [
        image_processor(
            images=as_rgb(image), return_tensors="pt", do_center_crop=False, do_pad=False
        ).pixel_values
        for image in images
    ]
    batches = [torch.cat(inputs)] if len({pixels.shape for pixels in inputs}) == 1 else inputs
    return [
        own for batch in batches for own in model.eval()(pixel_values=batch.to(model.device)).logits
    ]


def _starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows that cover a side."""
    last = max(side - window, 0)
    return [*range(0, last, stride), last]
