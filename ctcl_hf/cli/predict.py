"""Segment images with a released or local student, and draw the result over each image with a legend.

ctcl-hf predict street.jpg --model runs/paper-ctcl/cnn
"""

import argparse
import sys
from pathlib import Path

from .ending import program, told


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", required=True, help="Folder of a student, or the Hub id of a segmentation model.")
    parser.add_argument("--output_dir", type=Path, default=Path("predictions"), help="Where the pictures go.")
    arguments = parser.parse_args()
    with told(ValueError, OSError):
        predict(arguments.images, arguments.model, arguments.output_dir)


def predict(images: list[Path], model_name: str, output_dir: Path) -> None:
    import numpy as np
    from tqdm.auto import tqdm

    from ..data import palette_for, read_image
    from ..figures import overlay_figure, save_figure
    from ..scoring.predict import load_for_inference, segment

    stems = [path.stem for path in images]
    if repeated := {stem for stem in stems if stems.count(stem) > 1}:
        raise ValueError(f"Several images are named {', '.join(sorted(repeated))}: their pictures would overwrite.")
    if missing := [str(path) for path in images if not path.exists()]:  # before a model is loaded or downloaded
        raise ValueError(f"{', '.join(missing)}: no such file. Give files of images.")
    model, image_processor = load_for_inference(model_name)
    class_names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    for path in tqdm(images, "Segmenting"):
        image = read_image(path)
        labels = segment(model, image_processor, image)
        figure = overlay_figure(np.asarray(image), labels, class_names, palette_for(class_names))
        save_figure(figure, output_dir / f"{path.stem}.png")
        tqdm.write(str(output_dir / f"{path.stem}.png"))


if __name__ == "__main__":  # `accelerate launch -m ctcl_hf.cli.predict`
    sys.argv[0] = "ctcl-hf predict"
    main()
