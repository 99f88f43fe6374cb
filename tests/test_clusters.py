"""`examples/slurm/train.sh`, with stand-ins for SLURM's commands."""

import os
import re
import socket
import subprocess
import sys

import pytest
from helpers.commands import EXAMPLES, TINY

SCRIPT = EXAMPLES / "slurm" / "train.sh"
STAND_INS = {
    "scontrol": """
case $1 in
show) echo 127.0.0.1 ;;
requeue) echo "$2" >> requeued ;;
esac""",
    # Two tasks, which are sent the signal of --signal in the job's first start, once both train.
    "srun": """
export SLURM_NTASKS=2
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" >> "task-$task" 2>&1 &
    tasks+=($!)
done
if [ ! -e signalled ]; then
    touch signalled
    until grep -q 'ce cnn' task-0 || ! kill -0 "${tasks[@]}"; do sleep 0.1; done
    kill -USR1 "${tasks[@]}"
fi
wait "${tasks[0]}" && wait "${tasks[1]}" """,
    "ctcl-hf": f'exec {sys.executable} -m ctcl_hf "$@"',
}


@pytest.mark.slow
def test_a_job_that_is_stopped_is_queued_again_until_there_are_results(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    small = [*TINY, "--max_steps", "30", "--eval_strategy", "no", "--cpu_threads", "1"]
    small += ["--save_steps", "1000"]  # so that what it goes on from is of the signal
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def start():
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "here",
            "MASTER_PORT": str(port),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        done = subprocess.run(
            ["bash", SCRIPT, "runs/street", *small],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "task-0").read_text()

    start()
    assert (tmp_path / "requeued").read_text() == "7\n"
    (stopped,) = re.findall(r"Stopped after step (\d+)", (tmp_path / "task-0").read_text())
    assert int(stopped) < 30
    start()
    assert (tmp_path / "requeued").read_text() == "7\n"  # there are results
    assert (tmp_path / "runs/street/results.json").is_file()
    assert f"step {int(stopped) + 1:2}/30" in (tmp_path / "task-0").read_text()
