"""Checkpoints on disk: which one to resume from, and whether it fits a pair."""

from pathlib import Path

from safetensors import safe_open
from transformers import AutoConfig

from .pair import StudentPair

OBJECTIVE_FILE = "objective.safetensors"  # in a checkpoint: the method's `training_state`

# What may differ between the configuration of a checkpoint and that of the student it is loaded into.
NOT_ARCHITECTURE = {"architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}


def check_checkpoint(folder: Path, pair: StudentPair) -> None:
    """ValueError unless the folder holds both students of this pair, and the state of its method."""
    mend = "Resume with the arguments of the run that wrote it, or start afresh in another --output_dir."
    for name, student in pair.students.items():
        if not (folder / name / "config.json").is_file():
            found = ", ".join(sorted(path.parent.name for path in folder.glob("*/config.json"))) or "none"
            raise ValueError(
                f"{folder} is no checkpoint of this pair: student folder {name!r} is missing (found: {found})."
            )
        saved = AutoConfig.from_pretrained(folder / name).to_dict()
        for key, own in ({"model_type": student.config.model_type} | student.config.to_dict()).items():
            if key not in NOT_ARCHITECTURE and saved.get(key) != own:
                raise ValueError(
                    f"{folder / name} holds another student: its {key} is {saved.get(key)!r}, this run's is {own!r}. "
                    f"{mend}"
                )
    expected, file = set(pair.objective.training_state()), folder / OBJECTIVE_FILE
    held: set[str] = set()
    if file.is_file():
        with safe_open(file, "pt") as tensors:
            held = set(tensors.keys())
    if expected != held:
        raise ValueError(
            f"{folder} was written by another method, or with other parts of it: beside the students it holds "
            f"{', '.join(sorted(held)) or 'nothing'}, and {type(pair.objective).__name__} needs "
            f"{', '.join(sorted(expected)) or 'nothing'}. {mend}"
        )


def find_checkpoint(output_dir: str, resume: str | None) -> str | None:
    """The checkpoint to resume from. A folder that holds another run is never silently written over."""
    folder = Path(output_dir)
    # A folder without this file is one that an interruption left half-written: Trainer writes it last.
    complete = {
        int(path.parent.name.split("-")[-1]): path.parent for path in folder.glob("checkpoint-*/trainer_state.json")
    }
    last = str(complete[max(complete)]) if complete else None
    holds_run = last is not None or any(folder.glob("*/config.json")) or (folder / "results.json").is_file()
    if resume is None or (resume == "auto" and last is None):
        if holds_run:
            other = "choose another --output_dir"
            way = (
                f"Continue it with --resume_from_checkpoint auto, or {other}"
                if last
                else f"It has no checkpoint: {other}"
            )
            raise ValueError(f"{output_dir} already holds a run. {way}.")
        return None
    if resume == "auto":
        return last
    if not (Path(resume) / "trainer_state.json").is_file():
        raise ValueError(
            f"--resume_from_checkpoint {resume}: no trainer_state.json there. Give a folder like "
            f"{output_dir}/checkpoint-100 (not the folder of one student), or `auto`."
        )
    return resume
