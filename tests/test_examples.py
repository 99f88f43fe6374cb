"""The scripts, run as a user runs them, at a size that takes seconds."""

import json

import numpy as np
import PIL.Image
import pytest
from conftest import make_cnn, make_vit
from data.files import COLOUR, GREY, png, tiff
from helpers.commands import TINY, run, run_apart
from transformers import pipeline


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three steps on drawn scenes, to its end, in a process of its own."""
    folder = tmp_path_factory.mktemp("run") / "out"
    options = [
        "--max_steps",
        "3",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "3",
        "--save_strategy",
        "steps",
    ]
    done = run_apart(
        "run_ctcl.py", *TINY, *options, "--save_steps", "2", "--output_dir", str(folder)
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_ends_with_a_table_a_figure_and_the_students_folders(finished):
    folder, done = finished
    for expected in (
        "| mIoU ",
        "| Pedestrian",
        "| cnn ",
        "| vit ",
        "parameters (M)",
        str(folder / "cnn"),
    ):
        assert expected in done.stdout
    for name in ("figure.png", "curves.png", "samples.png", "extremes.png"):
        assert PIL.Image.open(folder / name).size[0] > 400
    assert (
        f"Augmented images with their masks, to be looked at: {folder / 'samples.png'}"
        in done.stdout
    )
    assert (
        str(folder / "report.html") in done.stdout
        and (folder / "report.html").stat().st_size > 10_000
    )
    facts = json.loads((folder / "results.json").read_text())
    assert 0 <= facts["metrics"]["validation_vit_mean_iou"] <= 1
    assert facts["method"]["method"] == "ctcl"
    assert facts["training"]["seed"] == 42
    assert "torch" in facts["versions"]
    assert "step 3/3  validation mIoU  cnn " in done.stdout
    assert f"ctcl-hf evaluate {folder}  " in done.stdout
    assert "%|" not in done.stderr, "a bar, without a terminal"
    for name in ("cnn", "vit"):
        found = pipeline("image-segmentation", model=str(folder / name))(
            PIL.Image.new("RGB", (40, 30))
        )
        assert {part["mask"].size for part in found} == {(40, 30)}


def test_a_folder_with_a_run_is_not_written_over_and_can_be_resumed(finished):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    refused = run("run_ctcl.py", *TINY, "--output_dir", str(folder))
    assert refused.returncode != 0
    assert "already holds a run" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert (folder / "results.json").read_bytes() == before
    students_folder = run("run_ctcl.py", *TINY, "--resume_from_checkpoint", str(folder / "cnn"))
    assert (
        "manifest.json, which a checkpoint of this package ends with, is missing"
        in students_folder.stderr
    )
    resumed = run(
        "run_ctcl.py",
        *TINY,
        "--max_steps",
        "4",
        "--output_dir",
        str(folder),
        "--resume_from_checkpoint",
        "auto",
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "camvid", "--data_dir", "nowhere"], "--data_dir nowhere is no folder"),
        (["--cnn", "mobilenetv2_10"], "mobilenetv2_100"),
        (["--vit", "nvidia/mit-b9"], "Cannot load 'nvidia/mit-b9'"),
        (
            ["--per_device_train_batch_size", "1000"],
            "240 training images do not fill one batch of 1000",
        ),
    ],
)
def test_bad_input_ends_in_one_clear_error_before_training(tmp_path, arguments, message):
    done = run("run_ctcl.py", *TINY, "--output_dir", str(tmp_path / "out"), *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_draws_the_segmentation_with_a_legend(tmp_path):
    for student in (make_cnn(), make_vit()):
        student.save_pretrained(str(tmp_path / student.family))
        PIL.Image.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(tmp_path / "street.jpg")
        done = run("predict.py", "street.jpg", "--model", student.family, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert PIL.Image.open(tmp_path / "predictions" / "figure" / "street.png").size[0] > 300


def test_predict_names_a_missing_image_before_it_looks_for_the_model_and_a_missing_model(tmp_path):
    """`[Errno 2]` was all that it said, once the model was loaded."""
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "street.jpg")
    for image, said in ((["gone.jpg"], "gone.jpg: no image there."), ([], "nowhere")):
        done = run("predict.py", "street.jpg", *image, "--model", "nowhere", cwd=tmp_path)
        assert done.returncode == 1 and said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name", ["grey16.png", "colour16.png", "float.tif", "stack.tif", "lfs.png"]
)
def test_predict_refuses_what_it_would_not_see_as_it_is(tmp_path, name):
    make_vit().save_pretrained(str(tmp_path / "vit"))
    content = {
        "grey16.png": png(np.full((30, 40), 999), 16, GREY),
        "colour16.png": png(np.full((30, 40, 3), 999), 16, COLOUR),
        "float.tif": tiff(np.ones((30, 40), np.float32), sample_format=3),
        "stack.tif": tiff(np.ones((30, 40), np.uint8), np.ones((30, 40), np.uint8)),
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\n",
    }[name]
    (tmp_path / name).write_bytes(content)
    done = run("predict.py", name, "--model", "vit", cwd=tmp_path)
    assert done.returncode == 1
    assert f"predict.py: error: {name}: " in done.stderr and "Traceback" not in done.stderr


def test_trained_students_teach_the_next_run_offline(finished, tmp_path):
    folder, _ = finished
    options = [
        "--max_steps",
        "2",
        "--eval_strategy",
        "no",
        "--distillation_warmup",
        "1",
        "--output_dir",
    ]
    done = run(
        "run_ctcl.py",
        *TINY,
        "--method",
        "offline_kd",
        "--teachers",
        str(folder),
        *options,
        str(tmp_path / "kd"),
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "kd" / "results.json").read_text())
    assert facts["method"]["teachers"] == [str(folder)]
    logs = json.loads((tmp_path / "kd" / "trainer_state.json").read_text())["log_history"]
    assert "kl_cnn" in logs[1] and "kl_vit" in logs[1]
    third = [*TINY, "--teachers", str(folder / "vit"), *options, str(tmp_path / "third")]
    done = run("run_ctcl.py", *third)
    assert done.returncode == 0, done.stderr
    assert f"Teacher of cnn and vit: {folder / 'vit'}, a SegFormer" in done.stdout
    logs = json.loads((tmp_path / "third" / "trainer_state.json").read_text())["log_history"]
    assert 0 <= logs[0]["taught_by_teacher_cnn"] <= 1
    record = json.loads((tmp_path / "third" / "run.json").read_text())
    assert len(set(record["method"]["teachers"])) == 1
    assert not any("teacher" in path.name for path in (tmp_path / "third").glob("**/*"))
    refused = run(
        "run_ctcl.py",
        *TINY,
        "--method",
        "ifvd",
        "--teachers",
        str(tmp_path),
        "--output_dir",
        str(tmp_path / "x"),
    )
    assert refused.returncode == 1
    assert f"--teachers {tmp_path}: no students there." in refused.stderr


def test_cards_show_the_control_beside_the_run(finished, tmp_path):
    folder, _ = finished
    options = ["--max_steps", "2", "--eval_strategy", "no", "--save_strategy", "no"]
    vanilla = run(
        "run_ctcl.py",
        *TINY,
        "--method",
        "vanilla",
        *options,
        "--output_dir",
        str(tmp_path / "alone"),
    )
    assert vanilla.returncode == 0, vanilla.stderr
    wanted = [
        *options,
        "--control",
        str(tmp_path / "alone"),
        "--output_dir",
        str(tmp_path / "ctcl"),
    ]
    done = run("run_ctcl.py", *TINY, *wanted)
    assert done.returncode == 0, done.stderr
    alone = json.loads((tmp_path / "alone" / "results.json").read_text())["scores"]["validation"]
    card = (tmp_path / "ctcl" / "vit" / "README.md").read_text()
    assert (
        f"| vit trained alone, validation | {alone['images']} | "
        f"{100 * alone['students']['vit']['mean_iou']:.2f} |" in card
    )
    assert f"| **vit**, validation | {alone['images']} |" in card
    for control, message in (
        (folder, "a run of --method ctcl"),
        (tmp_path, "no results.json there"),
    ):
        refused = run(
            "run_ctcl.py", *TINY, "--control", str(control), "--output_dir", str(tmp_path / "x")
        )
        assert refused.returncode == 1
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("students", "names"),
    [
        (("mobilenetv2_035", "resnet10t"), ("cnn_1", "cnn_2")),
        (("mit-b0", "mobilevitv2_050"), ("vit", "hybrid")),
    ],
)
def test_any_two_students_train_together_and_are_named_after_their_families(
    students, names, tmp_path
):
    options = ["--max_steps", "2", "--eval_strategy", "no", "--output_stride", "32", "--output_dir"]
    done = run(
        "run_ctcl.py",
        *TINY[:2],
        *TINY[4:],
        "--students",
        *students,
        *options,
        str(tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "results.json").read_text())
    logs = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    for name in names:
        assert 0 <= facts["metrics"][f"validation_{name}_mean_iou"] <= 1
        assert (tmp_path / "out" / name / "config.json").is_file()
        assert f"hfd_{name}" in logs[0]
