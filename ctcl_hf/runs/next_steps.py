"""What can be done with a finished run, as commands."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..arguments.data import DataArguments
from ..arguments.dataset import words_naming
from ..arguments.training import CTCLArguments
from ..base.registry import is_reference
from ..base.tables import aligned


def next_commands(
    folder: Path, names: Sequence[str], data: DataArguments, training: CTCLArguments
) -> str:
    """Lines of commands, each with what it does, on a run's students.

    Args:
        folder: the run's.
        names: of its students.
        data: what it was scored on, and how.
        training: in which precision, and whether its students are on the Hub already.
    """
    student, all_of = str(folder / names[0]), "both" if len(names) == 2 else "all"
    own_code = words_naming(data.dataset, data.data_dir) if is_reference(data.dataset) else []
    likewise = [*own_code, *data.words(), *(["--bf16"] if training.bf16 else [])]
    of_two = [
        (["space", str(folder)], "see both on a page (extra: [space])"),
        (["review", str(folder), *own_code], "find labels that may be wrong (extra: [review])"),
    ]
    lines = [
        (["predict", "IMAGES", "--model", student], "segment images of your own"),
        (["evaluate", str(folder), *likewise], f"score {all_of} students, and their mean"),
        *(of_two if len(names) == 2 else []),
        (
            ["export", student, "--output", f"{names[0]}.onnx"],
            "write an ONNX file (extra: [export])",
        ),
        (
            ["release", str(folder), *own_code],
            "write the ONNX files of a model on the Hub, scored (extra: [export])",
        ),
    ]
    if not training.push_to_hub:
        lines.append((["push", str(folder)], f"publish {all_of} on the Hub"))
    return "Next:\n" + "\n".join(
        f"  {line}"
        for line in aligned([(shlex.join(["ctcl-hf", *words]), what) for words, what in lines])
    )
