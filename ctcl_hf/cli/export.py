"""Export a student to ONNX, or two as one file that gives the mean of their probabilities; checked
with onnxruntime against PyTorch (pip install 'ctcl-hf[export]').

ctcl-hf export runs/camvid-paper-ctcl/cnn --output cnn.onnx
ctcl-hf export runs/camvid-paper-ctcl/cnn --output cnn.onnx --with_preprocessing --argmax --dynamic
ctcl-hf export runs/camvid-paper-ctcl --output pair.onnx
"""

import argparse
import sys
from pathlib import Path

from ..arguments.ranges import check_of_sides
from ..base.files import check_place
from .ending import program, told
from .parser import command_parser
from .students import named_students, refuse_without_students


def main() -> None:
    parser = command_parser(__doc__, "%(prog)s MODEL --output FILE.onnx [options]")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="Folder of a student, or the Hub id of a segmentation model. Several, or the folder "
        "of a run, are averaged.",
    )
    parser.add_argument("--output", type=Path, required=True, help="The .onnx file to write.")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="Image size. Default: the image processor's.",
    )
    parser.add_argument(
        "--dynamic", action="store_true", help="Take images of other sizes as well."
    )
    parser.add_argument(
        "--with_preprocessing",
        action="store_true",
        help="Take images as they are read from a file, bytes (batch, height, width, 3) in RGB, "
        "and normalise them.",
    )
    parser.add_argument(
        "--argmax",
        action="store_true",
        help="Give class ids at the input's size, bytes (batch, height, width), in place of "
        "logits or, of several students, probabilities.",
    )
    arguments = parser.parse_args()
    is_wrong, problem = check_of_sides("size", arguments.size)
    if is_wrong:
        parser.error(problem)
    with told(ValueError, OSError, ImportError):
        export(arguments)


def export(arguments: argparse.Namespace) -> None:
    if arguments.output.suffix != ".onnx":
        raise ValueError(f"--output {arguments.output}: expected a name that ends in .onnx.")
    check_place("--output", arguments.output, is_folder=False)
    if arguments.output.is_file():
        print(f"{program()}: {arguments.output} is there, and will be replaced.", flush=True)
    from ..publishing.onnx import check_exporter, export_onnx
    from ..scoring.predict import input_size

    for model in arguments.models:
        refuse_without_students(model)
    check_exporter()
    students = named_students(arguments.models)
    student, *peers = students.values()
    sizes = {input_size(own.image_processor) for own in students.values()}
    size = arguments.size or (sizes.pop() if len(sizes) == 1 else None)
    if size is None:
        raise ValueError(
            f"What {' and '.join(arguments.models)} resizes to is no one size: give --size HEIGHT "
            "WIDTH."
        )
    height, width = size
    difference = export_onnx(
        student,
        (height, width),
        arguments.output,
        dynamic=arguments.dynamic,
        with_preprocessing=arguments.with_preprocessing,
        argmax=arguments.argmax,
        peers=peers,
        report=lambda step: print(f"{program()}: {step} ...", flush=True),
    )
    sides = "height, width" if arguments.dynamic else f"{height}, {width}"
    given = f"pixel_values (batch, 3, {sides}), normalised as in {arguments.models[0]}"
    if peers and len(arguments.models) == 1:
        given += f"/{next(iter(students))}"
    if arguments.with_preprocessing:
        given = f"image (batch, {sides}, 3), RGB bytes"
    returned = f"probabilities (batch, classes, {sides})" if peers else "logits"
    if arguments.argmax:
        returned = f"class_map (batch, {sides}), bytes"
    print(f"{arguments.output}: {given} -> {returned}")
    if arguments.with_preprocessing and arguments.argmax:
        print(f"To try it: python -m ctcl_hf.publishing.run_onnx {arguments.output} IMAGE")
    if arguments.argmax:
        print(
            f"onnxruntime's class maps differ from PyTorch's in {100 * difference:.3f} % of the "
            "pixels"
        )
    else:
        what = "probabilities" if peers else "logits"
        print(f"onnxruntime's {what} agree with PyTorch's to {difference:.0e} of the largest")


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.export`
    sys.argv[0] = "ctcl-hf export"
    main()
