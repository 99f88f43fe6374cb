"""Check a data set file by file, and write it once as Parquet shards, from which training reads.

ctcl-hf prepare cityscapes --data_dir Cityscapes --out shards/cityscapes
ctcl-hf prepare photos --class_names road car --out shards/photos --push_to_hub user/photos
ctcl-hf train --dataset_name shards/cityscapes
"""

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments.dataset import DatasetArguments
from ..arguments.parser import ArgumentsParser
from ..arguments.problems import raise_problems
from ..arguments.ranges import check_of_sides
from ..base.files import check_place
from ..base.hub_access import is_name_on_hub
from ..base.registry import is_reference
from ..base.tables import counted
from ..data import DATASETS
from .ending import told

if TYPE_CHECKING:
    from ..publishing.hub import Repository


@dataclass
class PreparationArguments:
    out: str = field(metadata={"help": "The folder to write, a new one."})
    resize: list[int] | None = field(
        default=None,
        metadata={
            "metavar": ("HEIGHT", "WIDTH"),
            "help": "HEIGHT WIDTH in pixels of what is written. Default: as it is.",
        },
    )
    push_to_hub: str | None = field(
        default=None, metadata={"help": "USER/NAME of a data set to push the folder to."}
    )
    private: bool = field(
        default=False, metadata={"help": "Whether a data set that --push_to_hub makes is private."}
    )

    def __post_init__(self):
        raise_problems(
            [
                check_of_sides("resize", self.resize),
                (
                    self.private and self.push_to_hub is None,
                    "--private has no effect without --push_to_hub.",
                ),
            ]
        )


def main() -> None:
    parser = ArgumentsParser(
        [PreparationArguments, DatasetArguments],
        description=__doc__,
        usage=f"%(prog)s NAME --out FOLDER [options]\n\nNAME: {', '.join(DATASETS)}, FILE.py:NAME, "
        "a folder, a Hub id",
    )
    argv = sys.argv[1:]
    if argv and argv[0] in DATASETS and Path(argv[0]).is_dir() and "--data_dir" not in argv:
        parser.error(
            f"{argv[0]} is a benchmark, and a folder here: say ./{argv[0]} for the folder, or "
            "--data_dir FOLDER for where the benchmark's files are."
        )
    if argv and not argv[0].startswith("-"):
        argv[:1] = [
            "--dataset" if argv[0] in DATASETS or is_reference(argv[0]) else "--dataset_name",
            argv[0],
        ]
    arguments, dataset, _ = parser.parse(argv)
    with told(ValueError, OSError):
        prepare(arguments, dataset)


def prepare(arguments: PreparationArguments, dataset: DatasetArguments) -> None:
    folder = Path(arguments.out)
    check_place("--out", folder)
    source = Path(dataset.dataset_name or "")
    if dataset.dataset_name and source.is_dir() and source.resolve() in folder.resolve().parents:
        raise ValueError(
            f"--out {folder} lies in {source}, which would then hold the data twice: give a folder "
            f"beside it, such as {source.resolve().with_name(f'{source.resolve().name}-shards')}."
        )
    name = arguments.push_to_hub
    if name is not None and ("/" not in name or not is_name_on_hub(name)):
        raise ValueError(f"--push_to_hub {name}: expected USER/NAME, as the Hub allows them.")
    if folder.exists():
        instead = ""
        if name is not None:
            from ..publishing.hub import upload_line

            instead = f" To push what lies there: {upload_line(name, folder)}"
        raise ValueError(f"--out {folder} exists already: give a new folder.{instead}")
    from ..data.findings import ways_to_say_ids
    from ..data.segmentation import BAD_SHOWN
    from ..data.shards import write_shards

    data = dataset.load_or_tell_all(needs_validation=False)
    print(data)
    repository = _opened(name, arguments.private) if name is not None else None
    size = tuple(arguments.resize) if arguments.resize else None
    report = write_shards(data, folder, size, dataset.skip_bad)
    print(f"\n{report.found(BAD_SHOWN)}")
    if report.problems and not dataset.skip_bad:
        if dataset.dataset_name is not None:
            print(*ways_to_say_ids(report.problems, len(data.class_names)), sep="\n")
        mend = "Mend them, or leave them out with --skip_bad."
        if not all(report.written.values()):  # of a split nothing would be left
            mend = "Mend them."
        raise ValueError(
            f"{counted(len(report.problems), 'bad file')}, listed above: nothing was written. "
            f"{mend}"
        )
    command = ["ctcl-hf", "train", "--dataset_name", str(folder)]
    how = "To train on them"
    if "validation" not in data.splits:
        command += ["--validation_share", "0.1"]
        how = "There are none to validate on. To train, with a tenth of them held out for that"
    print(f"{folder}: {counted(len(report.shards), 'shard')}. {how}: {shlex.join(command)}")
    if repository is not None:
        from ..publishing.hub import push_dataset

        push_dataset(repository, folder, f"Add {data.name}")
        print(repository.url)


def _opened(name: str, private: bool) -> "Repository":
    """A data set on the Hub, which this token may write to. OSError before files are read, else."""
    from ..publishing.hub import Repository, check_access

    repository = Repository(name, private or None, kind="dataset")
    check_access([repository])
    return repository


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.prepare`
    sys.argv[0] = "ctcl-hf prepare"
    main()
