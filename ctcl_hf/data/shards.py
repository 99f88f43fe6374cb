"""A data set written once as Parquet shards, every file checked: what `ctcl-hf prepare` does."""

import glob
import io
import json
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import logging

from ..base.files import write_whole
from ..base.heartbeat import watched
from ..base.tables import markdown_table
from .findings import IF_WRONG, Finding, Problem, Told, by_cause, digest_of, pixels_by_id
from .images import content_of
from .masks import IGNORE_INDEX, Colour, as_picture
from .own.build import BENCHMARK_FILE
from .own.classes import CLASSES_FILE, IGNORED, PALETTE_FILE
from .samples import SegmentationSamples
from .segmentation import SegmentationData

logger = logging.get_logger(__name__)

SHARD_BYTES = 256 * 2**20
ROW_GROUP = 64  # rows, in memory at once
REPORT_FILE = "report.md"


@dataclass
class Report:
    """What was found in each split, and written of it."""

    data: SegmentationData
    written: dict[str, int] = field(default_factory=dict)  # images by split
    bad: dict[str, list[Problem]] = field(default_factory=dict)  # problems by split
    sizes: Counter = field(default_factory=Counter)  # images by (height, width)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))  # by class id
    shards: list[str] = field(default_factory=list)
    seen: dict[str, set[int]] = field(default_factory=dict)  # ids in the labels, by split
    told: Told = field(init=False)

    def __post_init__(self):
        self.told = Told(self.data.told_ids)

    @property
    def problems(self) -> list[Problem]:
        return [problem for problems in self.bad.values() for problem in problems]

    def __str__(self) -> str:
        """Markdown: what data it is, and all that was found in it."""
        bad = ", ".join(f"{len(own)} of {split}" for split, own in self.bad.items() if own)
        told = (f"left out as bad: {bad}, below",) if bad else ()
        data = replace(self.data, left_out=(*self.data.left_out, *told))
        return f"{data.with_counts(self.written)}\n\n{self.found()}"

    def found(self, most: int | None = None) -> str:
        """Markdown: counts by split, sizes, share of pixels by class, and every bad file.

        most: of the causes for which files are bad, and of the files of each.
        """
        lines = [["split", "images", "bad"]]
        lines += [
            [split, str(count), str(len(self.bad[split]))] for split, count in self.written.items()
        ]
        parts = [markdown_table(lines)]
        if self.sizes:  # something could be read
            parts += self._held()
        if self.problems:
            told = by_cause(self.bad, most)
            parts.append("\n".join(["Bad files:", *(f"- {sentence}" for sentence in told)]))
        return "\n\n".join(parts) + "\n"

    def _held(self) -> list[str]:
        """What the files that could be read hold."""
        total = max(int(self.pixels.sum()), 1)
        classes = [["class", "share of pixels (%)"]]
        shares = [*enumerate(self.data.class_names), (IGNORE_INDEX, "ignored")]
        classes += [[f"{i} {name}", f"{100 * self.pixels[i] / total:.3f}"] for i, name in shares]
        sizes = ", ".join(f"{h}x{w} ({count})" for (h, w), count in self.sizes.most_common(5))
        more = f" and {len(self.sizes) - 5} more" if len(self.sizes) > 5 else ""
        parts = [f"Sizes (height x width): {sizes}{more}.", markdown_table(classes)]
        absent = [name for i, name in enumerate(self.data.class_names) if not self.pixels[i]]
        if absent and self.pixels.any():
            parts.append(f"Classes without a pixel: {', '.join(absent)}. {IF_WRONG}")
        notes = [*self.told.sentences(), *self.data.remarks_on_names()]
        if "train" in self.seen and (problem := self.data.problem_of_classes(self.seen["train"])):
            notes.append(problem)
        if notes:
            parts.append("\n".join(["To be looked at:", *(f"- {note}" for note in notes)]))
        return parts


def write_shards(
    data: SegmentationData,
    folder: Path,
    size: tuple[int, int] | None = None,
    skip_bad: bool = False,
) -> Report:
    """Checks every image and mask, and writes those of `data` to `folder`, which appears when all
    of it is there.

    Images keep their files' bytes, unless they are resized; masks become PNGs of class ids 0..K-1
    and 255, with the data's colours. Beside the shards lie the classes, the palette, a card that
    `datasets` reads, and the report.

    Args:
        size: (height, width) in pixels to which images (bilinear, antialiased) and masks (nearest)
            are resized.
        skip_bad: leave bad files out; without it nothing is written if there is one.

    Returns:
        The report. With bad files and without `skip_bad` there is no folder.

    Raises:
        ValueError: the folder exists already, or appears meanwhile, or no image of a split can be
            used.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already. Give a new folder, or delete it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if left := sorted(folder.parent.glob(f".{glob.escape(folder.name)}-{8 * '?'}")):
        logger.warning(
            f"{', '.join(map(str, left))}: of a `ctcl-hf prepare` of this folder that was killed, "
            "or that is running. Of one that was killed, delete it."
        )
    # A folder of its own: nobody else's is touched, and another `ctcl-hf prepare` may write to the
    # same name.
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    report = Report(data)
    try:
        (staged / "data").mkdir()
        for split in data.splits:
            _write_split(data, split, staged / "data", size, report)
        if report.problems and not skip_bad:
            return report
        if empty := [split for split, count in report.written.items() if not count]:
            raise ValueError(
                f"No image of {' and '.join(empty)} can be used. The first: "
                f"{next(iter(report.bad[empty[0]]), 'there is none')}"
            )
        _write_facts(data, staged, size, report)
        staged.chmod(0o777 & ~_umask())  # mkdtemp makes it for this user alone
        try:
            staged.rename(folder)
        except OSError as error:
            kept = folder.with_name(f"{folder.name}{staged.name[len(folder.name) + 1 :]}")
            staged.rename(kept)
            raise ValueError(
                f"{folder} has appeared meanwhile. What was written is in {kept}."
            ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return report


def _umask() -> int:
    """What files of this process are denied, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_split(
    data: SegmentationData, split: str, folder: Path, size: tuple[int, int] | None, report: Report
) -> None:
    import datasets
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    samples = data.samples(split, transform=None)
    samples.read_mask.watched = report.told.unmet
    is_labelled = "label" in samples.rows.column_names
    columns = ("image", "label") if is_labelled else ("image",)
    schema = datasets.Features({column: datasets.Image() for column in columns}).arrow_schema
    report.written[split] = 0
    report.bad[split] = []
    report.seen[split] = set()
    writer = None
    size_so_far = 0
    rows = []

    def flush() -> None:
        nonlocal writer, size_so_far
        if not rows:
            return
        if writer is None:
            number = sum(shard.startswith(f"{split}-") for shard in report.shards)
            report.shards.append(f"{split}-{number:05}.parquet")
            writer = ParquetWriter(folder / report.shards[-1], schema)
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        size_so_far += sum(len(cell["bytes"]) for row in rows for cell in row.values())
        rows.clear()
        if size_so_far > SHARD_BYTES:
            writer.close()
            writer = None
            size_so_far = 0

    converted = _in_order(samples, size, data.palette if is_labelled else None)
    progress = watched(converted, f"Writing {data.name} {split}", len(samples))
    for index, made in enumerate(progress):
        if isinstance(made, Problem):
            report.bad[split].append(made)
            continue
        row, sides, counts, finding = made
        report.told.add(split, index, finding)
        report.seen[split].update(finding.pixels)
        rows.append(row)
        report.written[split] += 1
        report.sizes[sides] += 1
        report.pixels += counts
        if len(rows) == ROW_GROUP:
            flush()
    flush()
    if writer is not None:
        writer.close()


def _in_order(
    samples: SegmentationSamples, size: tuple[int, int] | None, palette: tuple[Colour, ...] | None
) -> Iterator:
    """What `_convert` makes of every sample, several at a time and few ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: deque = deque()
        for index in range(len(samples)):
            ahead.append(pool.submit(_convert, samples, index, size, palette))
            if len(ahead) > 2 * (os.cpu_count() or 1):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _convert(
    samples: SegmentationSamples,
    index: int,
    size: tuple[int, int] | None,
    palette: tuple[Colour, ...] | None,
) -> tuple[dict, tuple[int, int], np.ndarray, Finding] | Problem:
    """A row, its image's (height, width), pixels by class id and what there is to be said; or what
    is wrong with it.

    Without a palette there are no masks.
    """
    read = samples.examine(index)
    if isinstance(read, Problem):
        return read
    pixels, ids, is_turned = read
    stored = samples.stored(index)["image"]
    name = Path(stored["path"]).name if stored["path"] else None
    encoded = content_of(stored)
    finding = Finding(
        None,
        pixels_by_id(ids),
        ids.shape,
        is_turned,
        digest_of(encoded),
        samples.shown_colours(index),
    )
    if size is not None:
        sides = size[::-1]
        picture = Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR)
        ids = np.asarray(Image.fromarray(ids).resize(sides, Image.Resampling.NEAREST))
        encoded = _png(picture)
        name = name and f"{Path(name).stem}.png"
    row = {"image": {"bytes": encoded, "path": name}}
    counts = np.zeros(256, dtype=np.int64)
    if palette is not None:
        row["label"] = {
            "bytes": _png(as_picture(ids, palette)),
            "path": name and f"{Path(name).stem}.png",
        }
        counts += np.bincount(ids.ravel(), minlength=256)
    return row, ids.shape, counts, finding


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def _write_facts(
    data: SegmentationData, folder: Path, size: tuple[int, int] | None, report: Report
) -> None:
    """What lies beside the shards: classes, palette, report, and a card that tells `datasets` what
    the files are.
    """
    names = {str(i): name for i, name in enumerate(data.class_names)}
    write_whole(folder / CLASSES_FILE, json.dumps(names, indent=2) + "\n")
    colours = {
        name: list(colour) for name, colour in zip(data.class_names, data.palette, strict=True)
    }
    if IGNORED not in colours and len(set(map(tuple, colours.values()))) == len(colours):
        write_whole(folder / PALETTE_FILE, json.dumps(colours, indent=2) + "\n")
    write_whole(folder / REPORT_FILE, str(report))
    benchmark = {
        "image_size": size or data.image_size,
        "protocol": data.protocol,
        "prediction_ids": data.prediction_ids,
        "unusable": data.unusable + len(report.problems),
    }
    write_whole(folder / BENCHMARK_FILE, json.dumps(benchmark) + "\n")
    files = "\n".join(
        f"      - split: {split}\n        path: data/{split}-*.parquet" for split in data.splits
    )
    write_whole(
        folder / "README.md",
        "---\ntask_categories:\n  - image-segmentation\n"
        f"configs:\n  - config_name: default\n    data_files:\n{files}\n---\n\n# "
        f"{data.title or data.name}\n\nImages, and masks of class ids (255 is not scored), written "
        f"by ctcl_hf.\n\n{report}",
    )
