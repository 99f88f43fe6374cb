"""Write the page of a run or of a comparison from what lies in its folder, while it goes on too.

ctcl-hf report runs/camvid-paper-ctcl
ctcl-hf report runs/table-3
"""

import sys
from pathlib import Path

from .ending import told
from .parser import command_parser


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s FOLDER")
    parser.add_argument(
        "folder", type=Path, help="Output folder of `ctcl-hf train`, or of `ctcl-hf compare`."
    )
    arguments = parser.parse_args()
    with told(ValueError, OSError):
        print(write(arguments.folder))


def write(folder: Path) -> Path:
    """Writes report.html into the folder; returns the file.

    ValueError if it holds neither run nor comparison.
    """
    from ..runs.comparison.grid import GRID_FILE, read_grid
    from ..runs.comparison.paper import TABLES
    from ..runs.files import check_holds_run

    is_grid = (folder / GRID_FILE).is_file()
    if not is_grid:
        check_holds_run(folder)
    from ..runs.page.grid import write_grid_page
    from ..runs.page.run import write_run_page

    if not is_grid:
        return write_run_page(folder)
    grid, facts = read_grid(folder)
    return write_grid_page(grid, TABLES.get(facts["table"]), facts["block_length"])


if __name__ == "__main__":  # `python -m ctcl_hf.cli.report`
    sys.argv[0] = "ctcl-hf report"
    main()
