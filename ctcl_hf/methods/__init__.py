"""Training methods. Adding one is one file with a subclass of `Objective`, and one line here."""

from .ctcl import CTCL
from .objective import Objective, StudentTerms
from .vanilla import Vanilla

METHODS: dict[str, type[Objective]] = {"vanilla": Vanilla, "ctcl": CTCL}

__all__ = ["CTCL", "METHODS", "Objective", "StudentTerms", "Vanilla"]
