"""What an evaluation found, as data; and the flat names under which Trainer logs it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Scores:
    """How one model did on a data set: shares in 0..1.

    loss: mean over the images of their cross entropy, in nats per labelled pixel.
    ious: by class, in the data's order; a class that neither labels nor predictions hold is not
        there.
    others: of the run's other `METRICS`, by the names of their scores; one that cannot be told is
        not there.
    """

    mean_iou: float
    mean_accuracy: float
    overall_accuracy: float
    loss: float
    ious: Mapping[str, float]
    others: Mapping[str, float] = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """The same by name, a class as iou_CLASS."""
        named = asdict(self)
        of_classes = {of_class(label): iou for label, iou in named.pop("ious").items()}
        return named | named.pop("others") | of_classes


@dataclass(frozen=True)
class Evaluation:
    """How the models of an evaluation did, by name, on so many images.

    titles: of the scores of other metrics than mean IoU and the accuracies, by name.
    """

    images: int
    students: Mapping[str, Scores]
    titles: Mapping[str, str] = field(default_factory=dict)

    def metrics(self, prefix: str) -> dict[str, float]:
        """What Trainer logs: PREFIX_STUDENT_mean_iou, ..., and the students' means of what a run
        may be judged by: PREFIX_mean_iou, PREFIX_loss, and other metrics.
        """
        flat = {
            metric_name(prefix, name, what): value
            for name, scores in self.students.items()
            for what, value in scores.flat().items()
        }
        for what in ("mean_iou", "loss", *self.titles):
            names = [metric_name(prefix, name, what) for name in self.students]
            if all(name in flat for name in names):
                flat[f"{prefix}_{what}"] = sum(flat[name] for name in names) / len(names)
        return flat

    def to_json(self) -> dict[str, Any]:
        """As results.json and run.json hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Evaluation":
        """What `to_json` wrote, or an older version in flat names."""
        by_name = told["students"] if "students" in told else _from_flat(told)
        students = {name: Scores(**scores) for name, scores in by_name.items()}
        return cls(told["images"], students, told.get("titles", {}))  # older ones have none


def names_of_scores(
    students: Iterable[str], class_names: Iterable[str], titles: Mapping[str, str]
) -> list[str]:
    """What `Evaluation.metrics` may tell, without its prefix.

    titles: as of `Evaluation`.
    """
    scores = Scores(0, 0, 0, 0, dict.fromkeys(class_names, 0.0), dict.fromkeys(titles, 0.0))
    whole = Evaluation(0, dict.fromkeys(students, scores), titles)
    return [name.removeprefix("_") for name in whole.metrics("")]


def evaluations_from_json(told: Mapping[str, Any]) -> dict[str, Evaluation]:
    """By split, what is "scores" in results.json and run.json."""
    return {split: Evaluation.from_json(of) for split, of in told.items()}


def metric_name(prefix: str, student: str, what: str) -> str:
    """The name of a student's score in Trainer's logs, such as eval_cnn_mean_iou."""
    return f"{prefix}_{student}_{what}"


def is_taken(name: str) -> bool:
    """Whether a score that every run has is of this name, so that no other metric's can be."""
    return name in {field.name for field in fields(Scores)} or name.startswith(of_class(""))


def of_class(label: str) -> str:
    """What the IoU of a class is called, as the last part of a `metric_name`."""
    return f"iou_{label}"


def curve(
    log_history: Iterable[Mapping[str, Any]], student: str, what: str = "mean_iou"
) -> list[tuple[int, float]]:
    """(step, score) of a student at each evaluation of a log history during which it was scored."""
    key = metric_name("eval", student, what)
    return [(log["step"], log[key]) for log in log_history if key in log]


def _from_flat(told: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Of "cnn_mean_iou", "cnn_iou_Sky", ..., which versions before 0.2 wrote: scores by student."""
    shares = ("mean_iou", "mean_accuracy", "overall_accuracy", "loss")
    by_student: dict[str, dict[str, Any]] = {}
    for name in (key.removesuffix("_mean_iou") for key in told if key.endswith("_mean_iou")):
        if not all(f"{name}_{share}" in told for share in shares):
            continue  # a class of such a name, and no student
        start = f"{name}_{of_class('')}"
        ious = {key.removeprefix(start): iou for key, iou in told.items() if key.startswith(start)}
        by_student[name] = {share: told[f"{name}_{share}"] for share in shares}
        by_student[name]["ious"] = {
            label: iou for label, iou in ious.items() if not math.isnan(iou)
        }
    return by_student
