"""A signal to the launcher alone, and Ctrl-C at a terminal, end in a checkpoint of the step in
which they came.
"""

import os
import re
import signal

import pytest
from helpers.commands import EXAMPLES, TINY
from helpers.processes import TORCHRUN, Started
from helpers.runs import few_images

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
pytestmark = pytest.mark.slow
STEPS = ("--max_steps", "500", "--save_strategy", "no", "--eval_strategy", "no")


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
    command = ["-m", *launcher, EXAMPLES / "run_ctcl.py", *TINY, *STEPS, "--use_cpu"]
    command += [*few_images(tmp_path / "data"), "--output_dir", tmp_path / "out"]
    started = Started(command, tmp_path / "output.txt")
    started.wait_for(lambda: started.said("ce cnn") >= 2)
    started.process.send_signal(number)
    seen = started.said("ce cnn")
    assert started.process.wait(60) in ends
    started.wait_for(lambda: started.said("Stopped after step") > 0, ends)
    told = started.output.read_text()
    stopped = int(re.search(r"Stopped after step (\d+) by a signal", told)[1])
    assert seen <= stopped <= seen + 2  # a step's log may come after it
    assert find_checkpoint(str(tmp_path / "out"), "auto") == str(
        tmp_path / "out" / f"checkpoint-{stopped}"
    )


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_once_saves_and_says_how_to_go_on_and_twice_ends_at_once(presses, tmp_path):
    """It was a traceback, and what was trained since the last checkpoint was lost."""
    command = [EXAMPLES / "run_ctcl.py", *TINY, *STEPS, "--dataloader_num_workers", "1"]
    started = Started(
        [*command, "--output_dir", tmp_path / "out"],
        tmp_path / "output.txt",
        start_new_session=True,  # as a terminal does, Ctrl-C tells the workers too
        # Heard as in the foreground, where these tests are run in the background themselves.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    started.wait_for(lambda: started.said("ce cnn") >= 2)
    for press in range(1, presses + 1):
        os.killpg(started.process.pid, signal.SIGINT)
        if press == 1:
            started.wait_for(lambda: started.said("Once more, and the process ends at once") > 0)
    assert started.process.wait(60) == (130 if presses == 1 else -signal.SIGINT)
    told = started.output.read_text()
    assert "A signal came" not in told, "a second message of one Ctrl-C"
    assert "Traceback" not in told and told.count("Once more, and the process ends at once") == 1
    assert ("To go on: ctcl-hf train" in told) == (presses == 1)
    assert ("--resume_from_checkpoint auto" in told) == (presses == 1)
    assert (find_checkpoint(str(tmp_path / "out"), "auto") is not None) == (presses == 1)
