"""Whether a run can go on from a checkpoint: it is what was saved, and of this pair."""

from pathlib import Path

from safetensors import safe_open
from transformers import AutoConfig
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..methods.pair import StudentPair
from .checkpoints import MANIFEST_FILE, changed_file, manifest_of

OBJECTIVE_FILE = "objective.safetensors"  # in a checkpoint: the method's `training_state`
# in a checkpoint, by process: what is summed up for the next log, what is owed
PROGRESS_FILE = "progress_{}.json"
SHOWN = 3  # of the entries in which two configurations differ
# What may differ between the configuration of a checkpoint and that of the student it is loaded
# into.
NOT_ARCHITECTURE = {
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
    "palette",
}


def check_contents(checkpoint: Path) -> None:
    """ValueError if weights, or states of optimizers, are not those that were saved, as far as a
    manifest says.
    """
    if (checkpoint / MANIFEST_FILE).is_file() and (
        changed := changed_file(checkpoint, manifest_of(checkpoint))
    ):
        raise ValueError(f"{checkpoint}: {changed}. Go on from an earlier checkpoint.")


def check_training_state(checkpoint: Path, steps: int) -> None:
    """ValueError without the state of optimizers and schedules: Trainer would start those afresh,
    and not say so.

    steps: that lie behind it.
    """
    missing = [
        file for file in ("optimizer.pt", "scheduler.pt") if not (checkpoint / file).is_file()
    ]
    if missing and not checkpoint.name.startswith(PREFIX_CHECKPOINT_DIR):
        raise ValueError(
            f"{checkpoint} holds a run that has come to its end, after {steps} steps, and kept no "
            "checkpoint: it cannot be made longer. Start another one from its students: "
            "--students A B, with their folders."
        )
    if missing:
        raise ValueError(
            f"{checkpoint} holds weights alone (no {', no '.join(missing)}), as with "
            "--save_only_model: nothing can go on from it. Start another one from its students: "
            "--students A B, with their folders."
        )


def _differing(there: object, here: object) -> tuple[str, str]:
    """Two values of a configuration as they are told: of mappings (the names of classes) how many
    entries each has, or the first that differ.
    """
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return repr(there), repr(here)
    if len(there) != len(here):
        return f"of {len(there)}", f"of {len(here)}"
    differing = [key for key in here if there.get(key) != here[key]][:SHOWN]
    first, second = (
        ", ".join(f"{key}: {values.get(key)!r}" for key in differing) for values in (there, here)
    )
    return first, second


def check_checkpoint(folder: Path, pair: StudentPair) -> None:
    """ValueError unless the folder holds all students of this pair, and the state of its
    method.
    """
    mend = (
        "Resume with the arguments of the run that wrote it, or start afresh in another "
        "--output_dir."
    )
    for name, student in pair.students.items():
        if not (folder / name / "config.json").is_file():
            found = (
                ", ".join(sorted(path.parent.name for path in folder.glob("*/config.json")))
                or "none"
            )
            raise ValueError(
                f"{folder} is no checkpoint of this pair: student folder {name!r} is missing "
                f"(found: {found})."
            )
        saved = AutoConfig.from_pretrained(folder / name, trust_remote_code=False).to_dict()
        for key, own in (
            {"model_type": student.config.model_type} | student.config.to_dict()
        ).items():
            if key not in NOT_ARCHITECTURE and saved.get(key) != own:
                there, here = _differing(saved.get(key), own)
                what = key
                if key == "id2label":
                    what = "class" if len(saved.get(key) or ()) == len(own) else "list of classes"
                raise ValueError(
                    f"{folder / name} holds another student: its {what} is {there}, this run's is "
                    f"{here}. {mend}"
                )
    expected, file = set(pair.objective.training_state()), folder / OBJECTIVE_FILE
    held: set[str] = set()
    if file.is_file():
        with safe_open(file, "pt") as tensors:
            held = set(tensors.keys())
    if expected != held:
        raise ValueError(
            f"{folder} was written by another method, or with other parts of it: beside the "
            f"students it holds {', '.join(sorted(held)) or 'nothing'}, and "
            f"{type(pair.objective).__name__} needs {', '.join(sorted(expected)) or 'nothing'}. "
            f"{mend}"
        )
