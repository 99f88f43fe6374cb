"""Two processes: training neither hangs nor drifts apart, and evaluation counts every image exactly
once.
"""

import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import CLASSES, make_cnn, make_data, make_vit
from helpers.accumulation import BY_LABELS
from helpers.commands import EXAMPLES, TINY
from helpers.processes import on_two_processes
from helpers.runs import few_images
from helpers.training import At, frozen_trainer, make_trainer, send

from ctcl_hf import METHODS, EvaluationTransform, MeanIoU, load_student
from ctcl_hf.metrics import METRICS, confusion_counts
from ctcl_hf.runs import start
from ctcl_hf.scoring.predict import class_map
from ctcl_hf.training.checkpoints import find_checkpoint

pytestmark = pytest.mark.slow

# What both processes do, one part after the other: most of a part's time would be the start of two
# processes of its own.
PARTS = """
import json, os, sys
from pathlib import Path

def tell(facts):
    if os.environ["RANK"] == "0":
        Path(sys.argv[1], f"{part}.json").write_text(json.dumps(facts))

for part, arguments in json.loads(sys.argv[2]).items():
    code = compile(Path(sys.argv[1], f"{part}.py").read_text(), part, "exec")
    exec(code, {"folder": f"{sys.argv[1]}/{part}", "arguments": arguments, "tell": tell})
"""

TRAINED = """
import torch
from helpers.training import make_trainer
from conftest import make_data
from ctcl_hf.metrics import METRICS

trainer = make_trainer(
    folder, data=make_data(9, 5), max_steps=2, per_device_train_batch_size=2
)
trainer.metrics = (METRICS["dice"],)
own = []
trainer.model.register_forward_hook(
    lambda module, inputs, output: own.append(output["terms"]["ce_cnn"])
)
trainer.train()
per_process = trainer.accelerator.gather(torch.stack(own)[None])
scores = trainer.evaluate()
counts = {name: own.gather().dense().tolist() for name, own in trainer.image_counts.items()}
parameters = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
everywhere = trainer.accelerator.gather(parameters[None])
trainer.save_model()
logs = [log for log in trainer.state.log_history if "ce_cnn" in log]
tell({"world": trainer.args.world_size, "scores": scores, "logs": logs, "counts": counts,
      "ce_cnn": per_process.mean(0).tolist(),
      "differ": bool((per_process[0] != per_process[-1]).any()),
      "equal": bool((everywhere[0] == everywhere[-1]).all())})
"""

EQUAL = """
import torch
from helpers.training import frozen_trainer

logs = []
for number, (method, accumulation, options) in enumerate(arguments):
    at = f"{folder}/{number}"
    trainer = frozen_trainer(at, method, 2, options, gradient_accumulation_steps=accumulation)
    trainer.train()
    logs.append([log for log in trainer.state.log_history if "ce_cnn" in log])
    if trainer.is_world_process_zero():
        torch.save(trainer.model.state_dict(), f"{at}/end.pt")
tell(logs)
"""

EQUAL_CASES = [
    ("ctcl", 1, {}),
    ("kdcl", 1, {"kdcl_target": "linear"}),
    ("ifvd", 1, {}),
    ("ctcl", 2, BY_LABELS["ctcl"]),
]


@pytest.mark.parametrize(
    "number", range(len(EQUAL_CASES)), ids=["ctcl", "kdcl", "ifvd", "accumulated"]
)
def test_two_processes_train_as_one_with_the_large_batch(number, by_two, tmp_path):
    method, accumulation, options = EQUAL_CASES[number]
    folder, logs = by_two.folder / "equal" / str(number), by_two.facts("equal")[number]
    alone = frozen_trainer(tmp_path / "one", method, 4 * accumulation, options)
    alone.train()
    assert_trained_alike(torch.load(folder / "end.pt", weights_only=True), logs, alone)
    start = frozen_trainer(tmp_path / "start", method, 4, options).model.state_dict()
    assert any(
        (value - start[name]).abs().max() > 1e-3 for name, value in alone.model.state_dict().items()
    )


def assert_trained_alike(weights, logs, alone):
    """To rounding: the same losses, gradient norms and rates at every step, and the same weights at
    the end.
    """
    theirs = [log for log in alone.state.log_history if "ce_cnn" in log]
    for ours, other in zip(logs, theirs, strict=True):
        for key in other:
            # a mean over images, of each process
            if "per_second" not in key and not key.startswith("region_spread"):
                assert ours[key] == pytest.approx(other[key], rel=2e-4, abs=1e-5), key
    for name, value in alone.model.state_dict().items():
        assert torch.allclose(weights[name], value, rtol=1e-3, atol=2e-5), name


@pytest.mark.parametrize(
    ("method", "options"), [("vanilla", {}), ("ctcl", BY_LABELS["ctcl"])], ids=["vanilla", "ctcl"]
)
def test_accumulation_trains_as_the_double_batch(method, options, tmp_path):
    """Each micro-batch was divided by its own counts."""
    double = frozen_trainer(tmp_path / "double", method, 4, options)
    accumulated = frozen_trainer(
        tmp_path / "accumulated", method, 2, options, gradient_accumulation_steps=2
    )
    double.train()
    accumulated.train()
    logs = [log for log in accumulated.state.log_history if "ce_cnn" in log]
    assert_trained_alike(accumulated.model.state_dict(), logs, double)


# What each forward is divided by, and how often processes wait for each other meanwhile.
DIVIDED = """
from collections import Counter
import torch
import torch.distributed as dist
from helpers.accumulation import batch, frozen_pair, step

rank, collectives = dist.get_rank(), Counter()
all_reduce = dist.all_reduce
gathers = ["all_gather", "all_gather_into_tensor", "all_gather_object"]
for name in ("all_reduce", "broadcast", "barrier", *gathers):
    def counted(*args, call=getattr(dist, name), **kwargs):
        collectives["now"] += 1
        return call(*args, **kwargs)
    setattr(dist, name, counted)
images, labels = batch([0.9, 0.0, 1.0, 0.4, 0.2])
facts, found = [], []
for name, options, micro_batches in arguments:
    pair = frozen_pair(name, **options)
    sizes = [[1, 1], [1, 2]][rank] if micro_batches == 2 else [[2], [3]][rank]
    own = slice(0, 2) if rank == 0 else slice(2, 5)
    collectives.clear()
    terms, gradients = step(pair, images[own], labels[own], sizes)
    facts.append({"collectives": collectives["now"] / micro_batches, "differ": {}})
    averages = {key: value.contiguous() for key, value in (terms | gradients).items()}
    for value in averages.values():
        all_reduce(value)
        value /= 2
    found.append(averages)
dist.destroy_process_group()
if rank == 0:
    for (name, options, _), own, told in zip(arguments, found, facts):
        terms, gradients = step(frozen_pair(name, **options), images, labels, [5])
        for key, value in (terms | gradients).items():
            if not torch.allclose(own[key], value, rtol=1e-8, atol=1e-12):
                told["differ"][key] = (own[key] - value).abs().max().item()
tell(facts)
"""
DIVIDED_CASES = [(name, BY_LABELS.get(name, {}), 2) for name in METHODS]
DIVIDED_CASES += [
    ("ctcl", {}, 1),
    ("ctcl", {"as_printed": True}, 1),
    ("ctcl", {"number": 3, **BY_LABELS["ctcl"]}, 2),  # students
    ("ctcl", {"number": 3, "pixel_classes": "all", "pixel_divisor": "taught"}, 1),
    ("dml", {"pixel_classes": "grouped"}, 2),
    ("kdcl", {"kdcl_target": "naive", "pixel_classes": "grouped"}, 1),
    ("kdcl", {"kdcl_target": "linear", "pixel_classes": "grouped"}, 1),
]


def test_micro_batches_of_two_processes_that_differ_in_labels_and_images_make_the_step_of_one_batch(
    by_two,
):
    for case, facts in zip(DIVIDED_CASES, by_two.facts("divided"), strict=True):
        # a mean over images, each part's
        assert all(term.startswith("region_spread_") for term in facts["differ"]), case


def test_processes_wait_for_each_other_twice_in_a_forward_at_most_and_once_without_a_common_target(
    by_two,
):
    for (name, options, _), facts in zip(DIVIDED_CASES, by_two.facts("divided"), strict=True):
        assert facts["collectives"] == (2 if "kdcl_target" in options else 1), name


def test_batchnorm_is_synchronised_without_losing_what_timm_keeps_in_it():
    for student in (make_cnn().eval(), make_vit().eval()):
        images = torch.randint(0, 256, (2, 3, 64, 64))
        before, parameters = student.logits(images), list(student.parameters())
        student.synchronize_batchnorm()
        kinds = {
            type(module).__name__ for module in student.modules() if "Norm" in type(module).__name__
        }
        assert not any(kind in ("BatchNorm2d", "BatchNormAct2d") for kind in kinds)
        assert any("Sync" in kind for kind in kinds)
        assert torch.allclose(student.logits(images), before, atol=1e-6)
        student.synchronize_batchnorm()  # as a second trainer of the same students does
        assert torch.allclose(student.logits(images), before, atol=1e-6)
        assert all(
            ours is theirs for ours, theirs in zip(student.parameters(), parameters, strict=True)
        )


RESUMED = """
import torch
from conftest import make_data
from helpers.training import comparable
from helpers.training import make_trainer, weights

options = {"data": make_data(9, 5), "max_steps": 4, "per_device_train_batch_size": 2}
options |= {"logging_steps": 3}
options |= {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 4}
undisturbed = make_trainer(f"{folder}/one", **options)
undisturbed.train()
resumed = make_trainer(f"{folder}/two", **options)
resumed.train(resume_from_checkpoint=f"{folder}/one/checkpoint-2")
theirs = weights(undisturbed)
equal = [torch.equal(value, theirs[name]) for name, value in weights(resumed).items()]
tell({"weights": all(equal), "logs": comparable(resumed) == comparable(undisturbed)})
"""

OWED = """
from conftest import make_data
from ctcl_hf.training.checkpoints import find_checkpoint
from helpers.training import make_trainer

options = {"data": make_data(9, 5), "max_steps": 4, "per_device_train_batch_size": 2}
options |= {"eval_strategy": "steps"}
trainer = make_trainer(folder, **options, eval_steps=2)
trainer.train(resume_from_checkpoint=find_checkpoint(folder, "auto"))
tell([log["step"] for log in trainer.state.log_history if "eval_loss" in log])
"""

# DIVIDED last: it counts the calls of torch.distributed, and ends the group.
CODE = {
    "trained": TRAINED,
    "equal": EQUAL,
    "resumed": RESUMED,
    "owed": OWED,
    "divided": DIVIDED,
}
ARGUMENTS = {"equal": EQUAL_CASES, "divided": DIVIDED_CASES}


class ByTwo:
    """What two processes have left in `folder`, and told of each part."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part, code in CODE.items():
            (folder / f"{part}.py").write_text(code)
        parts = {part: ARGUMENTS.get(part) for part in CODE}
        self.done = on_two_processes(PARTS, folder, folder, json.dumps(parts))

    def facts(self, part: str):
        told = self.folder / f"{part}.json"
        assert told.is_file(), self.done.stderr
        return json.loads(told.read_text())


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by-two")
    # of one process, stopped in its first evaluation
    options = {
        "data": make_data(9, 5),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "eval_strategy": "steps",
    }
    event = At("on_prediction_step", 2, send(signal.SIGTERM))
    make_trainer(folder / "owed", callbacks=[event], **options, eval_steps=2).train()
    return ByTwo(folder)


def test_all_parts_end_well_on_two_processes(by_two):
    assert by_two.done.returncode == 0, by_two.done.stderr


def test_two_processes_go_on_from_a_checkpoint_as_if_they_had_never_stopped(by_two):
    assert by_two.facts("resumed") == {"weights": True, "logs": True}


def test_an_evaluation_that_one_process_owes_is_made_by_two(by_two):
    assert by_two.facts("owed") == [2, 4]


def test_that_another_number_of_processes_goes_on_is_told_once(by_two):
    """It was not told, though every step is of other images from there on."""
    told = "is of world size 1, this run of 2: every step is of 2 times as many images"
    assert by_two.done.stderr.count(told) == 1


def test_both_processes_end_with_the_same_weights(by_two):
    facts = by_two.facts("trained")
    assert facts["world"] == 2
    assert facts["equal"]
    assert [log["step"] for log in facts["logs"]] == [1, 2]


def test_logged_terms_are_means_over_both_processes(by_two):
    facts = by_two.facts("trained")
    assert facts["differ"]
    assert [log["ce_cnn"] for log in facts["logs"]] == pytest.approx(facts["ce_cnn"], rel=1e-5)


def test_five_images_on_two_processes_score_as_on_one(by_two):
    facts = by_two.facts("trained")
    samples = make_data(9, 5).samples("validation", EvaluationTransform((64, 96)))
    for name in ("cnn", "vit"):
        student = load_student(str(by_two.folder / "trained" / name), CLASSES, (64, 96)).eval()
        metric, tables = MeanIoU(), []
        for sample in samples:
            with torch.no_grad():
                prediction = class_map(
                    student.logits(sample["pixel_values"][None]), sample["labels"].shape
                )
            metric.add_batch(predictions=prediction, references=sample["labels"][None])
            tables.append(confusion_counts(prediction[0], sample["labels"], 256)[:3, :3])
        expected = metric.compute(num_labels=3, ignore_index=255)
        assert facts["scores"][f"eval_{name}_mean_iou"] == pytest.approx(
            expected["mean_iou"], abs=1e-6
        )
        assert facts["scores"][f"eval_{name}_overall_accuracy"] == pytest.approx(
            expected["overall_accuracy"], abs=1e-6
        )
        dice = METRICS["dice"](3, 255)
        dice.sums = torch.stack(tables).sum(0)
        assert facts["scores"][f"eval_{name}_mean_dice"] == pytest.approx(
            dice.compute()["mean_dice"], abs=1e-6
        )
        # in the data's order: shares of three and of two images
        found = torch.tensor(facts["counts"][name])
        assert [int(table.sum()) for table in found] == [int(table.sum()) for table in tables]
        # pixels of a tie, by the size of the batch
        assert (found - torch.stack(tables)).abs().sum() <= 4


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
sys.argv[0] = "examples/run_ctcl.py"
from transformers import TrainerCallback
import ctcl_hf.runs.run

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3 and args.process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)

prepare = ctcl_hf.runs.run.prepare
def watched(arguments):
    run = prepare(arguments)
    run.trainer.add_callback(Kill())
    return run
ctcl_hf.runs.run.prepare = watched
import runpy
runpy.run_path(os.environ["RUN_CTCL"], run_name="__main__")
"""


def test_when_one_of_two_processes_is_killed_the_other_says_so_within_a_minute(tmp_path):
    options = ["--max_steps", "500", "--save_strategy", "steps", "--save_steps", "2"]
    options += ["--eval_strategy", "no", "--output_dir", tmp_path / "out"]
    options += few_images(tmp_path / "data")
    start = time.monotonic()
    done = on_two_processes(
        KILLED, tmp_path, *TINY, *options, RUN_CTCL=str(EXAMPLES / "run_ctcl.py")
    )
    assert done.returncode != 0
    assert "Another process of this run has ended (process 0, after step 3" in done.stderr
    assert time.monotonic() - start < 150  # most of it is the start
    assert find_checkpoint(str(tmp_path / "out"), "auto") == str(tmp_path / "out" / "checkpoint-2")


def test_machines_that_do_not_share_the_output_folder_are_told(monkeypatch):
    training = SimpleNamespace(world_size=2, output_dir="runs/mine")
    monkeypatch.setattr(start, "gather_object", lambda own: [*own, None])
    with pytest.raises(
        ValueError,
        match=r"\(checkpoint-4, None\): runs/mine must be on a disk that all machines share",
    ):
        start._same_everywhere("runs/mine/checkpoint-4", training)
    monkeypatch.setattr(
        start, "gather_object", lambda own: [*own, "/mounted/elsewhere/mine/checkpoint-4"]
    )
    assert start._same_everywhere("runs/mine/checkpoint-4", training) == "runs/mine/checkpoint-4"
