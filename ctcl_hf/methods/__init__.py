"""Training methods. Adding one is one file with a subclass of `Objective`, and one line in `METHODS`."""

from typing import TYPE_CHECKING

from .._lazy import LazyDict, lazy_names

# name -> class, as "module:class" of this folder
METHODS: "LazyDict[type[Objective]]" = LazyDict(
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
if TYPE_CHECKING:  # what type checkers and editors read instead of the table; "as" makes a name public
    from .ctcl import CTCL as CTCL
    from .cwd import CWD as CWD
    from .dml import DML as DML
    from .ifvd import IFVD as IFVD
    from .kdcl import KDCL as KDCL
    from .objective import Objective as Objective
    from .objective import StudentTerms as StudentTerms
    from .offline_kd import OfflineKD as OfflineKD
    from .peers import PeerDistillation as PeerDistillation
    from .pixelwise import PixelwiseObjective as PixelwiseObjective
    from .vanilla import Vanilla as Vanilla
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
