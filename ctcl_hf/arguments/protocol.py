"""Arguments about how a model is scored, each documented once.

Imported without torch, so that --help answers at once.
"""

from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING

from ..base.registry import origin_of
from ..metrics import METRICS
from ..scoring.protocols import PROTOCOLS
from .problems import raise_problems
from .ranges import check_of_sides

if TYPE_CHECKING:
    from ..metrics import Metric
    from ..scoring.protocols import Protocol


@dataclass
class ProtocolArguments:
    """How a model is scored."""

    protocol: str | None = field(
        default=None,
        metadata={
            "help": "How images are scored: whole; the centre crop; a sliding window; or as one of "
            "your own says, FILE.py:NAME. Default: the benchmark's, and whole for others.",
            "choices": PROTOCOLS,
        },
    )
    window: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels of the centre crop or of the sliding window (one "
            "number: a square).",
        },
    )
    stride: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels from window to window. Default: two thirds of it.",
        },
    )
    scales: list[float] = field(
        default_factory=lambda: [1.0],
        metadata={
            "metavar": "SCALE",
            "help": "Scales of the image whose probabilities are averaged, such as 0.75 1.0 1.25.",
        },
    )
    flip: bool = field(
        default=False, metadata={"help": "Average with the mirrored image's probabilities."}
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={
            "help": "What is scored beside mean IoU and the accuracies, or one of your own, "
            "FILE.py:NAME.",
            "choices": METRICS,
        },
    )

    def __post_init__(self):
        raise_problems(self._protocol_checks())

    def _protocol_checks(self) -> list[tuple[bool, str]]:
        checks = [
            (
                self.protocol is not None and self.protocol not in PROTOCOLS,
                f"--protocol {self.protocol}: {PROTOCOLS.refusal(str(self.protocol))}.",
            ),
            (
                not self.scales or min(self.scales) <= 0,
                f"--scales {' '.join(map(str, self.scales))}: expected positive numbers.",
            ),
            *(
                (name not in METRICS, f"--metrics {name}: {METRICS.refusal(name)}.")
                for name in self.metrics
            ),
        ]
        for name in ("window", "stride"):
            sides = getattr(self, name)
            if sides is not None and len(sides) == 1:
                setattr(self, name, sides := sides * 2)
            checks.append(check_of_sides(name, sides))
        return checks

    def build_protocol(
        self, usual: str, image_size: tuple[int, int] | None, window: tuple[int, int]
    ) -> "Protocol":
        """The protocol, by name or the `usual` one, on images of a size; `window` is for those that
        have one.
        """
        from ..scoring.protocols import Protocol

        name = self.protocol or usual
        if name not in PROTOCOLS:
            raise ValueError(f"The protocol of these data is {name!r}: {PROTOCOLS.refusal(name)}.")
        own = {}
        framing = PROTOCOLS[name]
        if framing.takes("window"):
            own["window"] = tuple(self.window or window)
        elif self.window is not None:
            raise ValueError(f"--window has no effect on --protocol {name}.")
        if self.stride is not None and not framing.takes("stride"):
            raise ValueError(f"--stride has no effect on --protocol {name}.")
        if self.stride is not None:
            own["stride"] = tuple(self.stride)
        return Protocol(name, image_size, scales=tuple(self.scales), flip=self.flip, **own)

    def words(self) -> list[str]:
        """The words of a command line by which another command scores likewise."""
        given = []
        for argument in fields(ProtocolArguments):
            value, make = getattr(self, argument.name), argument.default_factory
            if value != (argument.default if make is MISSING else make()):
                values = value if isinstance(value, list) else [] if value is True else [value]
                given += [f"--{argument.name}", *map(str, values)]
        return given

    def metric_kinds(self) -> list[type["Metric"]]:
        """What is scored beside mean IoU and the accuracies."""
        return [METRICS[name] for name in dict.fromkeys(self.metrics)]

    def metrics_code(self) -> str | None:
        """Which of them are of the user's own files, with their hashes."""
        origins = filter(None, map(origin_of, self.metric_kinds()))
        return "; ".join(origins) or None
