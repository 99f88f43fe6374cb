"""Mean intersection over union as a streaming `evaluate` module, which `evaluate.load` can read by
itself.
"""

import operator
from collections.abc import Mapping, Sized
from typing import Any

import datasets
import evaluate
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

INDEX_TYPES = (torch.int16, torch.int32, torch.int64)
ID_TYPES = (torch.uint8, torch.int8, *INDEX_TYPES)  # others are made int64
TABLES = 4  # that pixels are counted in, where these are small beside the pixels
PIXELS_OF_CELL = 8  # the fewest to a cell of such tables
MAX_IDS = 1024  # the table of raw ids is at most MAX_IDS x MAX_IDS int64, 8 MiB

_DESCRIPTION = """
Of one class, IoU = TP / (TP + FP + FN); mean IoU is the mean over the classes that occur. This
module counts pairs of ids as the masks come in and keeps only the counts, so a data set of any size
costs the memory of one mask.
"""

_INPUTS = """
Args:
    predictions: predicted masks of class ids, each (height, width): arrays, tensors, images or
        nested lists.
    references: true masks of ids, each of the shape of its prediction.
    num_labels (`int`): number of classes; the ids that count are 0 .. num_labels - 1.
    ignore_index (`int` or `None`): pixels whose reference (after label_map and reduce_labels) is
        this are left out.
    nan_to_num (`float`, *optional*): what stands for NaN, the score of a class that does not occur.
    label_map (`dict`, *optional*): replaces reference ids, old to new, one pair after the other.
    reduce_labels (`bool`, *optional*): takes 1 from every reference id, after label_map; 0 and 255
        become 255.

Returns:
    `dict` of mean_iou, mean_accuracy, overall_accuracy (floats), per_category_iou and
    per_category_accuracy (arrays of shape (num_labels,)).
"""


def _as_ids(mask: Any, device: torch.device | None = None) -> Tensor:
    """`mask` as ids of its own shape, of one of ID_TYPES, on `device` or where it is."""
    if not isinstance(mask, Tensor):
        array = np.asarray(mask)
        # astype copies, so that read-only arrays and foreign byte orders are fine too.
        mask = torch.from_numpy(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))
    mask = mask.detach().to(device)
    ids = mask if mask.dtype in ID_TYPES else mask.long()
    if mask.is_floating_point() and not torch.equal(ids.to(mask.dtype), mask):
        raise ValueError(
            f"masks hold class ids, but one of shape {tuple(mask.shape)} holds fractions"
        )
    return ids


def _as_id(value: Any, what: str) -> int:
    """One id, of any integer type. A fraction would be cut off, and a string equals no id."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{what} must be an integer id, got {value!r}") from error


def confusion_counts(predictions: Any, references: Any, num_ids: int | None = None) -> Tensor:
    """Count pixel pairs: int64 (num_ids, num_ids), rows the reference's id, columns the
    prediction's.

    Both arguments hold ids and have one shape, any shape. Counting runs on the device of
    `predictions`, where the result stays. Without `num_ids` the table has just the rows and columns
    it needs, up to MAX_IDS of each.
    """
    predicted = _as_ids(predictions)
    reference = _as_ids(references, predicted.device)
    if predicted.shape != reference.shape:
        raise ValueError(
            f"predictions {tuple(predicted.shape)} and references {tuple(reference.shape)}: shapes "
            "differ"
        )
    if not predicted.numel():
        return torch.zeros(num_ids or 0, num_ids or 0, dtype=torch.int64, device=predicted.device)
    limit = MAX_IDS if num_ids is None else num_ids
    shape = []
    for name, ids in (("references", reference), ("predictions", predicted)):
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= limit:
            outside = ids[(ids < 0) | (ids >= limit)].unique().tolist()
            raise ValueError(f"{name} hold ids {_quoted(outside)} outside 0..{limit - 1}")
        shape.append(num_ids or high + 1)
    rows, columns = shape
    size = rows * columns
    # Neighbours are counted in tables of their own, which are summed: most are of one class, and to
    # add to a count that was added to just now waits for it.
    tables = TABLES if TABLES * size <= predicted.numel() // PIXELS_OF_CELL else 1
    # in the fewest bytes that hold the tables: it is memory that counting waits for
    small = next(kind for kind in INDEX_TYPES if tables * size <= torch.iinfo(kind).max)
    pairs = predicted.to(small, copy=True).add_(reference.to(small), alpha=columns)
    pairs = torch.atleast_1d(pairs)
    if tables > 1:
        of_column = torch.arange(pairs.shape[-1], device=pairs.device) % tables * size
        pairs += of_column.to(small)
    counts = torch.bincount(pairs.flatten(), minlength=tables * size)
    return counts.view(tables, rows, columns).sum(0)


def add_counts(total: Tensor, counts: Tensor) -> Tensor:
    """Add a table of counts to a square one, in place if it is large enough; returns the sum,
    square, on the CPU.
    """
    if (missing := max(counts.shape) - len(total)) > 0:
        total = F.pad(total, (0, missing, 0, missing))
    rows, columns = counts.shape
    total[:rows, :columns] += counts.cpu()
    return total


def scores_from_counts(
    counts: Tensor,
    num_labels: int,
    ignore_index: int | None,
    nan_to_num: float | None = None,
    label_map: Mapping[int, int] | None = None,
    reduce_labels: bool = False,
) -> dict[str, Any]:
    """The metric's dict from raw counts (ids, ids); the other arguments are those of
    `MeanIoU.compute`.
    """
    raw = counts.cpu().numpy()
    ids = np.arange(len(raw))
    if ignore_index is not None:
        ignore_index = _as_id(ignore_index, "ignore_index")
    for old, new in (label_map or {}).items():
        ids[ids == _as_id(old, "a key of label_map")] = _as_id(new, "a value of label_map")
    if reduce_labels:
        ids = np.where((ids == 0) | (ids == 255), 255, ids - 1)
    # Rows without a pixel need no class; ignore_index=None differs from every id, so nothing is
    # ignored.
    labelled = raw.any(axis=1) & np.not_equal(ids, ignore_index).astype(bool)
    bad = labelled & ((ids < 0) | (ids >= num_labels))
    if bad.any():
        became = (
            f" (they became {_quoted(ids[bad].tolist())})" if label_map or reduce_labels else ""
        )
        held = f"references hold ids {_quoted(np.flatnonzero(bad).tolist())}{became}"
        raise ValueError(
            f"{held}, neither in 0..{num_labels - 1} (num_labels) nor ignore_index={ignore_index}"
        )
    table = np.zeros((num_labels, max(num_labels, len(raw))), dtype=np.int64)
    # add.at, because several raw ids may have become one class.
    np.add.at(table[:, : len(raw)], ids[labelled], raw[labelled])
    if table[:, num_labels:].any():
        held = _quoted((num_labels + np.flatnonzero(table[:, num_labels:].any(axis=0))).tolist())
        raise ValueError(
            f"predictions hold ids {held} outside 0..{num_labels - 1} (num_labels) under labelled "
            "pixels"
        )
    hits = table.diagonal().astype(np.float64)
    references = table.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a class that does not occur
        iou = hits / (references + table.sum(axis=0)[:num_labels] - hits)
        accuracy = hits / references
        overall = hits.sum() / references.sum()
    scores = {"mean_iou": _mean(iou), "mean_accuracy": _mean(accuracy), "overall_accuracy": overall}
    scores |= {"per_category_iou": iou, "per_category_accuracy": accuracy}
    if nan_to_num is not None:
        scores = {name: np.nan_to_num(score, nan=nan_to_num) for name, score in scores.items()}
    return scores


def _mean(scores: np.ndarray) -> np.floating:
    """Over the classes that occur; NaN, without numpy's warning, where none does."""
    return np.float64("nan") if np.isnan(scores).all() else np.nanmean(scores)


def _quoted(ids: list[int]) -> str:
    return (
        str(ids) if len(ids) <= 16 else f"[{', '.join(map(str, ids[:16]))}, ... {len(ids)} in all]"
    )


class MeanIoU(evaluate.Metric):
    """`evaluate`'s mean_iou, streaming: see `compute` for the arguments, `counts` and `merge` for
    several processes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.num_process != 1:
            raise ValueError(
                f"num_process={self.num_process}: no files are shared here; sum `counts` with "
                "`merge`"
            )
        self.reset()

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="Paul Jaccard: The distribution of the flora in the alpine zone. New "
            "Phytologist 11(2), 1912.",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Image(), "references": datasets.Image()}
            ),
        )

    def _build_data_dir(self) -> str:
        return self._data_dir_root  # the base class would make a folder for its cache files here

    @property
    def counts(self) -> Tensor:
        """A copy of the counts so far: int64 (ids, ids) on the CPU, rows references, one more than
        the largest id.
        """
        return self._counts.clone()

    def reset(self) -> None:
        """Forget everything counted."""
        self._counts = torch.zeros(0, 0, dtype=torch.int64)

    def merge(self, counts: Tensor) -> None:
        """Add another module's `counts`, square int64, of any number of ids."""
        if counts.dtype != torch.int64 or counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
            raise ValueError(
                f"counts must be a square int64 table, not {counts.dtype} of shape "
                f"{tuple(counts.shape)}"
            )
        self._counts = add_counts(self._counts, counts)

    def add(self, *, prediction: Any = None, reference: Any = None, **inputs: Any) -> None:
        """Count one pair of masks, each (height, width); as in evaluate, the plural names are taken
        as well.
        """
        pair = {"predictions": prediction, "references": reference, **inputs}
        self.add_batch(**{name: None if mask is None else [mask] for name, mask in pair.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Count a batch: (count, height, width), or lists of masks (height, width) of any sizes."""
        self._counts = self._with(predictions, references)

    def _with(self, predictions: Any, references: Any) -> Tensor:
        """The counts so far plus a batch's.

        A new table: a batch that fails half-way has added nothing.
        """
        if predictions is None or references is None:
            raise ValueError("predictions and references must both be given")
        for name, masks in (("predictions", predictions), ("references", references)):
            if not isinstance(masks, Sized):
                raise TypeError(
                    f"{name} must be an array or a list of masks, got a {type(masks).__name__}: "
                    "list(...) it"
                )
        if len(predictions) != len(references):
            raise ValueError(
                f"{len(predictions)} predictions do not match {len(references)} references"
            )
        counts = self.counts
        tensors = isinstance(predictions, Tensor) and isinstance(references, Tensor)
        if tensors and predictions.shape == references.shape and predictions.ndim == 3:
            return add_counts(counts, confusion_counts(predictions, references))
        for prediction, reference in zip(predictions, references, strict=True):
            predicted = _as_ids(prediction)
            if predicted.ndim != 2:
                raise ValueError(
                    f"a mask is (height, width), but one has the shape {tuple(predicted.shape)}"
                )
            counts = add_counts(counts, confusion_counts(predicted, reference))
        return counts

    def compute(
        self, *, predictions: Any = None, references: Any = None, **options: Any
    ) -> dict[str, Any]:
        """Score everything counted, with these masks if any are given, and forget it; after an
        error it is kept.
        """
        scores = self._compute(predictions, references, **options)
        self.reset()
        return scores

    def _compute(
        self, predictions: Any = None, references: Any = None, **options: Any
    ) -> dict[str, Any]:
        """`compute` without the forgetting: scores so far.

        Scripts call evaluate's own `_compute` to skip its files.
        """
        if predictions is None and references is None:
            if not self._counts.numel():
                raise ValueError(
                    "nothing to compute: call add or add_batch first, or pass predictions and "
                    "references"
                )
            return scores_from_counts(self._counts, **options)
        return scores_from_counts(self._with(predictions, references), **options)
