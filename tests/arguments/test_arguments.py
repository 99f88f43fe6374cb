"""The command line: recipes, overrides, and wrong values that say all at once what is wrong."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from conftest import make_cnn, make_vit
from transformers import TrainingArguments
from transformers.hf_argparser import string_to_bool

from ctcl_hf import CTCLArguments, StudentPair, Vanilla
from ctcl_hf.arguments.data import DataArguments
from ctcl_hf.arguments.method import MethodArguments, options_of_others, own_options
from ctcl_hf.arguments.pair import StudentArguments
from ctcl_hf.arguments.parser import ArgumentsParser
from ctcl_hf.arguments.ranges import RANGES
from ctcl_hf.arguments.recipes import RECIPES, parse_arguments
from ctcl_hf.arguments.trainer import TrainerArguments, names_of_trainer
from ctcl_hf.arguments.unheeded import NEEDED, REFUSED
from ctcl_hf.training.record import RunFacts, record, record_of_inputs


def parse(*argv):
    return parse_arguments("test", [*argv, "--use_cpu"])


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as raised:
        parse(*argv)
    assert raised.value.code == 2
    return capsys.readouterr().err


def test_the_defaults_are_the_papers():
    arguments = parse()
    training, data, options = arguments.training, arguments.data, arguments.options
    assert (arguments.students.cnn, arguments.students.vit) == ("mobilenetv2_100", "nvidia/mit-b1")
    assert (training.cnn_lr, training.cnn_momentum, training.cnn_weight_decay) == (
        0.0025,
        0.9,
        5e-4,
    )
    assert (training.vit_lr, training.vit_weight_decay) == (6e-5, 0.01)
    assert (training.per_device_train_batch_size, data.crop_size, training.num_train_epochs) == (
        4,
        [512, 512],
        60,
    )
    assert (arguments.method.method, options.alpha, options.beta, options.gamma) == (
        "ctcl",
        1.0,
        0.1,
        1.0,
    )
    assert training.output_dir == "runs/camvid-paper-ctcl"


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (("--recipe", "demo"), "runs/synthetic-demo-ctcl"),
        (("--dataset_name", "data/photos/", "--recipe", "cpu"), "runs/photos-cpu-ctcl"),
        (("--dataset-name", "user/photos", "--method", "vanilla"), "runs/photos-paper-vanilla"),
        (("--dataset_name", "photos", "--output_dir", "mine"), "mine"),
    ],
)
def test_the_folder_of_a_run_holds_the_name_of_its_data(given, folder):
    """Runs on other data were refused, since one on CamVid lay in their folder."""
    assert parse(*given).training.output_dir == folder


@pytest.mark.parametrize("option", ["--data_dir", "--dataset_name"])
def test_a_run_does_not_lie_among_the_images_that_it_reads(option, tmp_path):
    """Its pictures were taken for images of the data, which could not be read any more."""
    folder = tmp_path / "flat"
    folder.mkdir()
    with pytest.raises(ValueError, match=f"--output_dir {folder}/ is the folder of the data"):
        parse(option, str(folder), "--output_dir", f"{folder}/", "--recipe", "cpu")
    parse(option, str(folder), "--output_dir", str(folder / "runs"), "--recipe", "cpu")


@pytest.mark.parametrize("spelling", [["--no_use_cpu"], ["--no-use-cpu"], ["--use_cpu", "False"]])
def test_a_switch_that_a_recipe_turns_on_can_be_turned_off(tmp_path, spelling):
    # It was taken, and ignored: a GPU machine trained on its CPU.
    told = parse_arguments("", ["--recipe", "cpu", *spelling, "--output_dir", str(tmp_path)])
    assert told.training.use_cpu is False


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_parses_and_the_command_line_overrides_it(recipe):
    arguments = parse(
        "--recipe", recipe, "--cnn_lr", "0.123", "--num_train_epochs", "3", "--method", "vanilla"
    )
    assert arguments.recipe == recipe
    assert arguments.training.cnn_lr == 0.123
    assert arguments.training.num_train_epochs == 3
    assert arguments.training.output_dir == f"runs/{arguments.data.dataset}-{recipe}-vanilla"
    for name, value in RECIPES[recipe].items():
        if name != "num_train_epochs" and name != "cnn_lr":
            groups = (arguments.students, arguments.data, arguments.training)
            assert next(getattr(group, name) for group in groups if name in vars(group)) == value, (
                name
            )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--crop_size", "500"),
            "--crop_size 500 500: expected HEIGHT WIDTH, both multiples of 32",
        ),
        (("--scale_range", "2", "1"), "--scale_range 2.0 1.0: expected 0 < MIN <= MAX"),
        (("--image_size", "360"), "--image_size 360: expected HEIGHT WIDTH"),
        (
            ("--dataset", "camvit"),
            "--dataset camvit: expected one of camvid, voc, cityscapes, ",
        ),
        (
            ("--metrics", "dcie"),
            ", or one of your own, FILE.py:NAME. Did you mean dice?",
        ),
        (("--method", "ctlc"), "--method ctlc: expected one of vanilla, offline_kd, dml"),
        (("--recipe", "gpu"), "--recipe gpu: expected one of paper, cpu, demo"),
        (("--gamma", "-1"), "--gamma -1.0: a weight must not be negative"),
        (("--temperature", "0"), "--temperature 0.0: must be positive"),
        (("--method", "vanilla", "--beta", "0.5"), "--beta has no effect on --method vanilla"),
        (("--per_device_train_batch_size", "1"), "needs at least 2 images per process"),
        (
            ("--max_steps", "0"),
            "--max_steps 0: expected at least 1, or -1: as many as --num_train_epochs says.",
        ),
        (("--num_train_epochs", "0"), "--num_train_epochs 0.0: expected more than 0."),
        (
            ("--learning_rate", "0.1"),
            "--learning_rate 0.1 does not work for a pair of students; use --cnn_lr and",
        ),
        (("--weight_decay", "0.1"), "--cnn_weight_decay and --vit_weight_decay"),
        (("--report_to", "tensorbord"), "--report_to tensorbord: expected one of azure_ml"),
        (("--label_smoothing_factor", "0.1"), "each method says what its loss is"),
        (("--cpu_threads", "0"), "--cpu_threads 0: expected at least 1."),
        (("--max_train_samples", "0"), "--max_train_samples 0: expected at least 1."),
        (
            ("--dataset_name", "x", "--streaming", "--max_eval_samples", "9"),
            "do not go with --streaming",
        ),
        (("--method", "offline_kd"), "--method offline_kd needs --teachers FOLDER"),
        (("--method", "dml", "--teachers", "runs/x"), "--teachers has no effect on --method dml"),
        (("--teacher_label_map", "x.json"), "expected one file, or one for each of --teachers"),
        (
            ("--teachers", "a", "--teacher_label_map", "x.json"),
            "--teacher_label_map x.json: there is no such file.",
        ),
        (
            ("--method", "cwd", "--kdcl_target", "naive"),
            "--kdcl_target has no effect on --method cwd",
        ),
        (
            ("--method", "vanilla", "--distillation_warmup", "0.5"),
            "--distillation_warmup has no effect",
        ),
        (("--distillation_warmup", "1.5"), "--distillation_warmup 1.5: expected a share, 0 to 1"),
        (("--optimizers", "sgd", "adam"), "--optimizers adam: expected one of sgd, adamw"),
        (("--students", "resnet18"), "--students resnet18: expected two"),
        (("--method", "dml", "--no_hfd"), "--no_hfd has no effect on --method dml"),
        (("--no_crop_size", "64"), "unrecognized arguments: --no_crop_size"),
        (("--crop_size", "wide", "64"), "--crop_size wide: invalid int value: 'wide'"),
        (("--crop", "64"), "unrecognized arguments: --crop (did you mean --crop_size?)"),
        (("--crop-sise", "64"), "unrecognized arguments: --crop-sise (did you mean --crop_size?)"),
        (("--epochs", "3"), "unrecognized arguments: --epochs (did you mean --num_train_epochs?)"),
        (("--lr=3",), "unrecognized arguments: --lr (did you mean --cnn_lr and --vit_lr?)"),
        (("--device", "cuda:1"), "(did you mean --use_cpu, or CUDA_VISIBLE_DEVICES=0 before"),
        (("--dataloader_num_worker", "3"), "(did you mean --dataloader_num_workers?)"),
        (
            ("--finish", "runs/x"),
            "(did you mean --resume_from_checkpoint auto, which finishes a trained run without",
        ),
        (
            ("--no_pixel_bds",),
            "unrecognized arguments: --no_pixel_bds (did you mean --no_pixel_bsd?)",
        ),
        (("-e", "3"), "unrecognized arguments: -e"),
        (
            ("--class_weights", "ballanced"),
            "there is no such file. Did you mean balanced?",
        ),
        (("--report_to", "tensorbord"), "all, none. Did you mean tensorboard?"),
        (("--output_stride", "7"), "--output_stride 7: expected one of 8, 16, 32."),
        (("--window", "-1", "5"), "--window -1 5: expected HEIGHT WIDTH, two positive numbers"),
        (
            ("--dataset", "camvid", "--dataset-name=photos"),
            "--dataset and --dataset_name both name data: give one of the two.",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_do(capsys, argv, message):
    assert message in refused(capsys, *argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--method", "cwd", "--teachers", "a", "b", "c"),
            "--teachers a b c: expected one, or 2, one for each student.",
        ),
        (
            ("--students", "a", "b", "c", "--teachers", "d", "e"),
            "--teachers d e: expected one, or 3, one for each student.",
        ),
        (("--learning_rates", "0.1"), "--learning_rates 0.1: expected 2, one for each student."),
        (
            ("--students", "a", "b", "c", "--optimizers", "sgd", "adamw"),
            "--optimizers sgd adamw: expected 3, one for each student.",
        ),
        (
            ("--students", "a", "b", "c", "--method", "dml"),
            "--students a b c: --method dml is defined for two students; vanilla and ctcl take "
            "more.",
        ),
    ],
)
def test_what_is_said_of_each_student_is_said_of_all_and_the_method_takes_as_many(argv, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(*argv)


def test_any_number_of_students_is_taken_by_vanilla_and_ctcl():
    for method in ("vanilla", "ctcl"):
        told = parse("--method", method, "--students", "a", "b", "c", "--powers", "1", "2", "3")
        assert told.students.sources == ("a", "b", "c") and told.training.powers == [1, 2, 3]
    assert parse().students.sources == ("mobilenetv2_100", "nvidia/mit-b1")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--do_train", "false"), "--do_train false has no effect: this command trains."),
        (("--no_do_train",), "--do_train false has no effect: this command trains."),
        (("--do-eval=no",), "--do_eval false has no effect: students are scored at the end"),
        (("--do_predict",), "--do_predict true has no effect: this command predicts nothing."),
    ],
)
def test_what_trainer_leaves_to_a_script_is_refused_where_it_asks_for_something_else(
    capsys, argv, message
):
    """`--do_train false` trained, without a word."""
    assert message in refused(capsys, *argv)
    parse("--do_train", "--do_eval", "yes", "--do_predict", "0")


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "warmup_steps", "optim"])
def test_a_default_of_trainers_that_is_not_the_pairs_is_refused_too(capsys, name):
    """`--weight_decay 0` was taken, and a ViT trained with 0.01: it is Trainer's default."""
    (field,) = (own for own in dataclasses.fields(TrainingArguments) if own.name == name)
    assert f"--{name} {field.default} does not work for a pair of students; use" in refused(
        capsys, f"--{name}", str(field.default)
    )


@pytest.mark.parametrize(
    "flag", [flag for needed in NEEDED[:1] for flag in needed.flags if flag != "hub_always_push"]
)
def test_a_name_on_the_hub_of_what_is_not_published_is_refused(flag):
    """`--hub_model_id me/x` alone was taken, and nothing was published."""
    value = {"hub_strategy": "end", "hub_private_repo": "true"}.get(flag, "me/x")
    with pytest.raises(ValueError, match=f"--{flag} has no effect without --push_to_hub"):
        parse(f"--{flag}", value)
    parse(f"--{flag}", value, "--push_to_hub")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--eval_steps", "5", "--eval_strategy", "epoch"), "--eval_steps has no effect with"),
        (("--eval_delay", "5", "--eval_strategy", "no"), "--eval_delay has no effect with"),
        (("--save_steps", "5", "--save_strategy", "no"), "--save_steps has no effect with"),
        (("--logging_steps", "5", "--logging_strategy", "epoch"), "--logging_steps has no effect"),
        (("--activation_checkpointing_kwargs", "{}"), "has no effect without --activation_check"),
        (("--dataloader_persistent_workers",), "has no effect without --dataloader_num_workers"),
    ],
)
def test_a_flag_that_waits_for_another_is_refused_alone(argv, message):
    """Trainer takes it without a word."""
    with pytest.raises(ValueError, match=message):
        parse(*argv)


def test_every_flag_that_is_said_to_need_another_is_one():
    fields = {option.name for option in dataclasses.fields(CTCLArguments)}
    assert {flag for needed in NEEDED for flag in needed.flags} | REFUSED.keys() <= fields


@pytest.mark.parametrize(
    "argv",
    [("--lr_scheduler_type", "cosinus"), ("--eval_strategy", "epochs"), ("--hub_strategy", "ends")],
)
def test_a_wrong_choice_is_told_once(capsys, argv):
    """Of a schedule it was "Did you mean cosine?", and then that no other than polynomial is
    taken; of the others Trainer's own sentence was told as well.
    """
    told = refused(capsys, *argv)
    assert told.count(argv[1]) == 1
    assert "cosine" not in told


def test_both_half_precisions_are_refused_by_their_flags(capsys):
    """Trainer said "At most one of fp16 and bf16 can be True"."""
    assert "--bf16 and --fp16: a run computes in one of them." in refused(
        capsys, "--bf16", "--fp16"
    )


def test_what_reads_little_like_a_flag_is_not_taken_for_it(capsys):
    """`--help-me` was answered by --label_names."""
    assert "did you mean" not in refused(capsys, "--help-me")


def test_an_unknown_no_field_is_not_taken_for_another_by_its_no(capsys):
    """--no_sheep was answered by --no_use_cpu."""
    assert "did you mean" not in refused(capsys, "--no_sheep")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("per_device_eval_batch_size", "0", "at least 1"),
        ("per_device_train_batch_size", "0", "at least 1"),
        ("gradient_accumulation_steps", "0", "at least 1"),
        ("cnn_lr", "-1.0", "at least 0"),
        ("vit_lr", "nan", "at least 0"),
        ("max_steps", "-5", "at least 1, or -1: as many as --num_train_epochs says"),
        ("eval_steps", "0.0", "more than 0"),
        ("logging_steps", "0.0", "more than 0"),
        ("vit_warmup_steps", "-3", "at least 0"),
        ("save_total_limit", "0", "at least 1"),
        ("max_grad_norm", "-1.0", "at least 0"),
        ("cnn_momentum", "1.0", "at least 0, and less than 1"),
        ("dataloader_num_workers", "-1", "at least 0"),
        ("dataloader_prefetch_factor", "0", "at least 1"),
        ("aspp_channels", "0", "at least 1"),
        ("seed", "-1", "at least 0, and less than 4294967296"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_flag(capsys, name, value, expected):
    """Some were taken without a word; others ended in tracebacks, after a while of training."""
    said = refused(capsys, f"--{name}", value)
    assert said.endswith(f"error: --{name} {value}: expected {expected}.\n")


def test_each_of_two_numbers_is_of_the_range(capsys):
    said = refused(capsys, "--learning_rates", "0.1", "-2")
    assert "--learning_rates 0.1 -2.0: expected each at least 0." in said


def test_every_number_of_trainers_has_a_range_or_is_refused():
    """So that one which a newer Trainer takes is not forgotten."""
    numbers = {
        field.name
        for field in dataclasses.fields(CTCLArguments)
        if field.init and {"int", "float"} & set(re.findall(r"\w+", str(field.type)))
    }
    assert numbers - {"local_rank"} <= RANGES.keys() | REFUSED.keys()


def test_a_tracker_that_is_not_installed_is_told_with_the_line_that_installs_it(
    capsys, monkeypatch
):
    """Trainer says so in a traceback, once data and models are built."""
    monkeypatch.setattr(f"{CTCLArguments.__module__}.get_available_reporting_integrations", list)
    for name, line in (
        ("tensorboard", "'ctcl-hf[track]' ('.[track]' in a checkout)"),
        ("mlflow", "mlflow"),
    ):
        assert f"{name} is not installed: pip install {line}." in refused(
            capsys, "--report_to", name
        )


def test_all_mistakes_are_told_at_once_with_the_nearest_valid_choice(capsys):
    said = refused(
        capsys,
        *(
            "--crop_size",
            "500",
            "--scale_range",
            "0",
            "1",
            "--kl_direction",
            "reversed",
            "--optimizers",
            "sgd",
            "adam",
        ),
        *(
            "--num_train_epochs",
            "many",
            "--dataset",
            "camvit",
            "--distillation_warmup",
            "2",
            "--gama",
            "1",
        ),
    )
    for told in (
        "--crop_size 500 500: expected HEIGHT WIDTH",
        "--scale_range 0.0 1.0: expected 0 < MIN <= MAX",
        "--kl_direction reversed: expected one of reverse, forward. Did you mean reverse?",
        "--optimizers adam: expected one of sgd, adamw",
        "--num_train_epochs many: invalid float value: 'many'",
        "Did you mean camvid?",
        "--distillation_warmup 2.0: expected a share",
        "unrecognized arguments: --gama (did you mean --gamma?)",
    ):
        assert said.count(told) == 1, told


def test_what_is_known_of_trainers_arguments_before_they_are_imported_is_true_of_them():
    assert names_of_trainer() == {
        option.name for option in dataclasses.fields(TrainingArguments) if option.init
    }
    true = {option.name: option.default for option in dataclasses.fields(CTCLArguments)}
    for option in dataclasses.fields(TrainerArguments):
        assert option.default == true[option.name], option.name


def test_a_number_of_steps_alone_says_when_to_save_and_to_evaluate():
    """It was ignored where the recipe says otherwise."""
    training = parse("--recipe", "cpu", "--save_steps", "7", "--eval-steps=5").training
    assert (training.save_strategy, training.save_steps) == ("steps", 7)
    assert (training.eval_strategy, training.eval_steps) == ("steps", 5)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--method", "dml"), "--cache_teacher has no effect without --teachers."),
        (
            ("--method", "ifvd", "--teachers", "x", "--scale_range", "1", "1"),
            "--cache_teacher keeps logits alone, and --method ifvd reads features of its teachers",
        ),
        (
            ("--method", "cwd", "--teachers", "x"),
            r"images are scaled at random \(--scale_range 0.5 2\)\. Train without",
        ),
        (
            ("--teachers", "x", "--scale_range", "0.5", "0.6", "--photometric"),
            r"scaled at random \(--scale_range 0.5 0.6\) and coloured at random \(--photometric\)",
        ),
        (
            ("--teachers", "x", "--scale_range", "1", "1", "--dataset_name", "y", "--streaming"),
            r"images are not known beforehand \(--streaming\)",
        ),
    ],
)
def test_logits_of_teachers_are_kept_of_images_that_come_again_alone(argv, message):
    with pytest.raises(ValueError, match=message):
        parse("--cache_teacher", "kept", *argv)


def test_a_data_set_that_fills_no_batch_or_leaves_one_image_is_refused(tmp_path):
    args = CTCLArguments(str(tmp_path), use_cpu=True)
    with pytest.raises(
        ValueError, match=r"3 training images .* one batch of 4\. Give .*size, from 2 to 3\."
    ):
        args.check_dataset(range(3))
    args.check_dataset(range(5))
    args.dataloader_drop_last = False
    with pytest.raises(ValueError, match="5 images in batches of 4 leave a last batch of one"):
        args.check_dataset(range(5))


@pytest.mark.parametrize(("switch", "engine"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")])
def test_engines_that_accelerate_was_configured_for_are_refused(
    switch, engine, tmp_path, monkeypatch
):
    monkeypatch.setenv(f"ACCELERATE_USE_{switch}", "true")
    with pytest.raises(ValueError, match=f"configured for {engine}.*examples/accelerate/"):
        CTCLArguments(str(tmp_path), use_cpu=True)


def test_the_best_model_is_chosen_by_mean_iou(tmp_path):
    args = CTCLArguments(
        str(tmp_path),
        use_cpu=True,
        load_best_model_at_end=True,
        eval_strategy="epoch",
        save_strategy="epoch",
    )
    assert args.metric_for_best_model == "mean_iou"
    assert args.greater_is_better


def test_one_switch_sets_all_of_ctcl_as_printed(capsys):
    options = parse("--as_printed").options.values()
    printed = {"kl_direction": "reverse", "pixel_divisor": "taught", "region_divisor": "taught"}
    printed |= {"pixel_classes": "all", "region_projection": "both"}
    assert printed.items() <= options.items()
    assert "as_printed" not in options
    said = refused(capsys, "--as_printed", "--region_projection", "learner")
    assert "--region_projection learner is not as printed (both): leave out one of the two" in said
    # the default's own value was taken, and printed values were trained with
    with pytest.raises(ValueError, match=r"^--kl_direction forward is not as printed"):
        parse("--as_printed", "--kl_direction=forward")
    assert parse("--as_printed", "--kl_direction", "reverse").options.kl_direction == "reverse"
    assert "--as_printed has no effect on --method dml" in refused(
        capsys, "--method", "dml", "--as_printed"
    )


def test_an_option_is_read_with_the_default_of_the_method_that_has_it():
    defaults = {"dml": 1.0, "kdcl": 2.0, "cwd": 4.0}
    assert {name: parse("--method", name).options.temperature for name in defaults} == defaults
    assert parse("--method", "kdcl", "--temperature", "3").options.temperature == 3.0


def test_an_option_without_effect_is_refused_even_if_it_is_given_the_default(capsys):
    assert "--alpha has no effect on --method dml" in refused(
        capsys, "--method", "dml", "--alpha", "1.0"
    )


def test_the_help_of_a_method_shows_its_options_and_whose_the_others_are(capsys):
    with pytest.raises(SystemExit):
        parse("--method", "kdcl", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    own, others = shown.split("options of --method kdcl:")[1].split("options of other methods:")
    assert "--temperature" in own and "(default: 2.0)" in own and "--alpha" not in own
    assert "Weight of HFD in each student's loss (Eq. 6, Table 8). (ctcl: 0.1)" in others


def test_the_help_of_a_recipe_shows_its_values_as_the_defaults(capsys):
    """--recipe cpu said of --image_size that it is the data set's own, and of --metrics
    "(default: )".
    """
    with pytest.raises(SystemExit):
        parse("--recipe", "cpu", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "(here: 180 240)" in shown.split("--image_size HEIGHT WIDTH")[1][:300]
    assert "(default: 160 224)" in shown and "(default: )" not in shown


@pytest.mark.parametrize(
    ("chosen", "bf16", "fp16"), [("no", False, False), ("bf16", True, False), ("fp16", False, True)]
)
def test_the_precision_that_accelerate_was_told_is_the_runs(chosen, bf16, fp16, monkeypatch):
    """`accelerate launch --mixed_precision bf16` trained in bfloat16, and card and results said
    float32.
    """
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", chosen)
    arguments = CTCLArguments("out", use_cpu=True)
    assert (arguments.bf16, arguments.fp16, arguments.mixed_precision) == (bf16, fp16, chosen)
    pair = StudentPair({"cnn": make_cnn(), "vit": make_vit()}, Vanilla(make_cnn(), make_vit()))
    recorded = record(pair, arguments, record_of_inputs(pair, None, None), RunFacts())
    assert recorded["training"]["precision"] == chosen


def test_a_precision_that_no_test_covers_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(ValueError, match="configured for fp8"):
        CTCLArguments("out", use_cpu=True)


def whole_parser():
    parser = ArgumentsParser(
        [StudentArguments, DataArguments, MethodArguments, own_options("ctcl"), CTCLArguments]
    )
    parser.add_without_effect(options_of_others("ctcl"), "--method ctcl")
    return parser


def test_every_flag_that_says_yes_or_no_may_be_given_bare():
    """`--hub_private_repo`, as docs/publishing.md writes it, was refused: what may be None too
    wanted a value.
    """
    assert parse("--push_to_hub", "--hub_private_repo").training.hub_private_repo is True
    parser = whole_parser()
    flags = [
        action.option_strings[0] for action in parser._actions if action.type is string_to_bool
    ]
    assert {"--hub_private_repo", "--bf16", "--tf32", "--hfd", "--from_scratch"} <= set(flags)
    namespace, unknown = parser.parse_known_args(flags)
    assert not unknown and all(getattr(namespace, flag[2:]) is True for flag in flags)


def test_every_flag_in_the_documents_is_one():
    root = Path(__file__).parents[2]
    parser = whole_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    known |= {"--recipe", "--no-deps"}  # the last of pip
    known |= {"--config_file", "--shutdown-timeout", "--signals-to-handle"}  # of launchers
    known |= {"--cpu", "--num_processes", "--nproc_per_node", "--nnodes", "--max_restarts"}
    known |= {"--machine_rank", "--main_process_ip", "--rdzv_backend"}  # as well
    known |= {"--logdir"}  # of TensorBoard
    known |= {"--array", "--gpus-per-node", "--nodes", "--ntasks-per-node", "--signal"}  # of Slurm
    known |= {"--requeue", "--kill-on-bad-exit"}  # as well
    known |= {"--mutual", "--flag"}  # of methods of a reader's own
    for script in (
        *root.glob("ctcl_hf/cli/*.py"),
        root / "ctcl_hf" / "arguments" / "launch.py",
        *root.glob("benchmarks/*.py"),
        root / "tests" / "soak.py",
    ):
        for node in ast.walk(ast.parse(script.read_text())):
            if isinstance(node, ast.AnnAssign):  # a field of a dataclass of arguments
                known.add(f"--{ast.unparse(node.target)}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                known.add(node.value)
    unknown = {}
    for document in (root / "README.md", *root.glob("docs/*.md")):
        text = re.sub("^#SBATCH .*$", "", document.read_text(), flags=re.MULTILINE)  # Slurm's
        told = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
        if told - known:
            unknown[document.name] = sorted(told - known)
    assert not unknown


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        (("--recipe", "demo"), ("steps", 60)),
        (("--recipe", "cpu"), ("epoch", None)),
        (("--eval_steps", "30"), ("steps", 30)),
        (("--recipe", "demo", "--save_steps", "120"), ("steps", 120)),
    ],
)
def test_the_best_weights_are_chosen_among_checkpoints_of_each_evaluation(given, saved):
    """Under the demo, which saves nothing, Trainer's own error asked for strategies to match."""
    training = parse(*given, "--load_best_model_at_end").training
    strategy, steps = saved
    assert training.save_strategy == training.eval_strategy == strategy
    assert steps is None or training.save_steps == steps


def test_the_best_weights_of_what_is_not_saved_are_refused_with_what_to_give(capsys):
    for strategies in (("--save_strategy", "no"), ("--eval_strategy", "no")):
        told = refused(capsys, "--recipe", "demo", "--load_best_model_at_end", *strategies)
        assert "--eval_steps N and --save_steps N" in told
