"""Two students side by side on an image of yours: what each sees, and where they disagree.

python -m ctcl_hf.publishing.space.app runs/paper-ctcl/cnn runs/paper-ctcl/vit

Stands alone: as a Space it needs transformers, timm and gradio, reads its arguments from
settings.json, and has the package's reader of images beside it.
"""

import argparse
import colorsys
import contextlib
import html
import json
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

try:
    from ctcl_hf.data.images import read_image
except ImportError:  # as a Space, beside which `ctcl-hf space` puts the reader
    from images import read_image

HERE = Path(__file__).parent
# pixels; logits at the size of a camera's picture would fill the memory of a small machine
LONGEST_SIDE = 1280
OPACITY = 0.6


def main() -> None:
    settings = HERE / "settings.json"
    if settings.is_file():
        demo(**json.loads(settings.read_text())).launch()
        return
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "students", nargs=2, metavar="STUDENT", help="Hub id or folder of a segmentation model."
    )
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="Run code that lies beside the weights."
    )
    parser.add_argument("--port", type=int, help="Default: the first free one from 7860 on.")
    arguments = parser.parse_args()
    demo(arguments.students, arguments.trust_remote_code).launch(server_port=arguments.port)


def demo(students: list[str], trust_remote_code: bool = False) -> gr.Blocks:
    """The page for two students."""
    loaded = [load(name, trust_remote_code) for name in students]
    labels = [model.config.id2label for model, _ in loaded]
    if labels[0] != labels[1]:
        raise SystemExit(
            f"{students[0]} and {students[1]} know different classes: {labels[0]} and {labels[1]}."
        )
    names = [name.rstrip("/").split("/")[-1] for name in students]
    if names[0] == names[1]:
        names = students
    class_names = [labels[0][i] for i in range(len(labels[0]))]
    colours = palette(loaded[0][0].config.to_dict().get("palette"), len(class_names))

    def compare(path: str | None) -> list[np.ndarray]:
        if path is None:
            raise gr.Error("Choose an image first.")
        try:
            image = read_image(path)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(path, Path(path).name)) from error
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        maps = [segment(model, processor, image) for model, processor in loaded]
        pixels = np.asarray(image)
        masks = [colours[ids] for ids in maps]
        overlays = [(OPACITY * mask + (1 - OPACITY) * pixels).astype(np.uint8) for mask in masks]
        differ = (maps[0] != maps[1])[..., None]
        disagreement = np.where(differ, (255, 0, 64), pixels // 3).astype(np.uint8)
        share = f"They disagree on {100 * differ.mean():.1f} % of the pixels."
        return [*masks, *overlays, disagreement, share]

    with gr.Blocks(title=" and ".join(names), analytics_enabled=False) as page:
        gr.Markdown(
            f"# {names[0]} and {names[1]}\nTwo models trained together for semantic segmentation, "
            "on one image."
        )
        with gr.Row():
            # The file as it is: gradio would clip 16 bits to 8 without a word.
            image = gr.Image(type="filepath", image_mode=None, label="Image", elem_id="image")
            with gr.Column():
                button = gr.Button("Segment", variant="primary", elem_id="segment")
                gr.Examples(
                    [[str(path)] for path in sorted((HERE / "images").iterdir())],
                    image,
                    label="Examples",
                )
        with gr.Row():
            masks = [
                gr.Image(label=f"{name}: classes", elem_id=f"mask-{i}")
                for i, name in enumerate(names)
            ]
        with gr.Row():
            overlays = [
                gr.Image(label=f"{name}: over the image", elem_id=f"overlay-{i}")
                for i, name in enumerate(names)
            ]
        disagreement = gr.Image(label="Where they disagree", elem_id="disagreement")
        share = gr.Markdown(elem_id="share")
        gr.HTML(legend(class_names, colours), elem_id="legend")
        button.click(compare, image, [*masks, *overlays, disagreement, share])
    return page


def load(name: str, trust_remote_code: bool) -> tuple[torch.nn.Module, object]:
    """A model in evaluation mode and its image processor."""
    # where it is installed, its models need no code from elsewhere
    with contextlib.suppress(ImportError):
        import ctcl_hf  # noqa: F401
    model = AutoModelForSemanticSegmentation.from_pretrained(
        name, trust_remote_code=trust_remote_code
    ).eval()
    return model, AutoImageProcessor.from_pretrained(name, trust_remote_code=trust_remote_code)


@torch.no_grad()
def segment(model: torch.nn.Module, processor: object, image: Image.Image) -> np.ndarray:
    """Class ids (height, width) of an image, at its own size."""
    # Some processors would cut out the middle, or pad, and their logits not be of the whole image.
    logits = model(
        **processor(images=image, return_tensors="pt", do_center_crop=False, do_pad=False)
    ).logits
    size = (image.height, image.width)
    return (
        torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0]
        .argmax(0)
        .numpy()
    )


def palette(kept: list[list[int]] | None, count: int) -> np.ndarray:
    """A student's own colours, uint8 (count, 3); where it keeps none, such as are far from their
    neighbours.
    """
    if kept and len(kept) == count:
        return np.array(kept, dtype=np.uint8)
    hues = [i * 0.618034 % 1 for i in range(count)]  # the golden ratio never comes back to a hue
    colours = [
        colorsys.hsv_to_rgb(hue, 0.85 - 0.4 * (i % 2), 0.95 - 0.35 * (i % 3 == 2))
        for i, hue in enumerate(hues)
    ]
    return (255 * np.array(colours)).round().astype(np.uint8)


def legend(class_names: list[str], colours: np.ndarray) -> str:
    """A coloured square and the name of every class."""
    entry = (
        '<span style="white-space:nowrap;margin-right:1em"><span '
        'style="color:rgb({},{},{})">&#9632;</span> {}</span> '
    )
    return "".join(
        entry.format(*colour, html.escape(name))
        for name, colour in zip(class_names, colours, strict=True)
    )


if __name__ == "__main__":
    main()
