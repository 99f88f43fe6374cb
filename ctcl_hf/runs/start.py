"""What lies in a run's output folder when it starts: another run, or one to go on with."""

from pathlib import Path

from accelerate.utils import gather_object

from ..arguments.recipes import Arguments, arguments_of, differences_in, options_in
from ..arguments.training import CTCLArguments
from ..base.files import check_place, read_json
from ..publishing.card import RECORD_FILE
from ..publishing.hub import check_token
from ..students.encoder_weights import LOCAL_DIR
from ..training.checkpoints import FolderTaken, checkpoints_of, find_checkpoint, trained_steps
from .teachers import check_teacher

# Arguments that say where a run lies and how it is run, and not what it is.
OF_NO_RUN = (
    "--output_dir",
    "--resume_from_checkpoint",
    "--cpu_threads",
    "--hub_token",
    "--cache_teacher",
)


def check_places(arguments: Arguments) -> None:
    """What can be known to be missing before data are read and students built, which takes long.

    OSError for a folder of teachers' logits that cannot be written to; ValueError for a teacher, or
    a file of weights, that is not there; PermissionError if students are to be published without a
    token.
    """
    training = arguments.training
    for teacher in arguments.method.teachers or ():
        check_teacher(teacher)
    if arguments.method.cache_teacher is not None:
        check_place("--cache_teacher", Path(arguments.method.cache_teacher))
    for file in arguments.students.encoder_weights or ():
        if not Path(file.removeprefix(LOCAL_DIR)).exists():
            raise ValueError(f"--encoder_weights {file}: there is no such file.")
    # What is trained to its end may be published already.
    if training.push_to_hub and trained_steps(Path(training.output_dir)) is None:
        check_token(training.hub_token)


def checkpoint_for(training: CTCLArguments, command: str) -> str | None:
    """The checkpoint from which a command goes on; None if it begins.

    ValueError as `find_checkpoint`, and says in which flags a run that is in the way differs.
    """
    try:
        checkpoint = find_checkpoint(training.output_dir, training.resume_from_checkpoint)
    except FolderTaken as error:
        raise ValueError(f"{error}{_difference(Path(training.output_dir), command)}") from None
    return _same_everywhere(checkpoint, training)


def progress_in(output_dir: str) -> list[str]:
    """How far a run has come in its output folder."""
    folder = Path(output_dir)
    return [f"trained for {trained_steps(folder)}", *(path.name for path in checkpoints_of(folder))]


def _difference(folder: Path, command: str) -> str:
    """A sentence on the flags by which the run in a folder differs from a command."""
    path = folder / RECORD_FILE
    recorded = read_json(path).get("command") if path.is_file() else None
    if recorded is None:
        return ""
    there, here = (options_in(arguments_of(line)) for line in (recorded, command))
    told = differences_in(there, here, OF_NO_RUN)
    return f" It differs by {', '.join(told)}." if told else " It has the same arguments."


def _same_everywhere(checkpoint: str | None, training: CTCLArguments) -> str | None:
    """The checkpoint. ValueError if not all processes have found this one."""
    if training.world_size > 1:
        found = [path and Path(path).name for path in gather_object([checkpoint])]
        if len(set(found)) > 1:
            raise ValueError(
                "The processes of this run would go on from different checkpoints "
                f"({', '.join(map(str, found))}): {training.output_dir} must be on a disk that all "
                "machines share."
            )
    return checkpoint
