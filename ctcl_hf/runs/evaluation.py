"""What scoring saved models leaves: results.json, a table in results.md, and figures."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..base.files import write_whole
from ..base.redaction import shown_command
from ..base.tables import counted, markdown_table
from ..figures import reliability_figure, save_figure
from ..metrics import Metric, titles_of
from ..publishing.rows import PRECISIONS
from ..scoring.image_counts import ImageCounts
from ..scoring.protocols import Protocol
from ..scoring.reliability import Reliability
from ..scoring.scorer import Scored, Scorer
from ..training.record import machine, versions


@dataclass(frozen=True)
class ScoredModels:
    """What one model, or two and their mean, have reached on a split.

    Args:
        model: what was asked for, a folder or a Hub id.
        scored: by predictor, see `Scorer.score`.
        reliability: of each, how sure it was; empty if that was not summed up.
        metrics_code: see `ProtocolArguments.metrics_code`.
    """

    model: str
    scorer: Scorer
    split: str
    protocol: Protocol
    scored: Mapping[str, Scored]
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    metrics: Sequence[type[Metric]] = ()
    metrics_code: str | None = None

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Of each predictor, by flat names; nothing where no image has a label."""
        flat = {
            predictor: own.scores.flat() if own.scores else {}
            for predictor, own in self.scored.items()
        }
        for predictor, own in self.reliability.items():
            if flat[predictor]:
                flat[predictor]["calibration_error"] = own.expected_calibration_error
        return flat

    def told(self) -> str:
        """A sentence on what was scored, and the table, for a terminal."""
        return (
            f"{self.split}: {self._counts}, in {self._precision}.{self._divided}\n\n{self.table()}"
        )

    def write(self, folder: Path, worst: int) -> list[Path]:
        """Writes everything into a folder that there is; returns the files.

        Args:
            worst: how many of the worst images to draw.
        """
        write_whole(
            folder / "results.json", json.dumps(self.facts(), indent=2, allow_nan=False) + "\n"
        )
        write_whole(
            folder / "results.md",
            f"# {self.model}\n\n"
            f"{self.scorer.data}. {self.split}: {self._counts}. Scored: {self.protocol}, in "
            f"{self._precision}. Classes {self.scorer.class_note}.{self._divided}\n\n"
            f"{self.table()}\n",
        )
        written = [folder / "results.json", folder / "results.md"]
        if self.reliability and all(self.scores.values()):
            errors = {name: own["calibration_error"] for name, own in self.scores.items()}
            sums = {name: own.sums.numpy() for name, own in self.reliability.items()}
            written.append(folder / "reliability.png")
            save_figure(reliability_figure(sums, errors), written[-1])
        for predictor, scored in self.scored.items():
            if found := scored.images.worst(worst):
                is_one = self.scorer.mean_name is None
                written.append(folder / ("worst.png" if is_one else f"worst-{predictor}.png"))
                figure = self.scorer.worst_figure(predictor, self.split, self.protocol, found)
                save_figure(figure, written[-1])
        return written

    def facts(self) -> dict[str, Any]:
        """What results.json says."""
        accelerator = self.scorer.accelerator
        return {
            "model": self.model,
            "data": str(self.scorer.data),
            "split": self.split,
            "images": len(self._images),
            "labelled_pixels": self._images.labelled_pixels,
            "protocol": str(self.protocol),
            "metrics_code": self.metrics_code,
            "classes": self.scorer.class_note,
            "precision": self._precision,
            "temperatures": {name: own.temperature for name, own in self.scorer.students.items()},
            "scores": self.scores,
            "versions": versions(),
            "machine": machine(accelerator.device, accelerator.num_processes),
            "command": shown_command(["ctcl-hf", "evaluate", *sys.argv[1:]]),
        }

    def table(self) -> str:
        """In Markdown: a row for each score, a column for each predictor."""
        rows = [
            ("mIoU", "mean_iou"),
            ("pixel accuracy", "overall_accuracy"),
            ("mean accuracy", "mean_accuracy"),
            *((title, key) for key, title in titles_of(self.metrics).items()),
            *([("calibration error", "calibration_error")] if self.reliability else []),
            *((name, f"iou_{name}") for name in self.scorer.data.class_names),
        ]
        columns = self.scored if self.scorer.mean_name else [self.model]
        lines = [[f"{self.split} (%)", *columns]]
        for title, key in rows:
            values = [own.get(key) for own in self.scores.values()]
            lines.append(
                [title, *("-" if value is None else f"{100 * value:.2f}" for value in values)]
            )
        return markdown_table(lines)

    @property
    def _images(self) -> ImageCounts:
        return next(iter(self.scored.values())).images

    @property
    def _counts(self) -> str:
        labelled = self._images.labelled_pixels
        return f"{counted(len(self._images), 'image')}, {labelled} labelled pixels"

    @property
    def _precision(self) -> str:
        return PRECISIONS[self.scorer.accelerator.mixed_precision]

    @property
    def _divided(self) -> str:
        """By which temperatures logits are divided; "" if by none."""
        return "".join(
            f" Logits of {name} divided by {own.temperature:.3f}, its temperature."
            for name, own in self.scorer.students.items()
            if own.temperature != 1
        )
