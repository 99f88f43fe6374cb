"""Models that transformers lacks. Importing ctcl_hf makes them known to the Auto classes: see `register`."""

from .._lazy import AfterImport, lazy_names

_HOME = {
    "DeepLabV3PlusConfig": "configuration_deeplabv3plus",
    "DeepLabV3PlusForSemanticSegmentation": "modeling_deeplabv3plus",
    "DeepLabV3PlusOutput": "modeling_deeplabv3plus",
    "DeepLabV3PlusPreTrainedModel": "modeling_deeplabv3plus",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)


def register() -> None:
    """Makes our models known to transformers' Auto classes and pipelines, each as soon as those are imported.

    exist_ok: a reload in a notebook, or a transformers that ships this model type one day, must not fail here.
    """
    AfterImport("transformers.models.auto.configuration_auto", _register_configurations)
    AfterImport("transformers.models.auto.modeling_auto", _register_models)


def _register_configurations() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .configuration_deeplabv3plus import DeepLabV3PlusConfig

    AutoConfig.register(DeepLabV3PlusConfig.model_type, DeepLabV3PlusConfig, exist_ok=True)


def _register_models() -> None:
    from transformers.models.auto.modeling_auto import AutoModelForSemanticSegmentation

    from .configuration_deeplabv3plus import DeepLabV3PlusConfig
    from .modeling_deeplabv3plus import DeepLabV3PlusForSemanticSegmentation

    AutoModelForSemanticSegmentation.register(DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation, exist_ok=True)
    # A saved model takes its code along, so that it can be loaded where this package is not installed.
    DeepLabV3PlusConfig.register_for_auto_class()
    DeepLabV3PlusForSemanticSegmentation.register_for_auto_class("AutoModelForSemanticSegmentation")
