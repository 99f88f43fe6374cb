"""Two students side by side on an image of yours: what each sees, what both together do, and where
they disagree. `ctcl-hf space` shows it.

Stands alone: as a Space it needs transformers, timm and gradio, reads its arguments from
settings.json, and has the package's reader of images beside it.
"""

import colorsys
import contextlib
import html
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

try:
    from ctcl_hf.data.images import read_image
    from ctcl_hf.publishing.space.facts import images_in, named
except ImportError:  # as a Space, beside which `ctcl-hf space` puts both
    from facts import images_in, named
    from images import read_image

HERE = Path(__file__).parent
EXAMPLES = HERE / "images"
# pixels; logits at the size of a camera's picture would fill the memory of a small machine
SHOWN = 1280  # pixels of the longer side of what is shown; files have the image's own size
OPACITY = 0.6
LARGEST_FILE = 20 * gr.FileSize.MB  # of an upload
WAITING = 64  # requests, at once
DISAGREEMENT = (255, 0, 64)
PAIR = "pair"  # what the mean of both students' probabilities is called


def serve(
    page: gr.Blocks, port: int | None = None, examples: Path = EXAMPLES, waits: bool = True
) -> str:
    """Answers one request at a time; those that come while many wait are told so at once.

    Returns the address: with `waits` after Ctrl-C, and else at once, without a word.
    """
    return page.queue(max_size=WAITING).launch(
        server_port=port,
        max_file_size=LARGEST_FILE,
        allowed_paths=[str(examples)],
        prevent_thread_lock=not waits,
        quiet=not waits,
    )[1]


def demo(
    students: list[str],
    trust_remote_code: bool = False,
    examples: Path = EXAMPLES,
    revisions: list[str] | None = None,
) -> gr.Blocks:
    """The page for two students, with images of a folder to choose from.

    revisions: the commits that are shown, and whose code is run; None: each one's last, or folders.

    ValueError says what is no student or no image, and that students know different classes.
    """
    offered = images_in(examples)
    loaded = [
        load(name, trust_remote_code, revision)
        for name, revision in zip(students, revisions or [None, None], strict=True)
    ]
    labels = [model.config.id2label for model, _ in loaded]
    if labels[0] != labels[1]:
        raise ValueError(
            f"{students[0]} and {students[1]} know different classes: {labels[0]} and {labels[1]}."
        )
    title, names = named(students)
    predictors = [*names, PAIR]
    places = [f"{name}-{what}" for what in ("classes", "overlay") for name in predictors]
    places = [place.replace("/", "-") for place in [*places, "disagreement"]]
    class_names = [labels[0][i] for i in range(len(labels[0]))]
    colours = palette(loaded[0][0].config.to_dict().get("palette"), len(class_names))

    # gradio fills in the last one, and shows how far it is over the pictures
    def compare(path: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[list]:  # noqa: B008
        if path is None:
            raise gr.Error("Choose an image first.", print_exception=False)
        try:
            image = read_image(path)
        except (ValueError, OSError) as error:
            told = str(error).replace(path, Path(path).name)
            raise gr.Error(told, print_exception=False) from error
        small = image.copy()
        small.thumbnail((SHOWN, SHOWN))
        size = (image.height, image.width)
        logits = []
        for name, student in zip(names, loaded, strict=True):
            progress((len(logits), 4), f"{name} looks at the image", unit="steps")
            logits.append(logits_of(*student, small))
        progress((2, 4), f"Classes of {size[1]} x {size[0]} pixels", unit="steps")
        maps = segment(logits, size)
        share = f"They disagree on **{100 * (maps[0] != maps[1]).mean():.1f} %** of the pixels."
        fitted = [np.asarray(Image.fromarray(ids).resize(small.size, 0)) for ids in maps]
        shown = [drawn.convert("RGB") for drawn in pictures(small, fitted, colours)]
        yield [*shown, share, None]
        progress((3, 4), "Files at the image's own size", unit="steps")
        with tempfile.TemporaryDirectory() as folder:  # gradio copies from it what it offers
            files = []
            for place, drawn in zip(places, pictures(image, maps, colours), strict=True):
                # class ids exactly; what is for the eye in a tenth of the time and of the size
                kind, how = ("png", {}) if drawn.mode == "P" else ("jpg", {"quality": 95})
                files.append(str(Path(folder) / f"{place}-{Path(path).stem}.{kind}"))
                drawn.save(files[-1], **how)
            yield [*shown, share, files]

    architectures = [
        type(model).__name__.removesuffix("ForSemanticSegmentation") for model, _ in loaded
    ]
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown(
            f"# {title}\n{names[0]} ({architectures[0]}) and {names[1]} ({architectures[1]}), "
            f"trained together to tell {len(class_names)} classes, on one image; and {PAIR}, what "
            "is likeliest by the mean of their probabilities."
        )
        with gr.Row():
            image = gr.Image(type="filepath", image_mode=None, label="Image", elem_id="image")
            # The file as it is: gradio would clip 16 bits to 8 without a word, and answer what is
            # no image with a fault of its own.
            image.preprocess = lambda upload: None if upload is None else upload.path
            with gr.Column():
                button = gr.Button("Segment", variant="primary", elem_id="segment")
                gr.Examples([[str(path)] for path in offered], image, label="Examples")
        with gr.Row():
            with gr.Column(scale=1, min_width=200):  # on a phone above the pictures
                share = gr.Markdown(elem_id="share")
                gr.HTML(legend(class_names, colours), elem_id="legend")
            with gr.Column(scale=5, min_width=300):
                with gr.Row():
                    masks = [
                        picture(f"{name}: classes", f"mask-{i}")
                        for i, name in enumerate(predictors)
                    ]
                with gr.Row():
                    overlays = [
                        picture(f"{name}: over the image", f"overlay-{i}")
                        for i, name in enumerate(predictors)
                    ]
                disagreement = picture("Where they disagree", "disagreement")
        files = gr.File(label="At the image's own size", elem_id="files", interactive=False)
        button.click(compare, image, [*masks, *overlays, disagreement, share, files])
    return page


def picture(label: str, elem_id: str) -> gr.Image:
    """A place for a picture, which is not compressed again."""
    return gr.Image(label=label, elem_id=elem_id, format="png", interactive=False)


def pictures(image: Image.Image, maps: list[np.ndarray], colours: np.ndarray) -> list[Image.Image]:
    """Of an image and class ids of its size, of both students first: the ids with their colours,
    these over the image, and where the two disagree.
    """
    pixels = np.asarray(image)
    masks = [Image.fromarray(ids) for ids in maps]
    for mask in masks:
        mask.putpalette(colours.tobytes())
    mixed = [OPACITY * colours[ids] + (1 - OPACITY) * pixels for ids in maps]
    differ = (maps[0] != maps[1])[..., None]
    mixed.append(np.where(differ, DISAGREEMENT, pixels // 3))
    return [*masks, *(Image.fromarray(one.astype(np.uint8)) for one in mixed)]


def load(
    name: str, trust_remote_code: bool, revision: str | None = None
) -> tuple[torch.nn.Module, object]:
    """A model in evaluation mode and its image processor, of a commit.

    ValueError says what is no model.
    """
    # where it is installed, its models need no code from elsewhere
    with contextlib.suppress(ImportError):
        import ctcl_hf  # noqa: F401
    try:
        model = AutoModelForSemanticSegmentation.from_pretrained(
            name, trust_remote_code=trust_remote_code, revision=revision
        )
        processor = AutoImageProcessor.from_pretrained(
            name, trust_remote_code=trust_remote_code, revision=revision
        )
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{name} is neither a student's folder nor a model on the Hub: {error}"
        ) from error
    return model.eval(), processor


@torch.no_grad()
def logits_of(model: torch.nn.Module, processor: object, image: Image.Image) -> torch.Tensor:
    """Logits (K, h, w) of an image, whole, over the temperature that the model has, if any."""
    # Some processors would cut out the middle, or pad, and their logits not be of the whole image.
    inputs = processor(images=image, return_tensors="pt", do_center_crop=False, do_pad=False)
    return model(**inputs).logits[0] / getattr(model.config, "calibration_temperature", 1.0)


def segment(logits: list[torch.Tensor], size: tuple[int, int]) -> list[np.ndarray]:
    """Class ids, uint8 (height, width) of a size of one's own: of each model's logits (K, h, w),
    and by the mean of their probabilities.
    """

    def at_size(own: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            own[None, None], size=size, mode="bilinear", align_corners=False
        )[0, 0]

    # Class by class: all logits at the size of a camera's picture would fill a small machine.
    totals = []  # of each model, log of the sum over classes of exp(logit)
    for own in logits:
        totals.append(torch.full(size, -torch.inf))
        for one in own:
            totals[-1] = torch.logaddexp(totals[-1], at_size(one))
    ids = torch.zeros(len(logits) + 1, *size, dtype=torch.uint8)
    best = torch.full(ids.shape, -torch.inf)
    for i, of_class in enumerate(zip(*logits, strict=True)):
        own = [at_size(one) for one in of_class]
        mean = sum((one - total).exp() for one, total in zip(own, totals, strict=True))
        for place, value in enumerate([*own, mean]):
            ids[place][value > best[place]] = i
            best[place] = torch.maximum(best[place], value)
    return list(ids.numpy())


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
    """A coloured square and the name of every class, in as many columns as there is room for."""
    entry = '<div><span style="color:rgb({},{},{});font-size:1.5em">&#9632;</span> {}</div>'
    entries = "".join(
        entry.format(*colour, html.escape(name))
        for name, colour in zip(class_names, colours, strict=True)
    )
    return f'<div style="columns:9em auto">{entries}</div>'


if __name__ == "__main__":
    serve(demo(**json.loads((HERE / "settings.json").read_text(encoding="utf-8"))))
