"""Models that transformers lacks. Importing this package makes them known to AutoConfig and AutoModel."""

from transformers import AutoConfig, AutoModelForSemanticSegmentation

from .configuration_deeplabv3plus import DeepLabV3PlusConfig
from .modeling_deeplabv3plus import (
    DeepLabV3PlusForSemanticSegmentation,
    DeepLabV3PlusOutput,
    DeepLabV3PlusPreTrainedModel,
)

# exist_ok: a reload in a notebook, or a transformers that ships this model type one day, must not fail here.
AutoConfig.register(DeepLabV3PlusConfig.model_type, DeepLabV3PlusConfig, exist_ok=True)
AutoModelForSemanticSegmentation.register(DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation, exist_ok=True)

__all__ = [
    "DeepLabV3PlusConfig",
    "DeepLabV3PlusForSemanticSegmentation",
    "DeepLabV3PlusOutput",
    "DeepLabV3PlusPreTrainedModel",
]
