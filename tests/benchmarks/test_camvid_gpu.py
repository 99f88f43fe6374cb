"""`examples/camvid_gpu.sh` says what `ctcl-hf compare` takes, so that a GPU's time is not spent on
a mistyped flag."""

import os
import subprocess
import sys
from pathlib import Path

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.cli.grid_arguments import parse

SCRIPT = Path(__file__).parents[2] / "examples" / "camvid_gpu.sh"


def test_the_script_for_a_gpu_starts_a_comparison_that_parses(tmp_path, monkeypatch):
    stub = tmp_path / "bin" / "ctcl-hf"
    stub.parent.mkdir()
    stub.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$TOLD"\n')
    stub.chmod(0o755)
    told = tmp_path / "told"
    environment = {
        "PATH": f"{stub.parent}:/usr/bin:/bin",
        "TOLD": str(told),
        "EPOCHS": "11",
        "HOME": os.environ.get("HOME", "/"),
    }
    command = ["bash", str(SCRIPT), "CamVid", "lite0.pth", str(tmp_path / "out")]
    command += ["--class_weights", "balanced", "--seeds", "5"]
    subprocess.run(command, env=environment, check=True)
    command, *argv = told.read_text().splitlines()
    assert command == "compare"
    monkeypatch.setattr(sys, "argv", ["compare", *argv])
    options, common = parse("")
    assert (options.seeds, options.launch, options.output_dir) == (5, "local:3", tmp_path / "out")
    # what asks for a GPU cannot be checked without one
    on_cpu = [word for word in common if word not in ("--no_use_cpu", "--bf16")]
    arguments = parse_arguments("", [*on_cpu, "--method", "ctcl"])
    assert arguments.training.num_train_epochs == 11
    assert tuple(arguments.data.crop_size) == (352, 480)
    assert arguments.students.encoder_weights == ["lite0.pth"]
    assert arguments.method.class_weights == "balanced"
