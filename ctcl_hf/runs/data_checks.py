"""What is wrong with a run's data, told with the options that mend it."""

from ..arguments.data import DataArguments
from ..arguments.problems import SKIP
from ..arguments.training import CTCLArguments
from ..data import SegmentationData
from ..data.findings import OF_IDS, BadFiles, ways_to_say_ids
from ..data.summary import DataSummary


def check_number(training: CTCLArguments, data: SegmentationData, arguments: DataArguments) -> None:
    """ValueError if the training images cannot fill a batch. It tells of bad files as well, which
    are soon read where images are so few.
    """
    try:
        training.check_dataset(data.splits.get("train"))
    except ValueError as few:
        try:
            check_files(data, arguments)
        except ValueError as bad:
            raise ValueError(f"{few}\n{bad}") from few
        raise


def check_files(data: SegmentationData, arguments: DataArguments) -> DataSummary | None:
    """What the files hold; None where not all of them are read (`--no_check_data`, streams).

    ValueError says what keeps them from being trained on, and what can be done.
    """
    try:
        if arguments.check_data and not data.is_streamed:
            return data.check()
        data.check_classes()
        return None
    except ValueError as error:
        of_files = isinstance(error, BadFiles)
        ways_on = []
        if arguments.dataset_name is not None:
            ways_on += (
                ways_to_say_ids(error.problems, len(data.class_names)) if of_files else [OF_IDS]
            )
        if of_files and not data.is_streamed and not _is_all_bad(error, data):
            ways_on.append(SKIP)
        raise ValueError("\n".join([str(error), *ways_on])) from None


def _is_all_bad(error: BadFiles, data: SegmentationData) -> bool:
    """Whether nothing of some split could be used."""
    return any(own and len(own) == len(data.splits[split]) for split, own in error.bad.items())
