"""Methods, data sets, students, protocols and metrics of a user's own file, FILE.py:NAME: nothing
of the package is edited.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import SegformerForSemanticSegmentation

from ctcl_hf import DATASETS, METHODS
from ctcl_hf.arguments.data import DataArguments
from ctcl_hf.arguments.recipes import parse_arguments
from ctcl_hf.base import registry
from ctcl_hf.cli import compare, gradients, train
from ctcl_hf.metrics import METRICS
from ctcl_hf.runs.comparison.gradients import measure
from ctcl_hf.runs.run import complete, prepare
from ctcl_hf.scoring.protocols import PROTOCOLS
from ctcl_hf.students import STUDENTS
from ctcl_hf.students.own import own_student

CODE = Path(__file__).parent / "own_code"
# As small as it gets, and without anything from the Hub.
TINY = (
    *(
        "--recipe",
        "demo",
        "--dataset",
        "mine.py:build_halves",
        "--crop_size",
        "32",
        "--no_check_data",
    ),
    *(
        "--per_device_train_batch_size",
        "2",
        "--per_device_eval_batch_size",
        "2",
        "--logging_steps",
        "1",
    ),
    *("--vit_warmup_steps", "0", "--max_steps", "2", "--cpu_threads", "1", "--report_to", "none"),
)
OWN = (
    *("--method", "mine.py:Mutual", "--mutual", "0.5", "--cnn", "mine.py:PlainStudent"),
    *("--protocol", "mine.py:Halves", "--eval_strategy", "no"),
    *("--metrics", "dice", "mine.py:Borders"),
)


def new_process(folder, monkeypatch) -> None:
    """Forgets all files that were run, as a command that is started anew does; what transformers
    knows stays.
    """
    for name, module in list(sys.modules.items()):
        if name != "plain_net" and str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()
    monkeypatch.setattr(registry, "_FILES", {})
    for entries in (METHODS, DATASETS, STUDENTS, PROTOCOLS, METRICS):
        built_in = {
            name: entry for name, entry in entries.data.items() if not registry.is_reference(name)
        }
        monkeypatch.setattr(
            entries, "data", {name: built_in[name] for name in built_in if name != "plain_net"}
        )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the user is: mine.py, and plain_net.py that it imports, lie there."""
    for file in CODE.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.chdir(tmp_path)
    if "plain_net" not in sys.modules:
        # From where it stays: its classes are known to this process until its end, and its file is
        # copied beside each student that is saved.
        with monkeypatch.context() as context:
            context.syspath_prepend(CODE)
            importlib.import_module("plain_net")
    monkeypatch.setattr(sys, "path", list(sys.path))
    new_process(tmp_path, monkeypatch)
    yield tmp_path
    new_process(tmp_path, monkeypatch)


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit):
        parse_arguments("test", [*argv, "--use_cpu"])
    return capsys.readouterr().err


# ---- one run of them all ----


def test_a_run_of_ones_own_method_data_student_protocol_and_metric_is_recorded_and_published(
    folder, monkeypatch
):
    argv = [*TINY, *OWN, "--save_strategy", "steps", "--save_steps", "1", "--output_dir", "out"]
    assert complete(prepare(parse_arguments("", argv)))
    record = json.loads(Path("out/run.json").read_text())
    assert record["method"]["name"] == "Mutual"
    assert record["method"]["options"] == {"distillation_warmup": 0.0, "mutual": 0.5}
    origin = METHODS["mine.py:Mutual"]
    assert record["own_code"]["method"] == registry.origin_of(origin)
    assert record["own_code"]["cnn"].startswith("PlainStudent of mine.py, SHA-256 ")
    assert record["dataset_code"].startswith("build_halves of mine.py, SHA-256 ")
    assert record["protocol"].startswith(
        "left and right halves of images at 64x96 (Halves of mine.py, SHA-256 "
    )
    history = json.loads(Path("out/trainer_state.json").read_text())["log_history"]
    assert all("mutual_cnn" in log and "mutual_vit" in log for log in history if "loss" in log)
    assert Path("out/curves.png").is_file()
    card = Path("out/vit/README.md").read_text()
    assert "by a method of its authors' own (Mutual of mine.py, SHA-256 " in card
    assert "| data's code | build_halves of mine.py, SHA-256 " in card
    assert "| metrics' code | Borders of mine.py, SHA-256 " in card
    assert "| mIoU | pixel accuracy | mean accuracy | mean Dice | accuracy at borders |" in card
    scored = json.loads(Path("out/results.json").read_text())["scores"]["validation"]
    assert scored["titles"] == {"mean_dice": "mean Dice", "border_accuracy": "accuracy at borders"}
    for own in scored["students"].values():
        assert own["others"].keys() == scored["titles"].keys()
        assert f"| {100 * own['others']['border_accuracy']:.2f} |" in card
    table = Path("out/results.md").read_text()
    assert "| accuracy at borders |" in table and "| mean Dice " in table
    assert "accuracy at borders" in Path("out/report.html").read_text()

    # A student needs no file that names it: of a known architecture none at all, of a new one the
    # model's alone.
    assert SegformerForSemanticSegmentation.from_pretrained("out/vit").config.id2label == {
        0: "left",
        1: "right",
    }
    assert not list(Path("out/vit").glob("*.py"))
    assert [path.name for path in Path("out/cnn").glob("*.py")] == ["plain_net.py"]
    code = (
        "from transformers import AutoModelForSemanticSegmentation as Auto; "
        "print(Auto.from_pretrained('out/cnn', trust_remote_code=True).config.model_type)"
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "out").rename(elsewhere / "out")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("plain_net"), done.stderr
    (elsewhere / "out").rename(folder / "out")

    again = [*argv, "--resume_from_checkpoint", "out/checkpoint-2"]
    new_process(folder, monkeypatch)
    assert prepare(parse_arguments("", again)).checkpoint == "out/checkpoint-2"
    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# changed\n")
    new_process(folder, monkeypatch)
    with pytest.raises(
        ValueError,
        match=r"was written with other code of your own \(own_code\.method: Mutual of mine",
    ):
        prepare(parse_arguments("", again))

    # Another's run, or one's own, names files that are not run for that.
    new_process(folder, monkeypatch)
    with pytest.raises(
        ValueError,
        match=r"out was made with mine\.py\. If that is yours and may be run, say --own_code",
    ):
        measure(Path("out"), folder / "scratch", 1)
    assert not registry._FILES
    with pytest.raises(ValueError, match="Give its files as they were"):
        measure(Path("out"), folder / "scratch", 1, own_code=[Path("mine.py")])
    Path("mine.py").write_text((CODE / "mine.py").read_text())
    new_process(folder, monkeypatch)
    found = measure(Path("out"), folder / "scratch", 1, own_code=[Path("mine.py")])
    assert set(found[2]["cnn"]) == {"ce", "mutual"}


def test_a_grid_takes_ones_own_method_and_refuses_results_of_it_before_it_was_changed(
    folder, monkeypatch, capsys
):
    """The row of a method that had been changed would have kept the results of what it was
    before.
    """
    grid = ["--methods", "mine.py:Mutual --mutual 0.25", "--pair", "mine.py:PlainStudent+mit-b0"]
    grid += ["--metrics=mine.py:Borders"]
    monkeypatch.setattr(sys, "argv", ["ctcl-hf compare", *grid, *TINY, "--output_dir", "grid"])
    compare.main()
    assert "mine.py:Mutual --mutual 0.25" in capsys.readouterr().out
    table = Path("grid/table.md").read_text()
    assert "| Mutual, mutual 0.25 " in table
    assert "code of method Mutual of mine.py, SHA-256 " in table
    assert "validation**, accuracy at borders in percent of the last weights" in table
    (curves,) = Path("grid").glob("curves-*.png")
    assert curves.is_file()
    new_process(folder, monkeypatch)
    words = list(sys.argv)
    monkeypatch.setattr(sys, "argv", [words[0], "--output_dir", "grid", "--report_only"])
    compare.main()  # of all that the grid is made of
    told = capsys.readouterr()
    assert "other code of your own" not in told.err and "could not be made" not in told.err
    monkeypatch.setattr(sys, "argv", words)
    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# changed\n")
    new_process(folder, monkeypatch)
    with pytest.raises(SystemExit, match="was run with other code of your own") as refused:
        compare.main()
    folders = [str(path.parent) for path in Path("grid").glob("*/seed-*/*/results.json")]
    assert len(folders) == 2 and all(folder in str(refused.value) for folder in folders)
    # of which the tables were written without a word
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--report_only"])
    compare.main()
    assert "was run with other code of your own" in capsys.readouterr().err


# ---- what is refused ----

OTHERS = {
    "json.py": "Mutual = 1",
    "two.parts.py": "Mutual = 1",
    "broken.py": "import ctcl_hf\n\nctcl_hf.Nothing\n",
    "names.py": "from ctcl_hf import Objective\n\n\nclass ctcl(Objective):\n    pass\n",
    "metrics_of_mine.py": """
from ctcl_hf.metrics import Metric


class Unnamed(Metric):
    def compute(self): ...


class Again(Unnamed):
    TITLES = {"mean_iou": "another mIoU"}
""",
    "options.py": """
from dataclasses import dataclass

from ctcl_hf import Objective
from ctcl_hf.methods import MethodOptions, option


@dataclass(kw_only=True)
class Unexplained(MethodOptions):
    strength: float = 1.0


class Undecorated(MethodOptions):
    strength: float = option(1.0, "How much.")


@dataclass(kw_only=True)
class Clashing(MethodOptions):
    seed: int = option(1, "Of the noise.")


class A(Objective):
    Options = Unexplained


class B(Objective):
    Options = Undecorated


class C(Objective):
    Options = Clashing


class D(Objective):
    Options = int
""",
}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--method", "absent.py:Mutual"), "--method absent.py:Mutual: there is no file absent.py"),
        (("--method", "json.py:Mutual"), "the name of the module json is that of another one ("),
        (
            ("--method", "two.parts.py:Mutual"),
            "the name of the module two.parts has a dot. Call the file otherwise",
        ),
        (
            ("--method", "broken.py:Mutual"),
            "broken.py, line 3: AttributeError: module 'ctcl_hf' has no attribute",
        ),
        (
            ("--method", "mine.py:Mutul"),
            "expected FILE.py:NAME with a method of mine.py, which has Mutual. Did you me",
        ),
        (
            ("--method", "mine.py"),
            "expected FILE.py:NAME with a method of mine.py, which has Mutual.",
        ),
        (
            ("--method", "mine.py:Halves"),
            "Halves is no method: expected a subclass of ctcl_hf.Objective",
        ),
        (("--method", "names.py:ctcl"), "ctcl is the name of a method that ctcl_hf has"),
        (
            ("--method", "options.py:A"),
            "Unexplained.strength needs a default and a help: option(DEFAULT, HELP)",
        ),
        (("--method", "options.py:B"), "Undecorated must be a @dataclass(kw_only=True)"),
        (
            ("--method", "options.py:D"),
            "its Options must be a subclass of ctcl_hf.methods.MethodOptions",
        ),
        (("--dataset", "mine.py:Mutual"), "Mutual is no data set: expected a function of data_dir"),
        (
            ("--cnn", "mine.py:Mutual"),
            "Mutual is no family of students: expected a subclass of ctcl_hf.Student",
        ),
        (
            ("--students", "mit-b0", "mine.py:Nobody"),
            "--students mine.py:Nobody: expected FILE.py:NAME with a family",
        ),
        (
            ("--protocol", "mine.py:Mutual"),
            "Mutual is no protocol: expected a subclass of ctcl_hf.scoring.protocols",
        ),
        (
            ("--metrics", "dice", "mine.py:Mutual"),
            "Mutual is no metric: expected a subclass of ctcl_hf.metrics.Metric",
        ),
        (
            ("--metrics", "metrics_of_mine.py:Unnamed"),
            "Unnamed is no metric: it must name its scores: TITLES = {NAME: TITLE}",
        ),
        (
            ("--metrics", "metrics_of_mine.py:Again"),
            "Again is no metric: mean_iou is the name of a score that every run has",
        ),
        (
            ("--metrics", "dise"),
            "--metrics dise: expected one of dice, ",
        ),
        (
            ("--method", "mine.py:Mutual", "--alpha", "2"),
            "--alpha has no effect on --method mine.py:Mutual",
        ),
        (
            ("--method", "mine.py:Mutual", "--mutual", "-1"),
            "--mutual -1.0: a weight must not be negative",
        ),
    ],
)
def test_what_is_wrong_with_ones_own_code_is_told_in_a_sentence(folder, capsys, argv, message):
    for name, text in OTHERS.items():
        (folder / name).write_text(text)
    assert message in refused(capsys, *argv)


WRONG_IN_TRAINING = """

class Wrong(Mutual):
    def forward(self, students, labels, teachers=()):
        {line}
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return students[0].logits + labels", "RuntimeError: The size of tensor"),
        ("return self.cross_entropy(labels)", "AttributeError: "),
        (
            "return masked_mean(students[0].logits, labels > 0)",
            "ValueError: masked_mean of values (2, 2, ",
        ),
    ],
)
def test_an_error_in_ones_own_forward_is_told_by_its_line_and_without_a_traceback(
    folder, line, message, monkeypatch, capsys
):
    """It was a traceback of seventy lines, whose last frames were the package's."""
    code = Path("mine.py").read_text() + WRONG_IN_TRAINING.format(line=line)
    Path("mine.py").write_text(code)
    argv = [*TINY, *OWN, "--method", "mine.py:Wrong", "--output_dir", "out"]
    monkeypatch.setattr(sys, "argv", ["ctcl-hf train", *argv])
    with pytest.raises(SystemExit) as end:
        train.main()
    told = str(end.value)
    assert told.startswith("ctcl-hf train: error: mine.py:Wrong, line ") and message in told
    assert f"line {len(code.splitlines())}: " in told and "Traceback" not in told


def test_options_of_a_method_that_cannot_be_read_are_not_called_unknown(folder, capsys):
    """They were, and others were proposed in their place."""
    (folder / "broken.py").write_text(OTHERS["broken.py"])
    told = refused(capsys, "--method", "broken.py:Mutual", "--squares", "5", "--crop_size", "7")
    assert "broken.py, line 3: " in told and "--crop_size 7 7: expected" in told
    assert "--squares" not in told and "did you mean" not in told


def test_gradients_of_a_folder_that_is_not_there_are_refused_at_once(tmp_path, monkeypatch):
    """It said that nothing there is a checkpoint, once torch was imported."""
    monkeypatch.setattr(sys, "argv", ["ctcl-hf gradients", str(tmp_path / "nothere")])
    with pytest.raises(SystemExit, match="nothere: there is no such folder"):
        gradients.main()


def test_an_option_that_is_a_flag_of_every_run_is_refused(folder):
    (folder / "options.py").write_text(OTHERS["options.py"])
    with pytest.raises(
        ValueError, match="its option seed cannot be a flag, as --seed is an argument of every run"
    ):
        parse_arguments("test", ["--method", "options.py:C"])


def test_help_shows_the_options_of_ones_own_method(folder, capsys):
    with pytest.raises(SystemExit):
        parse_arguments("test", ["--method", "mine.py:Mutual", "--help"])
    shown = capsys.readouterr().out
    assert "options of --method mine.py:Mutual:" in shown
    assert "Weight of the peer's opinion. (default: 1.0)" in shown


def test_a_builder_of_ones_own_must_return_data_of_a_name_of_their_own(folder):
    (folder / "other_data.py").write_text(
        "import dataclasses\nfrom mine import build_halves\n\n\ndef nothing(data_dir):\n    return "
        "data_dir\n\n\ndef camvid_again(data_dir):\n    return "
        "dataclasses.replace(build_halves(data_dir), name='camvid')\n\n\n"
        "def inside(data_dir):\n    return data_dir / 'images'\n\n\n"
        "def empty(data_dir):\n    halves = build_halves(data_dir)\n    return "
        "dataclasses.replace(halves, splits=dict(halves.splits, "
        "train=halves.splits['train'].select([])))\n"
    )
    for name, message in (
        ("nothing", "expected a ctcl_hf.SegmentationData, got NoneType"),
        ("camvid_again", "'camvid'"),
        # which was a traceback
        (
            "inside",
            r"^other_data.py:inside, line 14: TypeError: unsupported .*\. It was called without "
            r"--data_dir\.$",
        ),
        # which was told as masks that hold no class
        ("empty", "--dataset other_data.py:empty: it returned no images of train"),
    ):
        arguments = parse_arguments("test", ["--dataset", f"other_data.py:{name}", "--use_cpu"])
        with pytest.raises(ValueError, match=message):
            arguments.data.load()


def test_a_student_that_nobody_could_load_is_refused(folder):
    (folder / "other_students.py").write_text(
        "from mine import PlainStudent, Student\nfrom plain_net import PlainNet, PlainNetConfig\n"
        "from ctcl_hf.students.loading import image_processor\n\n\n"
        "class Config(PlainNetConfig):\n    model_type = 'other_net'\n    _auto_class = None\n\n\n"
        "class Net(PlainNet):\n    config_class = Config\n    _auto_class = None\n\n\n"
        "class Taken(PlainNetConfig):\n    model_type = 'segformer'\n\n\n"
        "class Lost(PlainStudent):\n    net, config_of = Net, Config\n\n\n"
        "class Mistaken(PlainStudent):\n    config_of = Taken\n\n\n"
        "class Deaf(PlainStudent):\n"
        "    @classmethod\n    def new(cls, class_names, image_size, from_scratch):\n"
        "        return super().new(class_names[:1] * 2, image_size, from_scratch)\n\n\n"
        "class Broken(PlainStudent):\n    @classmethod\n"
        "    def new(cls, class_names, image_size, from_scratch):\n        return 1 / 0\n\n\n"
        "class Odd(PlainStudent):\n    family = 'mlp'\n\n\n"
        "class Nameless(PlainStudent):\n    family = Student.family\n"
    )
    for name, message in (
        (
            "Lost",
            r"Config\.register_for_auto_class\(\) and "
            r"Net\.register_for_auto_class\('AutoModelForSemanticSegm",
        ),
        (
            "Mistaken",
            "a folder of model_type 'segformer' is read as that of transformers' segformer",
        ),
        ("Deaf", "its student knows the classes a, a, not a, b"),
        ("Broken", "^other_students.py:Broken, line 37: ZeroDivisionError: division by zero"),
        ("Odd", "its family is 'mlp': one of cnn, vit, hybrid"),
        ("Nameless", "NotImplementedError: Nameless must name its family"),
    ):
        reference = f"other_students.py:{name}"
        STUDENTS.add(reference)
        with pytest.raises(ValueError, match=message):
            own_student(reference, ("a", "b"), (32, 32), from_scratch=True)


def test_what_a_record_names_is_never_run(folder):
    (folder / "evil.py").write_text(
        "from pathlib import Path\n\nPath('was_run').touch()\n\n\ndef build(data_dir): ...\n"
    )
    told = f"{folder / 'evil.py'}:build"
    with pytest.raises(
        ValueError,
        match="is run where its user's command line names it, and this one was not named",
    ):
        DataArguments(dataset=told)
    (folder / "run" / "checkpoint-1").mkdir(parents=True)
    command = f"ctcl-hf train --dataset={told}"
    (folder / "run" / "results.json").write_text(json.dumps({"command": command}))
    with pytest.raises(ValueError, match="--own_code"):
        measure(folder / "run", folder / "scratch", 1)
    assert not (folder / "was_run").exists()
