"""Checkpoints on disk: which one to resume from, and whether it fits a pair."""

from pathlib import Path

from transformers import AutoConfig

from .pair import StudentPair

OBJECTIVE_FILE = "objective.safetensors"  # in a checkpoint: the method's projections

# What may differ between the configuration of a checkpoint and that of the student it is loaded into.
NOT_ARCHITECTURE = {"architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}


def check_checkpoint(folder: Path, pair: StudentPair) -> None:
    """ValueError unless the folder holds both students of this pair, and the projections of its method."""
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
    expects, holds = bool(pair.objective.projections.state_dict()), (folder / OBJECTIVE_FILE).is_file()
    if expects != holds:
        raise ValueError(
            f"{folder} was written by a method {'with' if holds else 'without'} projections, but "
            f"{type(pair.objective).__name__} has {'some' if expects else 'none'}. {mend}"
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
