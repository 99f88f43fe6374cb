"""Runs in processes that are killed again and again, each compared at its end with an undisturbed
one: a long training, and the commands that make a grid of runs, Parquet shards and an ONNX file.

python tests/soak.py --steps 2000 --kills 20 --folder soak

Begun again with the same --folder, it goes on: an undisturbed training, the killed one, and each
command that have ended are not run again.
"""

import argparse
import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from conftest import make_cnn, make_data
from helpers.kills import assert_whole, files_of, forked
from helpers.pictures import ids, picture, save
from helpers.training import make_trainer, training_logs
from transformers import TrainerCallback

from ctcl_hf.cli import compare, export, prepare
from ctcl_hf.training.checkpoints import find_checkpoint

PLACES = ("step", "save", "evaluation", "push")  # of a training, where a kill hits


# ---- a training ----


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
    # last: it says that all is there
    Path(folder, "end.json").write_text(json.dumps([logs, evaluations]))


def in_a_process(*arguments) -> int:
    """The exit code of `train`: minus the signal's number if one ended it."""
    # All is imported by now, and no thread runs: a fork starts at once.
    process = multiprocessing.get_context("fork").Process(target=train, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def soak_training(folder: Path, steps: int, kills: int, workers: int, draw: random.Random) -> dict:
    """Runs both, and tells how the killed one ended against the other."""
    undisturbed, killed, hits = folder / "undisturbed", folder / "killed", folder / "kills.json"
    start = time.monotonic()
    if not (undisturbed / "end.json").is_file():
        shutil.rmtree(undisturbed, ignore_errors=True)
        assert in_a_process(str(undisturbed), steps, workers, None, "step") == 0
        print(f"undisturbed: {steps} steps in {time.monotonic() - start:.0f} s", flush=True)
    # the last places to kill at come before the end
    at = sorted(draw.sample(range(1, steps - 12), kills))
    hit = json.loads(hits.read_text()) if hits.is_file() else []
    start = time.monotonic()
    for i, step in [*enumerate(at)][len(hit) :]:
        place = PLACES[i % len(PLACES)]
        code = in_a_process(str(killed), steps, workers, step, place)
        if code == 0:  # it had come past every such place
            break
        assert code == -signal.SIGKILL, code
        hit.append((step, place))
        hits.write_text(json.dumps(hit))
        print(f"killed in a {place} after step {step}", flush=True)
    if not (killed / "end.json").is_file():
        assert in_a_process(str(killed), steps, workers, None, "step") == 0
    print(f"killed {len(hit)} times: {steps} steps in {time.monotonic() - start:.0f} s", flush=True)
    ours, theirs = (torch.load(at / "end.pt", weights_only=True) for at in (killed, undisturbed))
    logs = [json.loads((at / "end.json").read_text()) for at in (killed, undisturbed)]
    return {
        "kills": hit,
        "equal weights": all(torch.equal(value, theirs[name]) for name, value in ours.items()),
        "equal logs": logs[0] == logs[1],
    }


# ---- commands ----


class Command(NamedTuple):
    """A command that is killed.

    words: its command line, from a folder of inputs and the folder to write to. contents: what of a
    file that it wrote must be the same.
    """

    main: Callable[[], None]
    words: Callable[[Path, Path], list[str]]
    contents: Callable[[Path], Any] = Path.read_bytes


CLASSES = ("--class_names", "ground", "tree", "water")
SMALL = (
    *("--recipe", "demo", "--aspp_channels", "8", "--image_size", "32", "48", "--crop_size", "32"),
    *("--per_device_train_batch_size", "2", "--max_steps", "4", "--logging_steps", "1"),
    *("--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps"),
    *("--save_steps", "1", "--report_to", "none", "--cpu_threads", "1", "--no_check_data"),
)


def contents_of_grid(path: Path) -> Any:
    """All but times and what is derived of them, paths, and what tells of the last start alone."""
    if path.suffix in (".html", ".log") or path.name in ("cell.json", "run.json", "results.md"):
        return None
    if path.name == "results.json":  # "eval", of an evaluation in training, is in the log as well
        facts = json.loads(path.read_text())
        scores = {split: of for split, of in facts["scores"].items() if split != "eval"}
        return scores, facts["steps"], facts["weights"], facts["protocol"]
    if path.name == "trainer_state.json":
        logs = json.loads(path.read_text())["log_history"]
        apart = ("runtime", "per_second", "seconds", "train_loss")
        return [{k: v for k, v in log.items() if not k.endswith(apart)} for log in logs]
    if path.name == "training_args.json":
        facts = json.loads(path.read_text())
        return {key: value for key, value in facts.items() if isinstance(value, (int, float))}
    if path.name == "table.csv":
        with path.open(newline="") as rows:
            return [{**row, "minutes": None} for row in csv.DictReader(rows)]
    if path.name == "table.md":
        text = re.sub("[ -]+", " ", path.read_text().replace("(its last part)", ""))
        text = re.sub(r"\d+ \|$|.*\*\*time\*\*.*", "", text, flags=re.MULTILINE)  # minutes a run
        text = re.sub(r"\n.*\*\*equal seconds\*\*.*", "", text)  # beside its table alone
        timed = ("had ended", "gain at equal seconds")
        return [part for part in text.split("\n\n") if not any(word in part for word in timed)]
    return path.read_bytes() if path.suffix != ".md" else None


COMMANDS = {
    "grid": Command(
        compare.main,
        lambda inputs, to: [
            *("ctcl-hf compare", "--methods", "dml", "--pair", "mobilenetv2_035+mit-b0"),
            *("--dataset_name", str(inputs / "photos"), *CLASSES, *SMALL, "--output_dir", str(to)),
        ],
        contents_of_grid,
    ),
    "prepare": Command(
        prepare.main,
        lambda inputs, to: [
            *("ctcl-hf prepare", str(inputs / "photos"), *CLASSES, "--out", str(to / "shards"))
        ],
    ),
    "export": Command(
        export.main,
        lambda inputs, to: [
            *("ctcl-hf export", str(inputs / "cnn"), "--output", str(to / "deep" / "cnn.onnx"))
        ],
    ),
}


def make_inputs(folder: Path) -> None:
    """Photos with masks, and a student."""
    shutil.rmtree(folder, ignore_errors=True)
    for split, number in (("train", 8), ("validation", 4)):
        for i in range(number):
            picture(folder / "photos" / split / "images" / f"{i}.png", i)
            save(folder / "photos" / split / "masks" / f"{i}.png", ids(0, 1, 2, 255))
    torch.manual_seed(0)
    make_cnn().save_pretrained(str(folder / "cnn"))


def soak_command(folder: Path, command: Command, kills: int, draw: random.Random) -> dict:
    """Runs a command once undisturbed, and again and again until it has been killed so often.

    A start that comes to its end is compared with the undisturbed one, and the next begins in
    another folder. None may touch the scores that are there, or leave half a file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_inputs(folder / "inputs")
    undisturbed = folder / "undisturbed"
    start = time.monotonic()
    first = forked(command.main, command.words(folder / "inputs", undisturbed), undisturbed)
    seconds = time.monotonic() - start
    assert first.code == 0, first.said
    expected = {
        str(path.relative_to(undisturbed)): command.contents(path) for path in files_of(undisturbed)
    }
    differences: list[str] = []
    killed, ends, is_begun = 0, 0, True
    while killed < kills or is_begun:
        to = folder / f"killed-{ends}"
        how: dict[str, Any] = {}
        if killed < kills:  # by turns at a change of a file, and at any moment
            how = (
                {"kill_at": draw.randint(1, first.changes)}
                if killed % 2 == 0
                else {"seconds": draw.uniform(0, seconds)}
            )
        scores = {path: path.read_bytes() for path in to.rglob("results.json")}
        words = command.words(folder / "inputs", to)
        ended = forked(command.main, words, to, **how)
        assert_whole(to)
        assert all(path.read_bytes() == content for path, content in scores.items())
        if is_begun := ended.code == -signal.SIGKILL:
            killed += 1
            print(f"killed {how}", flush=True)
            continue
        assert ended.code == 0, ended.said
        found = {str(path.relative_to(to)): command.contents(path) for path in files_of(to)}
        differences += sorted(
            f"{name} of {to.name}"
            for name in expected.keys() | found.keys()
            if name not in found or name not in expected or expected[name] != found[name]
        )
        ends += 1
    print(f"killed {killed} times, ended {ends} times in {time.monotonic() - start:.0f} s")
    return {"kills": killed, "ends": ends, "differences": differences}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="Of the training.")
    parser.add_argument("--kills", type=int, default=20, help="Of the training.")
    parser.add_argument("--command_kills", type=int, default=6, help="Of each command.")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", default=["training", *COMMANDS])
    parser.add_argument("--folder", type=Path, help="Where all is kept. Default: nowhere.")
    options = parser.parse_args()
    found, ended = {}, True
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        for part in options.parts:
            done = folder / f"{part}.json"
            (folder / part).mkdir(parents=True, exist_ok=True)
            draw = random.Random(options.seed)
            if done.is_file():
                found[part] = json.loads(done.read_text())
            elif part == "training":
                found[part] = soak_training(
                    folder / part, options.steps, options.kills, options.workers, draw
                )
            else:
                found[part] = soak_command(
                    folder / part, COMMANDS[part], options.command_kills, draw
                )
            done.write_text(json.dumps(found[part]))
            ended &= not found[part].get("differences")
            ended &= all(found[part].get(f"equal {what}", True) for what in ("weights", "logs"))
    print(json.dumps(found))
    if not ended:
        sys.exit("The killed ones did not end as the undisturbed ones: see above.")


if __name__ == "__main__":
    main()
