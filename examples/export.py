"""Export a student to ONNX, checked with onnxruntime against PyTorch (pip install -e '.[export]').

python examples/export.py runs/paper-ctcl/cnn --output cnn.onnx
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="Folder of a student, or the Hub id of a segmentation model.")
    parser.add_argument("--output", type=Path, required=True, help="The .onnx file to write.")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="Image size. Default: the image processor's."
    )
    arguments = parser.parse_args()
    try:
        export(arguments.model, arguments.output, arguments.size)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def export(model_name: str, output: Path, size: list[int] | None) -> None:
    from ctcl_hf.publishing.onnx import export_onnx
    from ctcl_hf.scoring.predict import input_size, load_for_inference

    model, image_processor = load_for_inference(model_name)
    size = size or input_size(image_processor)
    if size is None:
        raise ValueError(f"The image processor of {model_name} resizes to no one size: give --size HEIGHT WIDTH.")
    height, width = size
    difference = export_onnx(model, (height, width), output)
    print(f"{output}: pixel_values (batch, 3, {height}, {width}), normalised as in {model_name} -> logits")
    print(f"onnxruntime's logits agree with PyTorch's to {difference:.0e} of the largest")


if __name__ == "__main__":
    main()
