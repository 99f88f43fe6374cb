"""Training methods. Adding one is one file with a subclass of `Objective`, and one line in `METHODS`."""

from .._lazy import LazyDict, lazy_names

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
    "IFVD": "ifvd",
    "KDCL": "kdcl",
    "Objective": "objective",
    "OfflineKD": "offline_kd",
    "PeerDistillation": "peers",
    "PixelwiseObjective": "pixelwise",
    "StudentTerms": "objective",
    "Vanilla": "vanilla",
}
__all__ = ["METHODS", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
