"""Start-up

Seconds of whole processes, in turn: what a user waits before the first word.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from common import alternated, bar, header, row

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "run_ctcl.py")
COMMANDS = {
    "python -c 'import transformers'": ["-c", "import transformers"],
    "run_ctcl.py --help": [EXAMPLE, "--help"],
    "python -c 'import ctcl_hf'": ["-c", "import ctcl_hf"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    def run(command: list[str]) -> None:
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)

    calls = {name: lambda command=command: run(command) for name, command in COMMANDS.items()}
    seconds = {
        name: statistics.median(values)
        for name, values in alternated(calls, arguments.repeats).items()
    }
    header("command", "s")
    for name, value in seconds.items():
        row(f"`{name}`", f"{value:.2f}")
    reference, shown, _ = seconds.values()
    bar(7, "`run_ctcl.py --help` / `import transformers`", shown / reference, at_most=1.5)


if __name__ == "__main__":
    main()
