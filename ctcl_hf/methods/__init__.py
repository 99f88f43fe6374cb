"""Training methods. Adding one is one file with a subclass of `Objective`, and one line in `METHODS`."""

from ..lazy import LazyDict, lazy_names

# name -> class, as "module:class" of this folder
METHODS = LazyDict(__name__, {"vanilla": "vanilla:Vanilla", "ctcl": "ctcl:CTCL"})

_HOME = {"CTCL": "ctcl", "Objective": "objective", "StudentTerms": "objective", "Vanilla": "vanilla"}
__all__ = ["METHODS", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
