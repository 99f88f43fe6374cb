"""Training methods. Adding one is one file, a subclass of `Objective` and its options, and one line in `METHODS`."""

from .._lazy import LazyDict, class_alone, lazy_names
from .options import MethodOptions

# name -> class, as "module:class" of this folder
METHODS = LazyDict(
    __name__,
    {
        "vanilla": "vanilla:Vanilla",
        "offline_kd": "offline_kd:OfflineKD",
        "dml": "dml:DML",
        "kdcl": "kdcl:KDCL",
        "ifvd": "ifvd:IFVD",
        "cwd": "cwd:CWD",
        "ctcl": "ctcl:CTCL",
    },
)

_HOME = {
    "CTCL": "ctcl",
    "CWD": "cwd",
    "DML": "dml",
    "DistillationOptions": "options",
    "IFVD": "ifvd",
    "KDCL": "kdcl",
    "Objective": "objective",
    "OfflineKD": "offline_kd",
    "PeerDistillation": "peers",
    "PixelwiseObjective": "pixelwise",
    "StudentTerms": "objective",
    "Vanilla": "vanilla",
    "option": "options",
}
__all__ = ["METHODS", "MethodOptions", "options_of", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)


def options_of(method: str) -> type[MethodOptions]:
    """The options of a registered method, without importing the method, which needs torch.

    They are the class that is named after the method's, as CTCLOptions is after CTCL, in the method's own file. Its
    statement is run alone, so it may use what can be imported without torch, and nothing else of that file.
    """
    registered = METHODS.data[method]
    if not isinstance(registered, str):  # imported already, or a method of one's own
        return registered.Options
    module, name = registered.split(":")
    return class_alone(__name__, module, f"{name}Options")
