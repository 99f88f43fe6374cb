"""The scripts of examples/ as a user runs them, at a size that takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = (
    *(
        "--recipe",
        "demo",
        "--aspp_channels",
        "8",
        "--crop_size",
        "32",
        "--per_device_train_batch_size",
        "2",
    ),
    *("--no_check_data", "--logging_steps", "1", "--report_to", "none"),
)
TINY = (*SMALL, "--cnn", "mobilenetv2_035")


def run(script, *arguments, cwd=None):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
    )
