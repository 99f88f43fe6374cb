"""Start-up

Seconds of whole processes, in turn: what a user waits before the first word. Then what comes before
the first step of `--recipe cpu`, part by part, once.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import alternated, bar, header, in_own_process, row

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "run_ctcl.py")
COMMANDS = {
    "python -c 'import transformers'": ["-c", "import transformers"],
    "run_ctcl.py --help": [EXAMPLE, "--help"],
    "python -c 'import ctcl_hf'": ["-c", "import ctcl_hf"],
}


def parts_of_start(data: list[str]) -> dict[str, float]:
    """Seconds of each part of a run until its first step has been made."""
    start = time.perf_counter()
    from transformers import TrainerCallback

    from ctcl_hf.arguments.recipes import parse_arguments
    from ctcl_hf.runs import run as runs

    parts = {}

    def part(name: str) -> None:
        nonlocal start
        parts[name], start = time.perf_counter() - start, time.perf_counter()

    class FirstStep(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            part("trainer, begun")

        def on_step_end(self, *args, **kwargs):
            part("the first step")

    with tempfile.TemporaryDirectory() as folder:
        arguments = parse_arguments(
            "", [*data, "--recipe", "cpu", "--max_steps", "1", "--output_dir", folder]
        )
        part("imports and arguments")
        run = runs.prepare(arguments)
        part("data, students and trainer")
        run.data.check()
        part("(every image and mask read once more, as --check_data reads them)")
        runs.show_data(run)
        part("summary and samples.png")
        run.trainer.add_callback(FirstStep())
        run.trainer.train()
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data_dir", help="Folder with CamVid. Default: drawn street scenes.")
    parser.add_argument("--parts", action="store_true", help="Those of one start, as JSON.")
    arguments = parser.parse_args()
    data = ["--data_dir", arguments.data_dir] if arguments.data_dir else ["--dataset", "synthetic"]
    if arguments.parts:
        print(json.dumps(parts_of_start(data)))
        return

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
    given = ["--data_dir", arguments.data_dir] if arguments.data_dir else []
    parts = in_own_process(__file__, "--parts", *given)
    header(f"from `ctcl-hf train {' '.join(data[:1])} ... --recipe cpu` to the first step", "s")
    for name, seconds_of_part in parts.items():
        row(name, f"{seconds_of_part:.2f}")


if __name__ == "__main__":
    main()
