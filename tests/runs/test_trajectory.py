"""Fifty steps of a command line, as they were recorded: whatever changes what is trained shows
here.

    PYTHONPATH=tests python tests/runs/test_trajectory.py    # records them anew, where training was
    meant to change

On a machine like the one of the record every term is the same to rounding. Elsewhere kernels add up
in another order, and training from random weights makes much of it: between one thread and two,
cross entropies and the loss came to differ by up to 2.3 percent, and TOLERANCE is twice that.
"""

import json
import platform
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import make_cnn, make_vit

from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.runs.run import prepare, train

RECORD = Path(__file__).with_name("trajectory.json")
OPTIONS = (
    *("--recipe", "demo", "--max_train_samples", "40", "--no_check_data", "--crop_size", "64"),
    *(
        "--per_device_train_batch_size",
        "4",
        "--cnn_lr",
        "0.01",
        "--max_steps",
        "50",
        "--logging_steps",
        "5",
    ),
    *(
        "--eval_strategy",
        "no",
        "--save_strategy",
        "no",
        "--report_to",
        "none",
        "--disable_tqdm",
        "true",
    ),
)
OF_EACH = ("ce", "hfd", "region", "pixel")
TERMS = ("loss", "aux_cnn", *(f"{term}_{name}" for name in ("cnn", "vit") for term in OF_EACH))
STEADY = ("loss", "aux_cnn", "ce_cnn", "ce_vit")
TOLERANCE = 0.05  # of the steady terms elsewhere


def machine():
    """What decides how numbers are rounded."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "torch": torch.__version__,
        "cpu": model,
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def trajectory(folder):
    """Of every fifth step, the mean of each term since the one before."""
    torch.manual_seed(0)
    for name, student in (("cnn", make_cnn(8)), ("vit", make_vit(8))):
        student.save_pretrained(str(folder / name))
    students = ("--students", str(folder / "cnn"), str(folder / "vit"), "--cpu_threads", "1")
    run = prepare(parse_arguments("", [*OPTIONS, *students, "--output_dir", str(folder / "out")]))
    assert train(run)
    history = run.trainer.state.log_history
    return {
        str(log["step"]): {term: log[term] for term in TERMS} for log in history if "ce_cnn" in log
    }


def test_fifty_steps_are_those_that_were_recorded(tmp_path):
    recorded, now = json.loads(RECORD.read_text()), trajectory(tmp_path)
    assert list(now) == list(recorded["steps"]) == [str(step) for step in range(5, 51, 5)]
    is_alike = machine() == recorded["machine"]
    terms, tolerance = (TERMS, 1e-5) if is_alike else (STEADY, TOLERANCE)
    for step, values in recorded["steps"].items():
        expected = {term: values[term] for term in terms}
        assert {term: now[step][term] for term in terms} == pytest.approx(
            expected, rel=tolerance
        ), step


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {"machine": machine(), "steps": trajectory(Path(folder))}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
