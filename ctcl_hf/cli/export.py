"""Export a student to ONNX, checked with onnxruntime against PyTorch (pip install 'ctcl-hf[export]').

ctcl-hf export runs/paper-ctcl/cnn --output cnn.onnx
"""

import argparse
import sys
from pathlib import Path

from .ending import program, told


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="Folder of a student, or the Hub id of a segmentation model.")
    parser.add_argument("--output", type=Path, required=True, help="The .onnx file to write.")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="Image size. Default: the image processor's."
    )
    arguments = parser.parse_args()
    with told(ValueError, OSError, ImportError):
        export(arguments.model, arguments.output, arguments.size)


def export(model_name: str, output: Path, size: list[int] | None) -> None:
    from ..publishing.onnx import check_exporter, export_onnx
    from ..scoring.predict import input_size, load_for_inference

    check_exporter()
    model, image_processor = load_for_inference(model_name)
    size = size or input_size(image_processor)
    if size is None:
        raise ValueError(f"The image processor of {model_name} resizes to no one size: give --size HEIGHT WIDTH.")
    height, width = size
    difference = export_onnx(model, (height, width), output)
    print(f"{output}: pixel_values (batch, 3, {height}, {width}), normalised as in {model_name} -> logits")
    print(f"onnxruntime's logits agree with PyTorch's to {difference:.0e} of the largest")


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.export`
    sys.argv[0] = "ctcl-hf export"
    main()
