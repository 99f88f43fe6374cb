"""From a name to a student: a timm encoder, a Hub id, or a local folder; pretrained or from
scratch.
"""

import difflib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    SegformerConfig,
    SegformerImageProcessor,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..base.hub_access import from_cache_unless_hub_answers
from ..base.registry import is_reference
from ..data import IGNORE_INDEX, palette_of
from ..data.masks import Colour
from ..models import DeepLabV3PlusForSemanticSegmentation
from . import STUDENTS, Student, as_student
from .encoder_weights import LOCAL_DIR, read_encoder_weights, read_local_config
from .own import own_student
from .student import TEMPERATURE

WAYS_ON = (
    "Without access to the Hugging Face Hub there are three ways on: random weights (--recipe cpu, "
    "which is smaller too; --from_scratch at any size), a file of ImageNet weights for a timm "
    "encoder (--encoder_weights FILE), or a local folder in its place (--cnn / --vit FOLDER). In "
    "Python these are load_student's from_scratch=True, encoder_weights=FILE, and its first "
    "argument."
)

# Stride of a new DeepLabV3+'s encoder, unless told: the paper's MobileNetV2 runs at 8, its
# ResNet-50 at 16. Hybrids cannot dilate.
OUTPUT_STRIDE = {"mobilenetv2": 8, "maxvit": 32, "maxxvit": 32}
DEFAULT_OUTPUT_STRIDE = 16

# SegFormer's published variants (Xie et al., NeurIPS 2021, Table 6), so that none is downloaded to
# train from scratch.
_WIDE = {"hidden_sizes": [64, 128, 320, 512]}
MIT_VARIANTS: dict[str, dict[str, Any]] = {
    "nvidia/mit-b0": {
        "hidden_sizes": [32, 64, 160, 256],
        "depths": [2, 2, 2, 2],
        "decoder_hidden_size": 256,
    },
    "nvidia/mit-b1": {**_WIDE, "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "nvidia/mit-b2": {**_WIDE, "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "nvidia/mit-b3": {**_WIDE, "depths": [3, 4, 18, 3], "decoder_hidden_size": 768},
    "nvidia/mit-b4": {**_WIDE, "depths": [3, 8, 27, 3], "decoder_hidden_size": 768},
    "nvidia/mit-b5": {**_WIDE, "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}


def load_student(
    name_or_path: str,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    *,
    family: str | None = None,
    from_scratch: bool = False,
    encoder_weights: str | None = None,
    palette: Sequence[Colour] | None = None,
    **deeplab_config: Any,
) -> Student:
    """A student for these classes.

    Args:
        name_or_path: a local folder or a Hub id ("user/name") of a saved segmentation model or
            encoder, or the name of a timm encoder, which becomes a DeepLabV3+. "mit-b1" is short
            for "nvidia/mit-b1". A folder of timm's own format, "local-dir:FOLDER", is a timm
            encoder with its weights. "FILE.py:NAME" is a family of one's own, if the command line
            has named it.
        class_names: names of classes 0..K-1. The head is new unless the loaded one has exactly
            these classes.
        image_size: (height, width) in pixels that the released student resizes its images to.
        family: "cnn" or "vit", if only such a student will do; a hybrid is either.
        from_scratch: random weights instead of pretrained ones. A local folder always gives its
            weights.
        encoder_weights: a local file with the timm encoder's weights, which are then not
            downloaded; whatever `from_scratch` says. See `read_encoder_weights`.
        palette: RGB of each class, in which the student is drawn wherever it goes: its
            configuration keeps them. Default: a saved student's own, if it knows these classes,
            else `palette_for` them.
        deeplab_config: fields of `DeepLabV3PlusConfig` for a new DeepLabV3+; a saved model keeps
            its own. An output_stride of None is the encoder's usual one.

    Raises:
        ValueError: an unknown name (with the nearest known ones), or a model that cannot be this
            student.
        OSError: weights that cannot be fetched, with the ways on.
    """
    config = {
        "id2label": dict(enumerate(class_names)),
        "label2id": {label: index for index, label in enumerate(class_names)},
        "semantic_loss_ignore_index": IGNORE_INDEX,
    }
    name = full_name(name_or_path)
    normalization: dict[str, Any] = {}
    if name.startswith(LOCAL_DIR):
        encoder_weights = encoder_weights or name
        name, normalization = read_local_config(name)
    elif encoder_weights is not None and not is_timm_encoder(name):
        raise ValueError(
            f"--encoder_weights are of a timm encoder, but {name_or_path!r} is a whole model or a "
            "Hub id."
        )
    if is_reference(name):
        student = own_student(name, class_names, image_size, from_scratch)
    elif not is_timm_encoder(name):
        student = _saved_student(name, image_size, from_scratch, config)
        student.origin = (
            "a local folder" if Path(name).is_dir() else "random weights" if from_scratch else name
        )
    else:
        config |= deeplab_config
        if config.get("output_stride") is None:
            config["output_stride"] = OUTPUT_STRIDE.get(name.split("_")[0], DEFAULT_OUTPUT_STRIDE)
        weights = (
            None
            if encoder_weights is None
            else read_encoder_weights(encoder_weights, _known_encoder(name))
        )
        asks_hub = weights is None and not from_scratch
        try:
            with from_cache_unless_hub_answers() if asks_hub else nullcontext():
                model = _new_deeplab(
                    name,
                    pretrained=weights is not None or not from_scratch,
                    weights=None if weights is None else weights.tensors,
                    **config,
                )
        except OSError as error:
            raise OSError(f"Cannot load the encoder {name!r}: {error}\n{WAYS_ON}") from error
        pretrained = timm.get_pretrained_cfg(name)
        origin = name
        if pretrained is not None:
            normalization = {"mean": pretrained.mean, "std": pretrained.std} | normalization
            origin = f"timm/{pretrained.architecture}.{pretrained.tag}"
        student = as_student(model, image_processor(image_size, **normalization))
        student.origin = origin
        if weights is not None:
            student.origin = weights.origin
        elif from_scratch:
            student.origin = "random weights"
    vars(student.config).pop(TEMPERATURE, None)  # it is of the weights before training
    student.config.palette = [list(colour) for colour in palette or palette_of(student.config)]
    if family is not None and student.family not in (family, "hybrid"):
        way_on = (
            "Are the two students' folders swapped?"
            if Path(name).is_dir()
            else f"Give it as --{student.family}, or any two students as --students A B."
        )
        raise ValueError(
            f"{name_or_path!r} is a {student.config.model_type}, a student of the "
            f"{student.family!r} family; a {family!r} is wanted here. {way_on}"
        )
    return student


def full_name(name: str) -> str:
    """A student's name with the owner of the SegFormers that are known by their names alone."""
    return f"nvidia/{name}" if f"nvidia/{name}" in MIT_VARIANTS else name


def is_timm_encoder(name: str) -> bool:
    """Whether a student of this name is a new DeepLabV3+ on a timm encoder, and not a Hub id or a
    local folder.
    """
    return "/" not in full_name(name) and not Path(name).is_dir() and not is_reference(name)


def _known_encoder(name: str) -> str:
    """ValueError, with the nearest names, unless timm knows it."""
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(
            f"{name!r} is no encoder of timm's; the nearest names are "
            f"{', '.join(nearest) or 'none'}."
        )
    return name


def image_processor(
    size: tuple[int, int],
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
) -> SegformerImageProcessor:
    """The processor that travels with a student: resizes to (height, width), scales to 0..1 and
    normalises.

    It is transformers' own, for CNN students too, so that `pipeline` needs no code of this package
    to read it.
    """
    height, width = size
    return SegformerImageProcessor(
        size={"height": height, "width": width},
        image_mean=list(mean),
        image_std=list(std),
        do_reduce_labels=False,
    )


def _new_deeplab(name: str, **options: Any) -> DeepLabV3PlusForSemanticSegmentation:
    try:
        return DeepLabV3PlusForSemanticSegmentation.from_timm(name, **options)
    except OSError as error:
        # the model's own error goes on with the ways on from Python
        raise error.__cause__ or error from None


def _saved_student(
    source: str, image_size: tuple[int, int], from_scratch: bool, config: dict
) -> Student:
    """A model in transformers' format: a folder's weights, or a Hub id's weights or, from scratch,
    its architecture.
    """
    is_folder = Path(source).is_dir()
    if from_scratch and source in MIT_VARIANTS and not is_folder:
        variant = SegformerConfig(**MIT_VARIANTS[source], **config)
        return as_student(
            AutoModelForSemanticSegmentation.from_config(variant), image_processor(image_size)
        )
    if is_folder and not Path(source, "config.json").is_file():
        students = sorted(path.parent.name for path in Path(source).glob("*/config.json"))
        hint = f" Did you mean one of its folders: {', '.join(students)}?" if students else ""
        raise ValueError(f"{source} holds no saved model: config.json is missing.{hint}")
    try:
        with nullcontext() if is_folder else from_cache_unless_hub_answers():
            saved, architecture, model = _saved_model(
                source, from_scratch and not is_folder, config
            )
            processor = _saved_processor(source, image_size)
    except (OSError, ValueError, SafetensorError) as error:
        nearest = difflib.get_close_matches(source, MIT_VARIANTS, cutoff=0.4)
        known = f" (known: {', '.join(nearest)})" if nearest else ""
        raise OSError(f"Cannot load {source!r}{known}: {error}\n{WAYS_ON}") from error
    if saved.id2label != architecture.id2label:
        # As many classes, but others: the loaded classifiers would go on under wrong names.
        for module_name, module in model.named_modules():
            is_head = "classifier" in module_name or "head" in module_name
            if (
                is_head
                and isinstance(module, nn.Conv2d)
                and module.out_channels == architecture.num_labels
            ):
                module.reset_parameters()
    return as_student(model, processor)


def _saved_model(
    source: str, from_scratch: bool, config: dict
) -> tuple[PreTrainedConfig, PreTrainedConfig, PreTrainedModel]:
    """The configuration as saved, the one of these classes, and its model."""
    saved = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if saved.model_type not in STUDENTS:
        # Its loss is not used, nor any head that only that loss trains.
        config |= {"use_auxiliary_head": False}
    config = {
        key: value
        for key, value in config.items()
        if key in saved.to_dict() or key in ("id2label", "label2id")
    }
    architecture = AutoConfig.from_pretrained(source, trust_remote_code=False, **config)
    if saved.id2label != architecture.id2label:
        architecture.palette = None  # it is of other classes
    if from_scratch:
        return saved, architecture, AutoModelForSemanticSegmentation.from_config(architecture)
    model = AutoModelForSemanticSegmentation.from_pretrained(
        source, config=architecture, ignore_mismatched_sizes=True, trust_remote_code=False
    )
    # Autocast decides, not the file.
    return saved, architecture, model.to(torch.promote_types(model.dtype, torch.float32))


def _saved_processor(source: str, size: tuple[int, int]) -> BaseImageProcessor:
    """`image_processor` with the normalisation that the model was trained with."""
    try:
        saved = AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError):  # an encoder published without one
        return image_processor(size)
    processing = saved.to_dict()
    if processing.get("do_flip_channel_order"):  # BGR: only its own processor can say so
        height, width = size
        own = {
            "size": {"height": height, "width": width},
            "do_center_crop": False,
            "do_reduce_labels": False,
        }
        return AutoImageProcessor.from_pretrained(source, trust_remote_code=False, **own)
    if not processing.get("do_normalize"):
        return image_processor(size, (0.0,) * 3, (1.0,) * 3)
    return image_processor(size, saved.image_mean, saved.image_std)
