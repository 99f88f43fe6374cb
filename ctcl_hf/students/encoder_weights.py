"""ImageNet weights of a timm encoder from a local file, for where no Hub can be reached."""

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from timm.models._hub import load_state_dict_from_path
from torch import Tensor
from transformers.utils import logging

logger = logging.get_logger(__name__)

LOCAL_DIR = "local-dir:"  # timm's name of a folder with config.json and weights


class EncoderWeights(NamedTuple):
    """Weights under timm's names, complete but for the classifier, and how they are told of."""

    tensors: dict[str, Tensor]
    origin: str


def read_local_config(name: str) -> tuple[str, dict[str, Sequence[float]]]:
    """What the config.json of a `local-dir:FOLDER` says: the timm architecture, and mean and std if
    it tells them.
    """
    path = Path(name.removeprefix(LOCAL_DIR)) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        told = config.get("pretrained_cfg") or {}
        return str(config["architecture"]), {
            key: told[key] for key in ("mean", "std") if key in told
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{name}: a folder as timm saves one holds a config.json that names its architecture, "
            f"but {path} cannot be read ({error!r})."
        ) from error


def read_encoder_weights(source: str, architecture: str) -> EncoderWeights:
    """A classification network's weights for timm's `architecture`.

    They are matched by name or, where a file of another origin has other names, by order: then
    every tensor must have the shape of timm's at its place, and the same last part of the name
    (weight, bias, running_mean, ...).

    Args:
        source: a .pth, .bin or .safetensors file, or a folder with one, as timm saves it.

    Raises:
        OSError: nothing there, or nothing that can be read. ValueError: weights of another network.
    """
    path = Path(source.removeprefix(LOCAL_DIR))
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder with an encoder's weights (--encoder_weights)."
        )
    try:
        found = load_state_dict_from_path(path) if path.is_dir() else load_state_dict(str(path))
        found = {
            key: value
            for key, value in found.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        EOFError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise OSError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}). Expected a file "
            "of tensors by name, .safetensors or what torch.save writes of a state_dict."
        ) from error
    with torch.device("meta"):
        network = timm.create_model(architecture, pretrained=False)
    classifiers = cast("Mapping[str, Any]", network.pretrained_cfg).get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    wanted = {
        name: tuple(value.shape) for name, value in network.state_dict().items() if _is_weight(name)
    }
    offered = {name: tuple(value.shape) for name, value in found.items() if _is_weight(name)}
    required = {
        name: shape for name, shape in wanted.items() if name.rpartition(".")[0] not in classifiers
    }
    if all(offered.get(name) == shape for name, shape in required.items()):
        matched = {name: found[name] for name in required}
    else:
        matched = _matched_by_order(path, architecture, wanted, offered, required, found)
    if bad := [name for name, value in matched.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"{path}: {bad[0]} is not finite. The file is damaged; fetch it again.")
    return EncoderWeights(
        matched, f"{architecture}, weights of {path.name} (SHA-256 {_digest(matched)[:12]})"
    )


def _matched_by_order(
    path: Path,
    architecture: str,
    wanted: Mapping[str, tuple],
    offered: Mapping[str, tuple],
    required: Mapping[str, tuple],
    found: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The tensors of `found` at the places of the required ones.

    ValueError if they tell of another network.
    """
    together = [
        (ours, theirs) for ours, theirs in zip(wanted, offered, strict=False) if ours in required
    ]
    agree = len(together) == len(required) and all(
        # weight, bias, ...
        wanted[ours] == offered[theirs] and ours.rpartition(".")[2] == theirs.rpartition(".")[2]
        for ours, theirs in together
    )
    if not agree or set(wanted) & set(offered):
        other = [name for name in required if offered.get(name, required[name]) != required[name]]
        missing = [name for name in required if name not in offered]
        told = (
            f"{other[0]} is {offered[other[0]]} there, not {required[other[0]]}"
            if other
            else f"no {missing[0]}"
        )
        raise ValueError(
            f"{path} does not hold the weights of timm's {architecture!r}: {told}. Of "
            f"{len(required)} tensors {len(missing)} are not there by name, {len(other)} have "
            "another shape, and the file's order does not agree either. Name the encoder that the "
            "file is of."
        )
    logger.warning(
        f"{path} names its tensors as timm does not; all {len(required)} were matched by order and "
        "shape."
    )
    return {ours: found[theirs] for ours, theirs in together}


def _is_weight(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for value in tensors.values():
        digest.update(value.float().contiguous().numpy().tobytes())
    return digest.hexdigest()
