"""Training methods.

Adding one is one file, a subclass of `Objective` and its options, and one line in `METHODS`.
"""

from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

from .._lazy import class_alone, lazy_names
from ..base.registry import Registry
from .options import MethodOptions, problem_of_options


def _problem(method: Any) -> str | None:
    """What is wrong with a method of one's own."""
    from .objective import Objective

    if not (isinstance(method, type) and issubclass(method, Objective)):
        return "expected a subclass of ctcl_hf.Objective"
    if problem := problem_of_options(method.Options):
        return problem
    options = {field.name for field in fields(method.Options)}
    for term, name in method.WEIGHTS.items():
        if name not in options:
            return (
                f"WEIGHTS of {term!r} must name an option, and {name!r} is none of "
                f"{method.Options.__name__}, which is its Options"
            )
    try:
        signature(method.forward).bind(method, (), None, ())
    except TypeError:
        return "its forward must take students, labels and teachers=()"
    return None


# As "module:class" of this folder.
METHODS: "Registry[type[Objective]]" = Registry(
    __name__,
    {
        "vanilla": "vanilla:Vanilla",
        "offline_kd": "offline_kd:OfflineKD",
        "dml": "dml:DML",
        "kdcl": "kdcl:KDCL",
        "ifvd": "ifvd:IFVD",
        "cwd": "cwd:CWD",
        "feature_kd": "feature_kd:FeatureKD",
        "dist": "dist:DIST",
        "bpkd": "bpkd:BPKD",
        "heteroakd": "heteroakd:HeteroAKD",
        "ctcl": "ctcl:CTCL",
    },
    kind="method",
    problem=_problem,
)
"""Methods by the name that `--method` takes: subclasses of `Objective`, imported when asked for.

One's own is registered by assignment: `METHODS["mine"] = MyMethod`.
"""

_HOME = {
    "BPKD": "bpkd",
    "CTCL": "ctcl",
    "CWD": "cwd",
    "DIST": "dist",
    "DML": "dml",
    "DistillationOptions": "options",
    "FeatureKD": "feature_kd",
    "HeteroAKD": "heteroakd",
    "IFVD": "ifvd",
    "KDCL": "kdcl",
    "Objective": "objective",
    "OfflineKD": "offline_kd",
    "PeerObjective": "peers",
    "PixelwiseObjective": "pixelwise",
    "StudentTerms": "objective",
    "Vanilla": "vanilla",
    "option": "options",
}
__all__ = ["METHODS", "MethodOptions", "options_of", *_HOME]
# what type checkers and editors read instead of the table; "as" makes a name public
if TYPE_CHECKING:
    from .bpkd import BPKD as BPKD
    from .ctcl import CTCL as CTCL
    from .cwd import CWD as CWD
    from .dist import DIST as DIST
    from .dml import DML as DML
    from .feature_kd import FeatureKD as FeatureKD
    from .heteroakd import HeteroAKD as HeteroAKD
    from .ifvd import IFVD as IFVD
    from .kdcl import KDCL as KDCL
    from .objective import Objective as Objective
    from .objective import StudentTerms as StudentTerms
    from .offline_kd import OfflineKD as OfflineKD
    from .options import DistillationOptions as DistillationOptions
    from .options import option as option
    from .peers import PeerObjective as PeerObjective
    from .pixelwise import PixelwiseObjective as PixelwiseObjective
    from .vanilla import Vanilla as Vanilla
else:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)


def options_of(method: str) -> type[MethodOptions]:
    """The options of a registered method, without importing the method, which needs torch.

    They are the class that is named after the method's, as CTCLOptions is after CTCL, in the
    method's own file. Its statement is run alone, so it may use what can be imported without torch,
    and nothing else of that file.
    """
    registered = METHODS.data[method]
    if not isinstance(registered, str):  # imported already, or a method of one's own
        return registered.Options
    module, name = registered.split(":")
    return class_alone(__name__, module, f"{name}Options")
