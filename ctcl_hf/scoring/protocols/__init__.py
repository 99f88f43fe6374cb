"""How models are scored on benchmarks.

A protocol is one file, a subclass of `Framing`, and one line in `PROTOCOLS`.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..._lazy import lazy_names
from ...base.registry import Registry


def _problem(framing: Any) -> str | None:
    """What is wrong with a protocol of one's own."""
    from .framing import SIZES, Framing

    if not (isinstance(framing, type) and issubclass(framing, Framing)):
        return "expected a subclass of ctcl_hf.scoring.protocols.Framing"
    if other := [field.name for field in fields(framing) if field.name not in SIZES]:
        return f"its fields may be {', '.join(SIZES)}, got {', '.join(other)}"
    return None


# name -> what it shows of an image, as "module:class" of this folder
PROTOCOLS: "Registry[type[Framing]]" = Registry(
    __name__,
    {"whole": "whole:Whole", "centre_crop": "centre_crop:CentreCrop", "sliding": "sliding:Sliding"},
    kind="protocol",
    problem=_problem,
)

_HOME = {"Framing": "framing", "Protocol": "protocol"}
__all__ = ["PROTOCOLS", *_HOME]
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .framing import Framing as Framing
    from .protocol import Protocol as Protocol
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
