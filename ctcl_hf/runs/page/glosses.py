"""What the words of a run's page mean, a line each."""

from collections.abc import Mapping
from typing import Any

# of a method's terms, by their names in its record
OF_TERMS = {
    "hfd": (
        "HFD",
        "heterogeneous feature distillation: a student's early features must work in the next "
        "stage of a peer",
    ),
    "region": (
        "region BSD",
        "bidirectional selective distillation by regions: in each, the student whose cross entropy "
        "is the lowest teaches",
    ),
    "pixel": ("pixel BSD", "the same at each pixel"),
}


def glosses_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each word and its meaning, of the terms that the run's method weighs."""
    terms = {term for weights in record["method"]["weights"].values() for term in weights}
    return [gloss for term, gloss in OF_TERMS.items() if term in terms]
