"""Trains in a process that is killed again and again, and compares its end with that of an
undisturbed one.

python tests/soak.py --steps 2000 --kills 20
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch
from conftest import make_data
from helpers.training import make_trainer, training_logs
from transformers import TrainerCallback

from ctcl_hf.training.checkpoints import find_checkpoint

PLACES = ("step", "save", "evaluation", "push")  # where a kill hits


def train(folder: str, steps: int, workers: int, kill_at: int | None, place: str) -> None:
    """A tiny run in `folder`, from where it had come to.

    Kills itself once step `kill_at` is over, if it is given.
    """

    class Killer(TrainerCallback):
        """Between two steps, or within an evaluation."""

        def on_step_begin(self, args, state, control, **kwargs):
            if place == "step":
                kill()

        def on_prediction_step(self, args, state, control, **kwargs):
            if place == "evaluation":
                kill()

    def kill():
        if kill_at is not None and trainer.state.global_step >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    size = (32, 32)
    trainer = make_trainer(
        folder,
        data=make_data(10, 2, size),
        size=size,
        crop=size,
        callbacks=[Killer()],
        max_steps=steps,
        per_device_train_batch_size=2,
        logging_steps=3,
        save_strategy="steps",
        save_steps=7,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=11,
        dataloader_num_workers=workers,
        cpu_threads=1,
        cnn_lr=0.02,
    )
    if place == "save":
        save_rng = trainer._save_rng_state
        # the students are written, the rest is not
        trainer._save_rng_state = lambda to: (kill(), save_rng(to))
    if place == "push":
        trainer.args.push_to_hub = True
        trainer.open_repositories = lambda: None
        trainer._push_from_checkpoint = lambda checkpoint: kill()
    trainer.train(resume_from_checkpoint=find_checkpoint(folder, "auto"))
    torch.save(trainer.model.state_dict(), Path(folder, "end.pt"))
    evaluations = [
        log["eval_mean_iou"] for log in trainer.state.log_history if "eval_mean_iou" in log
    ]
    logs = [
        {k: v for k, v in log.items() if "per_second" not in k} for log in training_logs(trainer)
    ]
    Path(folder, "end.json").write_text(json.dumps([logs, evaluations]))


def in_a_process(context, *arguments) -> int:
    """The exit code: minus the signal's number if one ended it."""
    process = context.Process(target=train, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def soak(folder: Path, steps: int, kills: int, workers: int, seed: int) -> dict:
    """Runs both, and tells how the killed one ended against the other."""
    # All is imported by now, and no thread runs: a fork starts at once.
    context = multiprocessing.get_context("fork")
    start = time.monotonic()
    undisturbed = folder / "undisturbed"
    assert in_a_process(context, str(undisturbed), steps, workers, None, "step") == 0
    print(f"undisturbed: {steps} steps in {time.monotonic() - start:.0f} s")

    draw, killed, hit = random.Random(seed), folder / "killed", []
    # the last places to kill at come before the end
    at = sorted(draw.sample(range(1, steps - 12), kills))
    start = time.monotonic()
    for i, step in enumerate(at):
        place = PLACES[i % len(PLACES)]
        code = in_a_process(context, str(killed), steps, workers, step, place)
        if code == 0:  # it had come past every such place
            break
        assert code == -signal.SIGKILL, code
        hit.append((step, place))
        print(f"killed in a {place} after step {step}")
    if not (killed / "end.pt").is_file():
        assert in_a_process(context, str(killed), steps, workers, None, "step") == 0
    print(f"killed {len(hit)} times: {steps} steps in {time.monotonic() - start:.0f} s")
    ours, theirs = (torch.load(at / "end.pt", weights_only=True) for at in (killed, undisturbed))
    logs = [json.loads((at / "end.json").read_text()) for at in (killed, undisturbed)]
    return {
        "kills": hit,
        "equal weights": all(torch.equal(value, theirs[name]) for name, value in ours.items()),
        "equal logs": logs[0] == logs[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), options.steps, options.kills, options.workers, options.seed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
