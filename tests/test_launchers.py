"""A signal to the launcher alone, and Ctrl-C at a terminal, end in a checkpoint of the step in
which they came.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from helpers.commands import EXAMPLES, TINY

from ctcl_hf.training.checkpoints import find_checkpoint

ACCELERATE = (
    "accelerate.commands.launch",
    "--num_processes",
    "1",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
)
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.mark.parametrize(
    ("launcher", "number", "ends"),
    [
        # These die of it, and say nothing to the processes that train.
        ((*ACCELERATE, "--dynamo_backend", "no"), signal.SIGTERM, (-signal.SIGTERM,)),
        ((*ACCELERATE, "--dynamo_backend", "no"), signal.SIGUSR1, (-signal.SIGUSR1,)),
        (TORCHRUN, signal.SIGUSR1, (-signal.SIGUSR1,)),
        # These pass it on, wait, and call it a failure; some abort at their own end, when a thread
        # of torch's is left.
        (TORCHRUN, signal.SIGTERM, (1, -signal.SIGABRT)),
        (
            (*TORCHRUN, "--signals-to-handle", "SIGTERM,SIGUSR1"),
            signal.SIGUSR1,
            (1, -signal.SIGABRT),
        ),
    ],
    ids=[
        "accelerate-SIGTERM",
        "accelerate-SIGUSR1",
        "torchrun-SIGUSR1",
        "torchrun-SIGTERM",
        "torchrun-handles-SIGUSR1",
    ],
)
def test_a_signal_to_the_launcher_alone_saves_and_stops_within_the_step(
    launcher, number, ends, tmp_path
):
    options = [
        "--max_steps",
        "500",
        "--save_strategy",
        "no",
        "--eval_strategy",
        "no",
    ]
    command = [
        sys.executable,
        "-m",
        *launcher,
        EXAMPLES / "run_ctcl.py",
        *TINY,
        *options,
        "--use_cpu",
    ]
    output = tmp_path / "output.txt"

    def steps():
        return output.read_text().count("ce cnn")

    def wait_for(condition):
        deadline = time.monotonic() + 200
        while not condition():
            assert time.monotonic() < deadline and running.poll() in (None, *ends), (
                output.read_text()
            )
            time.sleep(0.05)

    with output.open("w") as file:
        running = subprocess.Popen(
            [*command, "--output_dir", tmp_path / "out"],
            env=os.environ
            | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    wait_for(lambda: steps() >= 2)
    running.send_signal(number)
    seen = steps()
    assert running.wait(60) in ends
    wait_for(lambda: "Stopped after step" in output.read_text())
    stopped = int(re.search(r"Stopped after step (\d+) by a signal", output.read_text())[1])
    assert seen <= stopped <= seen + 2  # a step's log may come after it
    assert find_checkpoint(str(tmp_path / "out"), "auto") == str(
        tmp_path / "out" / f"checkpoint-{stopped}"
    )


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_once_saves_and_says_how_to_go_on_and_twice_ends_at_once(presses, tmp_path):
    """It was a traceback, and what was trained since the last checkpoint was lost."""
    options = [
        "--max_steps",
        "500",
        "--save_strategy",
        "no",
        "--eval_strategy",
        "no",
        "--dataloader_num_workers",
        "1",
    ]
    command = [
        sys.executable,
        EXAMPLES / "run_ctcl.py",
        *TINY,
        *options,
        "--output_dir",
        tmp_path / "out",
    ]
    output = tmp_path / "output.txt"

    def wait_for(text, times):
        deadline = time.monotonic() + 200
        while output.read_text().count(text) < times:
            assert time.monotonic() < deadline and running.poll() is None, output.read_text()
            time.sleep(0.01)

    with output.open("w") as file:
        running = subprocess.Popen(
            command,
            env=os.environ
            | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # as a terminal does, Ctrl-C tells the workers too
            # Heard as in the foreground, where these tests are run in the background themselves.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    wait_for("ce cnn", 2)
    for press in range(1, presses + 1):
        os.killpg(running.pid, signal.SIGINT)
        if press == 1:
            wait_for("Once more, and the process ends at once", 1)
    assert running.wait(60) == (0 if presses == 1 else -signal.SIGINT)
    told = output.read_text()
    assert "A signal came" not in told, "a second message of one Ctrl-C"
    assert "Traceback" not in told and told.count("Once more, and the process ends at once") == 1
    assert ("With --resume_from_checkpoint auto, the same command goes on" in told) == (
        presses == 1
    )
    assert (find_checkpoint(str(tmp_path / "out"), "auto") is not None) == (presses == 1)
