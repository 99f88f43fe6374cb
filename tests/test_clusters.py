"""One run on several machines: `examples/slurm/train.sh` with stand-ins for Slurm's commands, and
`examples/accelerate/multi_node.yaml` on one machine that is both.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import EXAMPLES, TINY
from helpers.processes import TORCHRUN, Started
from helpers.runs import AGAIN, few_images

pytestmark = pytest.mark.slow
SCRIPT = EXAMPLES / "slurm" / "train.sh"
CONFIG = EXAMPLES / "accelerate" / "multi_node.yaml"
STEPS = 12
SMALL = (*TINY, "--max_steps", str(STEPS), "--save_steps", "4", "--eval_strategy", "no")
STAND_INS = {
    "scontrol": """
case $1 in
show) echo 127.0.0.1 ;;
requeue) echo "$2" >> requeued ;;
esac""",
    # Two tasks. In the job's first start they are sent the signal of --signal, once both train; in
    # its second one is killed, once something was saved, and the other one for it.
    "srun": """
[ "$1" = --kill-on-bad-exit=1 ] && shift
export SLURM_NTASKS=2
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" >> "task-$task" 2>&1 &
    tasks+=($!)
done
echo started >> starts
wait_for() { until "$@" || ! kill -0 "${tasks[@]}"; do sleep 0.1; done; }
case $(wc -l < starts) in
1) wait_for grep -q 'ce cnn' task-0; kill -USR1 "${tasks[@]}" ;;
2) wait_for [ -e runs/street/checkpoint-4 ]; kill -KILL "${tasks[1]}" ;;
esac
wait -n "${tasks[@]}" || { code=$?; kill -KILL "${tasks[@]}"; exit $code; }
wait "${tasks[0]}" && wait "${tasks[1]}" """,
    "ctcl-hf": f'exec {sys.executable} -m ctcl_hf "$@"',
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of two processes that nothing has happened to; its data lie beside it."""
    folder = tmp_path_factory.mktemp("whole")
    data = few_images(folder / "data")
    command = ["-m", *TORCHRUN, EXAMPLES / "run_ctcl.py", *SMALL, *data, "--use_cpu", "--bf16"]
    started = Started([*command, "--output_dir", folder / "run"], folder / "output.txt")
    assert started.process.wait(300) == 0, started.output.read_text()
    return folder / "run"


def weights(run: Path) -> list[bytes]:
    """Both students', as they are on the disk."""
    return [(run / name / "model.safetensors").read_bytes() for name in ("cnn", "vit")]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_a_job_that_is_stopped_or_loses_a_process_is_queued_again_until_there_are_results(
    whole, tmp_path
):
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "here",
        "MASTER_PORT": free_port(),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }

    def start(*arguments) -> int:
        """How often it was queued again, once it has ended."""
        done = subprocess.run(
            ["bash", SCRIPT, "runs/street", *SMALL, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "task-0").read_text()
        return len((tmp_path / "requeued").read_text().split())

    own = [*few_images(whole.parent / "data"), "--use_cpu", "--bf16"]
    assert start(*own) == 1
    (stopped,) = re.findall(r"Stopped after step (\d+)", (tmp_path / "task-0").read_text())
    assert int(stopped) < 4
    assert start(*own) == 2
    assert f"step {int(stopped) + 1:2}/{STEPS}" in (tmp_path / "task-0").read_text()
    assert not (tmp_path / "runs/street/results.json").exists()
    assert start(*own) == 2  # there are results
    assert (tmp_path / "runs/street/results.json").is_file()
    assert weights(tmp_path / "runs/street") == weights(whole)


def test_a_job_that_fails_before_it_has_saved_anything_is_not_queued_again(tmp_path):
    """Or it would fail for as long as the cluster lets it."""
    (tmp_path / "srun").write_text("#!/bin/bash\nexit 2\n")
    (tmp_path / "scontrol").write_text(f"#!/bin/bash\n{STAND_INS['scontrol']}\n")
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "street/checkpoint-4").mkdir(parents=True)
    os.utime(tmp_path / "street/checkpoint-4", (0, 0))  # of an earlier start
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", SCRIPT, "street"], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode and not (tmp_path / "requeued").exists()


def on_machine(rank: int, port: str, run: Path, *arguments) -> tuple[list, dict[str, str]]:
    """What multi_node.yaml says is to be typed, with its variable, for two machines of one process
    each, which are this one.
    """
    told = re.search(r"^#   (\w+=1 accelerate launch .*(?:\n#     .*)*)", CONFIG.read_text(), re.M)
    words = shlex.split(told[1].replace("\n#", " "))
    script = words.index("examples/run_ctcl.py")
    variable, *program, file = words[:5]
    assert program == ["accelerate", "launch", "--config_file"]
    assert file == f"examples/accelerate/{CONFIG.name}"
    data, output = ["--dataset", "camvid"], ["--output_dir", "runs/street"]
    assert words[script + 1 :] == [*data, *output, *AGAIN]
    here = ["--machine_rank", str(rank), "--main_process_ip", "127.0.0.1"]
    here += ["--main_process_port", port, "--num_processes", "2"]
    command = ["-m", "accelerate.commands.launch", "--config_file", CONFIG, *words[5:script], *here]
    command += [EXAMPLES / "run_ctcl.py", *SMALL, *arguments, "--output_dir", run, *AGAIN]
    return command, dict([variable.split("=")])


def test_a_machine_that_is_lost_is_waited_for_and_the_run_goes_on_bit_for_bit(whole, tmp_path):
    """With the store that torch's agents share by themselves, who comes anew waits for good
    (pytorch/pytorch#135712); of the config file, accelerate 1.15 does not read `rdzv_backend`.
    """
    run, port = tmp_path / "run", free_port()

    def start(rank: int, name: str) -> Started:
        own = [*few_images(whole.parent / "data"), "--use_cpu"]
        command, variables = on_machine(rank, port, run, *own)
        return Started(command, tmp_path / f"{name}.txt", variables)

    first = start(0, "first")
    first.wait_for(lambda: is_listened_to(port))  # or the other one would be where they meet
    lost = start(1, "lost")
    first.wait_for((run / "checkpoint-4").exists)
    for process in (*children_of(lost.process.pid), lost.process.pid):
        os.kill(process, signal.SIGKILL)
    lost.process.wait()
    again = start(1, "again")
    try:
        assert first.process.wait(300) == 0, first.output.read_text()
        assert again.process.wait(300) == 0, again.output.read_text()
    finally:
        for started in (first, again):
            started.process.kill()  # nothing, if it has ended; what it has started ends with it
    told = first.output.read_text() + again.output.read_text()
    assert told.count(f"step  1/{STEPS}") == 1 and told.count(f"step {STEPS}/{STEPS}") == 1
    assert "Another process of this run has ended" in first.output.read_text()
    assert weights(run) == weights(whole)


def is_listened_to(port: str) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", int(port))) == 0


def children_of(process: int) -> list[int]:
    told = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in told.split()]
