"""The paper's tables as data: which runs each is made of, and what it printed.

Zhu et al., ICCV 2023, Tables 1-9, and Tables 4 and 5 of its supplement (s4, s5). mIoU in percent on
validation sets.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ...base.registry import is_reference, short_name

# Short names of pairs -> what --students is given. Any "A+B" of names that --students knows is a
# pair as well.
STUDENTS = {"mobilenetv2": "mobilenetv2_100", "maxvit": "maxvit_tiny_tf_512"}


class Row(NamedTuple):
    """One method of a table: what it is called there, and the arguments of its run, `--method NAME`
    and its options.
    """

    title: str
    arguments: str

    @property
    def method(self) -> str:
        """Its name, as --method is given it."""
        return next(iter(shlex.split(self.arguments)[1:]), "")


def rows_of(methods: Sequence[str], others: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of methods as a command line names them, each with its options.

    `dml --temperature 4` is called `DML, temperature 4`, as the paper writes the name, and
    `FILE.py:NAME` by its NAME, unless two would be called the same, here or among the others.
    """
    rows = [Row(_short(method), f"--method {method}") for method in methods]
    counts = Counter(row.title for row in (*rows, *others))
    return tuple(
        row if counts[row.title] == 1 else Row(method, row.arguments)
        for row, method in zip(rows, methods, strict=True)
    )


def _short(method: str) -> str:
    name, *words = shlex.split(method) or [""]
    told = [short_name(name) if is_reference(name) else PAPERS_NAMES.get(name, name)]
    for word in words:
        option, _, value = word.partition("=")
        if option.startswith("--"):
            told.append(f"{option.removeprefix('--')} {value}".rstrip())
        else:
            told[-1] += f" {word}"
    return ", ".join(told)


class Table(NamedTuple):
    """scores: by pair, then by row title, of its first and second student; None where the paper
    prints no number.
    """

    caption: str
    dataset: str
    rows: tuple[Row, ...]
    scores: dict[str, dict[str, tuple[float, float]]]
    remark: str = ""


VANILLA = Row("Vanilla", "--method vanilla")
OFFLINE_KD = Row("Offline KD", "--method offline_kd")
DML = Row("DML", "--method dml")
KDCL = Row("KDCL", "--method kdcl")
IFVD = Row("IFVD", "--method ifvd")
CTCL = Row("CTCL", "--method ctcl")
# by their names on the command line, what the paper calls methods
PAPERS_NAMES = {
    row.arguments.removeprefix("--method "): row.title
    for row in (VANILLA, OFFLINE_KD, DML, KDCL, IFVD, CTCL)
}
ONLINE = (VANILLA, DML, KDCL, IFVD, CTCL)


def _sweep(name: str, values: tuple[float, ...], others: str) -> tuple[Row, ...]:
    return (
        VANILLA,
        *(
            Row(f"{name} {value:g}", f"--method ctcl {others} --{name} {value:g}")
            for value in values
        ),
    )


def _scores(rows: tuple[Row, ...], *scores: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return dict(zip((row.title for row in rows), scores, strict=True))


_METHODS = (VANILLA, OFFLINE_KD, DML, KDCL, IFVD, CTCL)
_PARTS = (
    VANILLA,
    Row("HFD", "--method ctcl --no_region_bsd --no_pixel_bsd"),
    Row("BSD", "--method ctcl --no_hfd"),
    Row("HFD and BSD", "--method ctcl"),
)
_BSD_PARTS = (
    VANILLA,
    Row("region BSD", "--method ctcl --no_hfd --no_pixel_bsd"),
    Row("pixel BSD", "--method ctcl --no_hfd --no_region_bsd"),
    Row("both", "--method ctcl --no_hfd"),
)
_ALPHA = _sweep("alpha", (0.1, 0.5, 1.0, 2.0, 5.0), "--no_hfd")
_BETA = _sweep("beta", (0.05, 0.1, 0.5, 1.0), "--no_region_bsd --no_pixel_bsd")
_GAMMA = _sweep("gamma", (0.1, 0.5, 1.0, 2.0, 5.0), "")
_SMALL, _LARGE = "mobilenetv2+mit-b1", "resnet50+mit-b2"
_VOC_SMALL, _VOC_LARGE = (67.54, 78.48), (76.05, 82.03)

TABLES: dict[str, Table] = {
    "1": Table(
        "Comparison on PASCAL VOC 2012",
        "voc",
        _METHODS,
        {
            _SMALL: _scores(
                _METHODS,
                _VOC_SMALL,
                (67.40, 78.87),
                (67.43, 78.76),
                (67.41, 78.76),
                (67.70, 77.61),
                (69.57, 79.17),
            ),
            _LARGE: _scores(
                _METHODS,
                _VOC_LARGE,
                (76.77, 82.19),
                (76.51, 82.10),
                (76.46, 82.01),
                (76.52, 81.52),
                (76.99, 82.67),
            ),
        },
    ),
    "2": Table(
        "Comparison on Cityscapes",
        "cityscapes",
        _METHODS,
        {
            _SMALL: _scores(
                _METHODS,
                (73.23, 74.95),
                (74.11, 75.50),
                (73.68, 75.13),
                (73.41, 75.51),
                (73.13, 75.25),
                (74.42, 75.62),
            ),
            _LARGE: _scores(
                _METHODS,
                (76.83, 78.77),
                (77.68, 78.84),
                (77.22, 78.91),
                (77.94, 78.81),
                (77.57, 78.90),
                (78.03, 79.71),
            ),
        },
    ),
    "3": Table(
        "Comparison on CamVid",
        "camvid",
        _METHODS,
        {
            _SMALL: _scores(
                _METHODS,
                (71.28, 76.10),
                (69.48, 75.76),
                (70.73, 75.85),
                (71.96, 76.40),
                (71.08, 75.38),
                (73.09, 77.04),
            ),
            _LARGE: _scores(
                _METHODS,
                (73.97, 77.04),
                (71.90, 77.29),
                (73.75, 77.15),
                (73.19, 77.56),
                (74.22, 77.25),
                (75.26, 78.52),
            ),
        },
    ),
    "4": Table(
        "Ablation of HFD and BSD on PASCAL VOC 2012",
        "voc",
        _PARTS,
        {_SMALL: _scores(_PARTS, _VOC_SMALL, (67.89, 78.78), (69.19, 78.91), (69.57, 79.17))},
    ),
    "5": Table(
        "Ablation of region and pixel BSD on PASCAL VOC 2012",
        "voc",
        _BSD_PARTS,
        {_SMALL: _scores(_BSD_PARTS, _VOC_SMALL, (67.92, 78.82), (68.87, 78.81), (69.19, 78.91))},
    ),
    "6": Table(
        "Pairs of unequal students on PASCAL VOC 2012",
        "voc",
        (VANILLA, CTCL),
        {
            "mobilenetv2+mit-b2": _scores((VANILLA, CTCL), (67.54, 82.03), (69.21, 82.27)),
            "resnet50+mit-b1": _scores((VANILLA, CTCL), (76.05, 78.48), (77.59, 79.56)),
        },
    ),
    "7": Table(
        "Sensitivity to alpha on PASCAL VOC 2012",
        "voc",
        _ALPHA,
        {
            _SMALL: _scores(
                _ALPHA,
                _VOC_SMALL,
                (68.14, 78.94),
                (68.76, 78.83),
                (69.19, 78.91),
                (69.47, 78.55),
                (70.69, 78.25),
            )
        },
        "Its alpha 1 is Table 5's row without HFD, so HFD is left out here.",
    ),
    "8": Table(
        "Sensitivity to beta on PASCAL VOC 2012",
        "voc",
        _BETA,
        {
            _SMALL: _scores(
                _BETA, _VOC_SMALL, (67.60, 78.70), (67.89, 78.78), (67.76, 78.69), (67.44, 78.43)
            )
        },
        "Its beta 0.1 is Table 4's row of HFD alone, so BSD is left out here.",
    ),
    "9": Table(
        "Sensitivity to gamma on PASCAL VOC 2012",
        "voc",
        _GAMMA,
        {
            _SMALL: _scores(
                _GAMMA,
                _VOC_SMALL,
                (68.57, 79.10),
                (68.92, 78.95),
                (69.03, 78.94),
                (69.08, 78.60),
                (70.12, 78.30),
            )
        },
        "Its gamma 1 matches no other table, so what else was on is not known; here it is all of "
        "CTCL.",
    ),
    "s4": Table(
        "Two ViTs on CamVid",
        "camvid",
        ONLINE,
        {
            "mit-b1+mit-b2": _scores(
                ONLINE,
                (76.26, 77.76),
                (75.84, 77.40),
                (76.61, 77.55),
                (76.43, 77.45),
                (77.89, 78.01),
            )
        },
        "Its caption says MiT-B2 and MiT-B2, its header MiT-B1 and MiT-B2. It gives ADE20K too: "
        "table s4-ade20k.",
    ),
    "s4-ade20k": Table(
        "Comparison on ADE20K",
        "ade20k",
        ONLINE,
        {
            _SMALL: _scores(
                ONLINE,
                (22.53, 40.07),
                (22.02, 40.12),
                (22.16, 41.62),
                (21.42, 40.64),
                (26.47, 42.28),
            )
        },
    ),
    "s5": Table(
        "A hybrid student on CamVid",
        "camvid",
        ONLINE,
        {
            "resnet50+maxvit": _scores(
                ONLINE,
                (58.12, 61.89),
                (59.07, 63.80),
                (58.64, 61.61),
                (59.69, 62.01),
                (62.13, 65.47),
            ),
            "mit-b2+maxvit": _scores(
                ONLINE,
                (77.76, 61.89),
                (77.09, 60.61),
                (77.49, 63.26),
                (77.08, 63.10),
                (77.96, 67.14),
            ),
        },
        "Its vanilla ResNet-50 is 58.12, where Table 3 has 73.97: other settings, which it does "
        "not name.",
    ),
}


def students_of(pair: str) -> list[str]:
    """What --students is given for "A+B", or "A+B+C" and more. ValueError for anything else."""
    names = pair.split("+")
    if len(names) < 2 or not all(names):
        raise ValueError(
            f"--pair {pair}: expected two students as A+B, such as {_SMALL}, or more as A+B+C."
        )
    return [STUDENTS.get(name, name) for name in names]
