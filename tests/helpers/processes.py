"""Several processes of one run, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def on_two_processes(script: str, folder: Path, *arguments, **environment):
    """A script's code to its end, once it is written to `folder`; it finds what tests share."""
    (folder / "script.py").write_text(script)
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", *TORCHRUN, folder / "script.py", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
