"""What is known of a benchmark before any of its files is at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..masks import Colour

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Published:
    """What a benchmark's authors, or the field's usual split of it, say.

    train_images: of the split that is trained on.
    num_classes: that are scored.
    colours: of classes by name, for pictures; empty where the names lie with the data.
    """

    train_images: int
    num_classes: int
    colours: Mapping[str, Colour] = field(default_factory=dict)


_PUBLISHED: dict[Callable[..., Any], Published] = {}  # by builder


def published(
    train_images: int, num_classes: int, colours: Mapping[str, Colour] | None = None
) -> Callable[[Builder], Builder]:
    """Decorates a builder with what is published of its benchmark, see `Published`."""

    def note(builder: Builder) -> Builder:
        _PUBLISHED[builder] = Published(train_images, num_classes, colours or {})
        return builder

    return note


def published_of(builder: Callable[..., Any]) -> Published | None:
    """What is published of the benchmark that a builder makes; None of data of a user's own."""
    return _PUBLISHED.get(builder)
