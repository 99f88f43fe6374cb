"""Frozen teachers

A step of the `cpu` recipe's pair (crops of 160x224, batch 8, 11 classes, ASPP 128, stride 16,
random weights) that learns from one frozen SegFormer, `--method offline_kd`, against the same pair
without a teacher, `--method vanilla`: with the teacher live, and with its logits kept
(`--cache_teacher`), once every image of the batch has been seen. Forward and backward, in turn;
ratios are medians of those of neighbouring steps. What is kept is read from files that the system
holds in memory. Peaks are bytes resident at the most beyond those of the two students alone, each
in a process of its own; the teacher's weights are loaded either way.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from common import (
    alternated,
    header,
    in_own_process,
    make_batch,
    make_pair,
    median_ratio,
    peak_bytes,
    row,
    step,
)

from ctcl_hf import OfflineKD, StudentPair, Vanilla, load_student
from ctcl_hf.students.cached_teacher import CachedTeacher
from ctcl_hf.students.teacher import Teacher

CLASSES, SIZE, IMAGES = 11, (160, 224), 8
TEACHERS = ("nvidia/mit-b1", "nvidia/mit-b5")
KINDS = ("none", "live", "kept")


def make_students() -> StudentPair:
    return make_pair(CLASSES, SIZE, aspp_channels=128, method=Vanilla, output_stride=16)


def taught(pair: StudentPair, kind: str, name: str, folder: Path) -> StudentPair:
    """The same two students; they learn from a teacher, too, unless from none."""
    if kind == "none":
        return pair
    names = [str(i) for i in range(CLASSES)]
    teacher = Teacher(load_student(name, names, SIZE, from_scratch=True))
    if kind == "kept":
        teacher = CachedTeacher(teacher, folder)
    students = dict(pair.students)
    return StudentPair(students, OfflineKD(*students.values(), teachers=(teacher,) * 2)).train()


def peak(kind: str, name: str, folder: Path) -> int:
    """Bytes at the peak of two steps beyond those of the students alone."""
    pair, batch = make_students(), make_batch(CLASSES, SIZE, IMAGES)
    before = peak_bytes()
    pair = taught(pair, kind, name, folder)
    for _ in range(2):
        step(lambda: pair(**batch).loss, pair)
    return peak_bytes() - before


def ratios(name: str, repeats: int, folder: Path) -> dict[str, tuple[float, float, float]]:
    """Median, smallest and largest ratio of a step with a teacher to one without."""
    students, batch = make_students(), make_batch(CLASSES, SIZE, IMAGES)
    pairs = {kind: taught(students, kind, name, folder) for kind in KINDS}
    seconds = alternated(
        {
            kind: lambda pair=pair: step(lambda: pair(**batch).loss, pair)
            for kind, pair in pairs.items()
        },
        repeats,
    )
    return {kind: median_ratio(seconds[kind], seconds["none"]) for kind in KINDS[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--measure", choices=[*KINDS, "ratios"], help="Measure this here: a peak, or the ratios."
    )
    parser.add_argument("--teacher", default=TEACHERS[0])
    parser.add_argument("--folder", type=Path, help="Where its logits are kept.")
    arguments = parser.parse_args()
    if arguments.measure == "ratios":
        print(json.dumps(ratios(arguments.teacher, arguments.repeats, arguments.folder)))
        return
    if arguments.measure:
        print(json.dumps(peak(arguments.measure, arguments.teacher, arguments.folder)))
        return
    header(
        *("teacher", "live / none", "min-max", "kept / none", "min-max"),
        *("none (GiB)", "live (GiB)", "kept (GiB)", "kept of an image (kB)"),
    )
    for name in TEACHERS:
        with tempfile.TemporaryDirectory() as folder:
            own = [f"--teacher={name}", f"--folder={folder}", f"--repeats={arguments.repeats}"]
            # Before the peaks, since it fills the folder.
            found = in_own_process(__file__, *own, "--measure=ratios")
            peaks = [in_own_process(__file__, *own, f"--measure={kind}") for kind in KINDS]
            files = [file.stat().st_size for file in Path(folder).rglob("*.safetensors")]
        told = [
            text
            for median, low, high in found.values()
            for text in (f"{median:.2f}", f"{low:.2f}-{high:.2f}")
        ]
        sizes = [f"{bytes_ / 2**30:.2f}" for bytes_ in peaks]
        row(name, *told, *sizes, f"{statistics.mean(files) / 1e3:.0f}")


if __name__ == "__main__":
    main()
