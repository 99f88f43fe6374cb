"""Models that transformers lacks.

Importing ctcl_hf makes them known to the Auto classes: see `register`.
"""

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from .._lazy import AfterImport, lazy_names

_CONFIGURATION, _MODELING = "configuration_deeplabv3plus", "modeling_deeplabv3plus"
_HOME = {
    "DeepLabV3PlusConfig": _CONFIGURATION,
    "DeepLabV3PlusForSemanticSegmentation": _MODELING,
    "DeepLabV3PlusOutput": _MODELING,
    "DeepLabV3PlusPreTrainedModel": _MODELING,
}
__all__ = list(_HOME)
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .configuration_deeplabv3plus import DeepLabV3PlusConfig as DeepLabV3PlusConfig
    from .modeling_deeplabv3plus import (
        DeepLabV3PlusForSemanticSegmentation as DeepLabV3PlusForSemanticSegmentation,
    )
    from .modeling_deeplabv3plus import DeepLabV3PlusOutput as DeepLabV3PlusOutput
    from .modeling_deeplabv3plus import DeepLabV3PlusPreTrainedModel as DeepLabV3PlusPreTrainedModel
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)


def register() -> None:
    """Makes our models known to transformers' Auto classes and pipelines, each as soon as those are
    imported.

    Whichever is imported first, Auto classes or one of our modules, by name or to unpickle
    something, brings the other; a class is registered once its own module is complete. exist_ok: a
    reload in a notebook, or a transformers that ships this model type one day, must not fail here.
    """
    AfterImport(
        "transformers.models.auto.configuration_auto",
        partial(import_module, f"{__name__}.{_CONFIGURATION}"),
    )
    AfterImport(
        "transformers.models.auto.modeling_auto", partial(import_module, f"{__name__}.{_MODELING}")
    )
    AfterImport(f"{__name__}.{_CONFIGURATION}", _register_configuration)
    AfterImport(f"{__name__}.{_MODELING}", _register_model)


def _register_configuration() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .configuration_deeplabv3plus import DeepLabV3PlusConfig

    AutoConfig.register(DeepLabV3PlusConfig.model_type, DeepLabV3PlusConfig, exist_ok=True)


def _register_model() -> None:
    from transformers.models.auto.modeling_auto import AutoModelForSemanticSegmentation

    from .configuration_deeplabv3plus import DeepLabV3PlusConfig
    from .modeling_deeplabv3plus import DeepLabV3PlusForSemanticSegmentation

    AutoModelForSemanticSegmentation.register(
        DeepLabV3PlusConfig, DeepLabV3PlusForSemanticSegmentation, exist_ok=True
    )
