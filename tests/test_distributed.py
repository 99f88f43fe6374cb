"""Two processes: training neither hangs nor drifts apart, and evaluation counts every image exactly once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, make_data

from ctcl_hf import EvaluationTransform, MeanIoU, load_student
from ctcl_hf.inference import class_map

SCRIPT = """
import json, sys
import torch
from test_trainer import make_trainer
from conftest import make_data

trainer = make_trainer(sys.argv[1], data=make_data(9, 5), max_steps=2, per_device_train_batch_size=2)
own = []
trainer.model.register_forward_hook(lambda module, inputs, output: own.append(output["terms"]["ce_cnn"]))
trainer.train()
per_process = trainer.accelerator.gather(torch.stack(own)[None])
scores = trainer.evaluate()
parameters = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
everywhere = trainer.accelerator.gather(parameters[None])
trainer.save_model()
if trainer.is_world_process_zero():
    logs = [log for log in trainer.state.log_history if "ce_cnn" in log]
    facts = {"world": trainer.args.world_size, "scores": scores, "logs": logs,
             "ce_cnn": per_process.mean(0).tolist(), "differ": bool((per_process[0] != per_process[-1]).any()),
             "equal": bool((everywhere[0] == everywhere[-1]).all())}
    print("FACTS" + json.dumps(facts))
trainer.accelerator.end_training()
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(folder / "script.py"), str(folder / "out")],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (facts,) = [line for line in done.stdout.splitlines() if line.startswith("FACTS")]
    return folder / "out", json.loads(facts.removeprefix("FACTS"))


def test_both_processes_end_with_the_same_weights(two_processes):
    _, facts = two_processes
    assert facts["world"] == 2
    assert facts["equal"]
    assert [log["step"] for log in facts["logs"]] == [1, 2]


def test_logged_terms_are_means_over_both_processes(two_processes):
    _, facts = two_processes
    assert facts["differ"]
    assert [log["ce_cnn"] for log in facts["logs"]] == pytest.approx(facts["ce_cnn"], rel=1e-5)


def test_five_images_on_two_processes_score_as_on_one(two_processes):
    folder, facts = two_processes
    samples = make_data(9, 5).samples("validation", EvaluationTransform((64, 96)))
    for name in ("cnn", "vit"):
        student = load_student(str(folder / name), CLASSES, (64, 96)).eval()
        metric = MeanIoU()
        for sample in samples:
            with torch.no_grad():
                prediction = class_map(student.logits(sample["pixel_values"][None]), sample["labels"].shape)
            metric.add_batch(predictions=prediction, references=sample["labels"][None])
        expected = metric.compute(num_labels=3, ignore_index=255)
        assert facts["scores"][f"eval_{name}_mean_iou"] == pytest.approx(expected["mean_iou"], abs=1e-6)
        assert facts["scores"][f"eval_{name}_overall_accuracy"] == pytest.approx(expected["overall_accuracy"], abs=1e-6)
